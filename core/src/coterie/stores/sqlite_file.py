"""Open the database file of a store: its folder, rights, version; and what its errors mean."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from coterie.errors import CoterieError, Misuse, StateFormatError, Unavailable
from coterie.ports import Durability
from coterie.stores.filesystem import refuse_network

__all__ = ["Form", "is_busy", "may", "open_database", "synchronous", "translated"]

# To wait for others that open it, before the whole is tried anew: SQLite gives up at once where two would wait for
# each other, as when both begin the write-ahead log.
_OPENING_S = 0.1
# The log is cut to so much once all of it is in the database.
_LOG_BYTES = 32 * 2**20
# What file systems say that have no hard links.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Form:
    """What a database of one kind is like.

    kind: what it is called: "state", "journal". application: the number by which `file`, and we, know it.
    tables: the statements that make it, each harmless where it was done before. synchronous: SQLite's setting.
    if_damaged: what to do then, for people. log_pages: so long may the log be before a commit moves it into the
    database. unwritable_is_read: whether there is use for a file that may be read, and not written.
    """

    kind: str
    application: int
    version: int
    tables: tuple[str, ...]
    synchronous: str
    if_damaged: str
    log_pages: int = 1000
    unwritable_is_read: bool = False


def synchronous(durability: Durability, what: str) -> str:
    """SQLite's setting for what is to be so durable. what: for messages: "a journal".

    Raises:
        Misuse: a file cannot be so durable, or so little.
    """
    if durability not in ("strict", "relaxed"):
        raise Misuse(f"{what} in a file cannot be {durability!r}; give 'strict' or 'relaxed'")
    return "FULL" if durability == "strict" else "NORMAL"


def open_database(path: Path, form: Form) -> sqlite3.Connection:
    """Open the file, making it and its folder if need be, for their owner alone. Blocking.

    Raises:
        Misuse: it lies on a network file system, or belongs to another program.
        StateFormatError: a newer coterie made it, or it is damaged.
        Unavailable: it cannot be made or opened.
        sqlite3.Error: others are just opening or repairing it; see `is_busy`.
    """
    refuse_network(Path(os.path.realpath(path)))
    try:
        _make(path, form)
    except Unavailable:
        if form.unwritable_is_read and may(path, os.R_OK):
            return _opened(_read_only(path), path, form, _check_readable)
        raise
    return _opened(str(path), path, form, _prepare)


def _opened(
    name: str, path: Path, form: Form, prepare: Callable[[sqlite3.Connection, Path, Form], None]
) -> sqlite3.Connection:
    connection = None
    try:
        connection = sqlite3.connect(name, timeout=_OPENING_S, isolation_level=None, uri=name.startswith("file:"))
        prepare(connection, path, form)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error) and not is_busy(error):
            raise translated(error, path, form) from error
        raise
    return connection


def _read_only(path: Path) -> str:
    """What SQLite is told, to read a file that it may not write."""
    log = path.with_name(f"{path.name}-wal")
    # Without a log, SQLite would begin one even to read, and nobody is just writing: else there would be one.
    alone = not log.exists() or log.stat().st_size == 0
    return f"{path.as_uri()}?mode=ro{'&immutable=1' if alone else ''}"


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process was at it, so that the same may succeed a little later."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def may(path: Path, mode: int) -> bool:
    """Whether this process may do so with the file; see `os.access`."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def translated(error: sqlite3.Error, path: Path, form: Form) -> CoterieError:
    """What an error of the driver means to a caller; the caller raises it `from` the driver's."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    where = f"the {form.kind} database {str(path)!r}"
    # Python itself tells of bytes that are no text, without a code.
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT) or "Could not decode" in str(error):
        return StateFormatError(f"{where} is damaged, or no database: {error}; {form.if_damaged}")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return _unwritable(path, form, str(error))
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(f"{where} cannot grow: {error}; make room on its disk")
    return Unavailable(f"{where} failed: {error}; check its disk, then try again")


def _make(path: Path, form: Form) -> None:
    try:
        if not path.parent.exists():
            _make_folder(path.parent)
        if not path.exists():
            _make_file(Path(os.path.realpath(path)))
    except OSError as error:
        raise _unwritable(path, form, error.strerror or str(error)) from error
    if not may(path, os.R_OK | os.W_OK):
        raise _unwritable(path, form, os.strerror(errno.EACCES))


def _make_file(path: Path) -> None:
    """Make an empty file for its owner alone, unless there is one: SQLite gives its '-wal' and '-shm' files its rights.

    Never opened under its own name, and so never closed: that would end all locks of this process on it (POSIX), and
    another process, being the last one by its own count, would take the log away under those that have it open here.
    """
    handle, made = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    try:
        with suppress(FileExistsError):
            os.link(made, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with suppress(FileExistsError):
            # A moment ago it was not there: hardly anybody here can have opened it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    finally:
        Path(made).unlink()


def _make_folder(folder: Path) -> None:
    if not folder.parent.exists():
        _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    # SQLite sees to it that a file's name survives a power cut, not its folder's.
    above = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(above)
    finally:
        os.close(above)


def _unwritable(path: Path, form: Form, reason: str) -> Unavailable:
    return Unavailable(
        f"the {form.kind} database {str(path)!r} cannot be written: {reason}; make the file and its folder writable "
        "for this user, or name another place by COTERIE_HOME or COTERIE_STORE"
    )


def _prepare(connection: sqlite3.Connection, path: Path, form: Form) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise Misuse(f"{str(path)!r} lies where SQLite cannot keep a write-ahead log; put it on a local disk")
    connection.execute(f"PRAGMA synchronous={form.synchronous}")
    # Where fsync alone does not reach the disk, as on macOS.
    connection.execute(f"PRAGMA fullfsync={'ON' if form.synchronous == 'FULL' else 'OFF'}")
    connection.execute(f"PRAGMA wal_autocheckpoint={form.log_pages}")
    connection.execute(f"PRAGMA journal_size_limit={_LOG_BYTES}")
    if _numbers(connection) != (form.application, form.version):
        connection.execute("BEGIN IMMEDIATE")
        _make_tables(connection, path, form)
        connection.execute("COMMIT")
    # From here on, whoever waits for a lock does it in ways of its own.
    connection.execute("PRAGMA busy_timeout=0")


def _make_tables(connection: sqlite3.Connection, path: Path, form: Form) -> None:
    if _is_made(connection, path, form):
        return
    for statement in form.tables:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={form.application}")
    connection.execute(f"PRAGMA user_version={form.version}")


def _check_readable(connection: sqlite3.Connection, path: Path, form: Form) -> None:
    if not _is_made(connection, path, form):
        raise _unwritable(path, form, "it is empty")


def _is_made(connection: sqlite3.Connection, path: Path, form: Form) -> bool:
    application, version = _numbers(connection)
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != form.application and (application or version or tables):
        raise Misuse(f"{str(path)!r} is another program's database; name another file for coterie's {form.kind}")
    if version > form.version:
        raise StateFormatError(
            f"the {form.kind} database {str(path)!r} has version {version}, this coterie reads up to {form.version}; "
            "update coterie here as it was elsewhere"
        )
    return (application, version) == (form.application, form.version)


def _numbers(connection: sqlite3.Connection) -> tuple[int, int]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return application, version
