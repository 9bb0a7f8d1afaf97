"""Open the database file of a state store: its folder, rights, version; and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from coterie.errors import CoterieError, Misuse, StateFormatError, Unavailable
from coterie.stores.filesystem import refuse_network

__all__ = ["VERSION", "is_busy", "open_database", "translated"]

# "cotr", by which `file` and we know the file.
APPLICATION = 0x636F7472
VERSION = 1
# To wait for others that open it, before the whole is tried anew: SQLite gives up at once where two would wait for
# each other, as when both begin the write-ahead log.
_OPENING_S = 0.1

_TABLES = (
    """CREATE TABLE IF NOT EXISTS states (
        namespace TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL,
        expires INTEGER, -- microseconds since the epoch
        PRIMARY KEY (namespace, key)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS expiring ON states (expires) WHERE expires IS NOT NULL",
)


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file, making it and its folder if need be, for their owner alone. Blocking.

    Raises:
        Misuse: it lies on a network file system, or belongs to another program.
        StateFormatError: a newer coterie made it, or it is damaged.
        Unavailable: it cannot be made or opened.
        sqlite3.Error: others are just opening or repairing it; see `is_busy`.
    """
    refuse_network(Path(os.path.realpath(path)))
    _make(path)
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=_OPENING_S, isolation_level=None)
        _prepare(connection, path)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error) and not is_busy(error):
            raise translated(error, path) from error
        raise
    return connection


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process was at it, so that the same may succeed a little later."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def translated(error: sqlite3.Error, path: Path) -> CoterieError:
    """What an error of the driver means to a caller; the caller raises it `from` the driver's."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    where = f"the state database {str(path)!r}"
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StateFormatError(
            f"{where} is damaged, or no database: {error}; stop what uses it, move it away with its '-wal' and "
            "'-shm' files, and start again: breakers, pools and limits begin anew"
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return _unwritable(path, str(error))
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(f"{where} cannot grow: {error}; make room on its disk")
    return Unavailable(f"{where} failed: {error}; check its disk, then try again")


def _make(path: Path) -> None:
    try:
        if not path.parent.exists():
            _make_folder(path.parent)
        # SQLite gives its '-wal' and '-shm' files the rights of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def _make_folder(folder: Path) -> None:
    if not folder.parent.exists():
        _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def _unwritable(path: Path, reason: str) -> Unavailable:
    return Unavailable(
        f"the state database {str(path)!r} cannot be written: {reason}; make the file and its folder writable for "
        "this user, or name another place by COTERIE_HOME or COTERIE_STORE"
    )


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise Misuse(f"{str(path)!r} lies where SQLite cannot keep a write-ahead log; put it on a local disk")
    # A crash of the process loses nothing; a power cut may lose the last moments, which state for coordination may.
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA journal_size_limit={16 * 2**20}")
    if _numbers(connection) != (APPLICATION, VERSION):
        connection.execute("BEGIN IMMEDIATE")
        _make_tables(connection, path)
        connection.execute("COMMIT")
    # From here on, whoever waits for a lock does it in ways of its own.
    connection.execute("PRAGMA busy_timeout=0")


def _make_tables(connection: sqlite3.Connection, path: Path) -> None:
    application, version = _numbers(connection)
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION and (application or version or tables):
        raise Misuse(f"{str(path)!r} is another program's database; name another file for coterie's state")
    if version > VERSION:
        raise StateFormatError(
            f"the state database {str(path)!r} has version {version}, this coterie reads up to {VERSION}; "
            "update coterie here as it was elsewhere"
        )
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION}")
    connection.execute(f"PRAGMA user_version={VERSION}")


def _numbers(connection: sqlite3.Connection) -> tuple[int, int]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return application, version
