"""Open the state store, the journal store, or the log store, that a URL, or the environment, names."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from coterie.errors import Misuse
from coterie.ids import check_name
from coterie.ports import Durability, JournalStore, LogStore, StateStore

__all__ = ["default_path", "open_journal_store", "open_log_store", "open_state_store"]

_Lasting: TypeAlias = Literal["strict", "relaxed"]

_REDIS = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
_VARIABLE = "COTERIE_STORE"
_KNOWN = "'memory://', 'sqlite://', 'sqlite:///absolute/path', 'redis://host:6379/0'"


def open_state_store(url: str | None, namespace: str, *, named_by: str | None = None) -> StateStore:
    """The state store at `url`; nothing is connected or made before it is used.

    url: `memory://`, `sqlite:///absolute/path`, `sqlite://` (see `default_path`), or one of Redis: `redis://`,
        `rediss://`, `unix://`, `redis+sentinel://`, `redis+cluster://` and their `rediss` forms. None: what
        `COTERIE_STORE` says, else `sqlite://`.
    named_by: the setting that holds the URL, for messages of a server that does not answer.

    Raises:
        Misuse: no store has such URLs, its package is not installed, or the namespace is no name. No message shows
            more of the URL than its scheme, as it may hold a password.
    """
    check_name(namespace, "the namespace")
    scheme, rest, given, named_by = _parts(url, "state", named_by)
    if scheme == "memory":
        return _open_memory(rest, namespace)
    if scheme == "sqlite":
        return _open_sqlite(rest, namespace)
    return _open_redis(given, namespace, named_by)


def open_journal_store(
    url: str | None, namespace: str, *, durability: Durability | None = None, named_by: str | None = None
) -> JournalStore:
    """The journal store at `url`, as `open_state_store` takes it; nothing is connected or made before it is used.

    In files, the journal lies beside the state, in a database of its own, as it must be more durable: of
    `sqlite:///path/state.db` it is `/path/state.journal.db`.

    durability: "strict", what was acknowledged survives a power cut, which is also what None means; or "relaxed", it
        survives the end of any process. In memory, nothing survives: there it is "none", or None.
    named_by: as of `open_state_store`.

    Raises:
        Misuse: as `open_state_store`; or the store cannot be so durable.
    """
    check_name(namespace, "the namespace")
    scheme, rest, given, named_by = _parts(url, "journal", named_by)
    if scheme == "memory":
        return _open_memory_journal(rest, namespace, durability)
    lasting = _lasting(durability, scheme, "a journal")
    return (
        _open_sqlite_journal(rest, namespace, lasting)
        if scheme == "sqlite"
        else _open_redis_journal(given, namespace, lasting, named_by)
    )


def open_log_store(
    url: str | None, namespace: str, *, durability: Durability | None = None, named_by: str | None = None
) -> LogStore:
    """The log store at `url`, as `open_state_store` takes it; nothing is connected or made before it is used.

    In files, the log lies beside the state, in a database of its own: of `sqlite:///path/state.db` it is
    `/path/state.events.db`.

    durability: "strict", what was acknowledged survives a power cut; or "relaxed", it survives the end of any process,
        and in Redis what its server's own settings say. None: "strict" in files, "relaxed" in Redis. In memory, nothing
        survives: there it is "none", or None.
    named_by: as of `open_state_store`.

    Raises:
        Misuse: as `open_state_store`; or the store cannot be so durable.
    """
    check_name(namespace, "the namespace")
    scheme, rest, given, named_by = _parts(url, "log", named_by)
    if scheme == "memory":
        return _open_memory_log(rest, namespace, durability)
    if scheme == "sqlite":
        return _open_sqlite_log(rest, namespace, _lasting(durability, scheme, "a log"))
    return _open_redis_log(given, namespace, _lasting(durability or "relaxed", scheme, "a log"), named_by)


def default_path() -> Path:
    """Where the database lies if nobody says: in `COTERIE_HOME`, else in the user's folder for state.

    That is `coterie` in `XDG_STATE_HOME`, or `~/.local/state/coterie`.

    Raises:
        Misuse: the user has no home.
    """
    home, state = os.environ.get("COTERIE_HOME"), os.environ.get("XDG_STATE_HOME", "")
    try:
        if home:
            folder = Path(home).expanduser().absolute()
        else:
            # By its specification, a relative path is to be ignored.
            folder = (Path(state) if state.startswith("/") else Path.home() / ".local" / "state") / "coterie"
    except RuntimeError as error:
        raise Misuse(f"this user has no home to keep state in: {error}; set COTERIE_HOME to a folder") from error
    return folder / "state.db"


def _parts(url: str | None, what: str, named_by: str | None) -> tuple[str, str, str, str | None]:
    """The scheme, what follows it, and the whole URL, as given or as the environment says; and what says so."""
    given = url or os.environ.get(_VARIABLE) or "sqlite://"
    scheme, separator, rest = given.partition("://")
    if not separator:
        raise Misuse(f"the URL of the {what} store does not begin with 'scheme://'; give one of {_KNOWN}")
    if scheme not in ("memory", "sqlite", *_REDIS):
        raise Misuse(f"no {what} store has URLs with the scheme {scheme[:40]!r}; give one of {_KNOWN}")
    return scheme, rest, given, named_by if url else _VARIABLE


def _lasting(durability: Durability | None, scheme: str, what: str) -> _Lasting:
    if durability is None or durability == "strict":
        return "strict"
    if durability == "relaxed":
        return "relaxed"
    raise Misuse(f"{what} at '{scheme}://' cannot be {durability!r}; give 'strict' or 'relaxed'")


def _open_memory(rest: str, namespace: str) -> StateStore:
    from coterie.stores.memory import MemoryStateStore

    _check_no_place(rest, "state")
    return MemoryStateStore(namespace)


def _open_memory_journal(rest: str, namespace: str, durability: Durability | None) -> JournalStore:
    from coterie.stores.journal_memory import MemoryJournalStore

    _check_passing(rest, durability, "a journal")
    return MemoryJournalStore(namespace)


def _open_memory_log(rest: str, namespace: str, durability: Durability | None) -> LogStore:
    from coterie.stores.log_memory import MemoryLogStore

    _check_passing(rest, durability, "a log")
    return MemoryLogStore(namespace)


def _check_passing(rest: str, durability: Durability | None, what: str) -> None:
    _check_no_place(rest, what)
    if durability not in (None, "none"):
        raise Misuse(f"{what} in memory cannot be {durability!r}: it ends with its process; name a file, or a server")


def _check_no_place(rest: str, what: str) -> None:
    if rest:
        raise Misuse(f"{what} in memory has no place; give 'memory://' and nothing after it")


def _open_sqlite(rest: str, namespace: str) -> StateStore:
    from coterie.stores.sqlite import SqliteStateStore

    return SqliteStateStore(_path(rest), namespace)


def _open_sqlite_journal(rest: str, namespace: str, durability: _Lasting) -> JournalStore:
    from coterie.stores.journal_sqlite import SqliteJournalStore

    return SqliteJournalStore(_beside(_path(rest), "journal"), namespace, durability=durability)


def _open_sqlite_log(rest: str, namespace: str, durability: _Lasting) -> LogStore:
    from coterie.stores.log_sqlite import SqliteLogStore

    return SqliteLogStore(_beside(_path(rest), "events"), namespace, durability=durability)


def _beside(state: Path, what: str) -> Path:
    return state.with_name(f"{state.stem}.{what}{state.suffix}")


def _path(rest: str) -> Path:
    if rest and (not rest.startswith("/") or rest.endswith("/")):
        raise Misuse("the URL of a state database is 'sqlite://' and the absolute path of a file: 'sqlite:///dir/file'")
    return Path(rest) if rest else default_path()


def _open_redis(url: str, namespace: str, named_by: str | None) -> StateStore:
    _check_redis("state")
    from coterie.stores.redis import open_redis

    return open_redis(url, namespace, named_by=named_by)


def _open_redis_journal(url: str, namespace: str, durability: _Lasting, named_by: str | None) -> JournalStore:
    _check_redis("a journal")
    from coterie.stores.redis.journal import open_redis_journal

    return open_redis_journal(url, namespace, durability=durability, named_by=named_by)


def _open_redis_log(url: str, namespace: str, durability: _Lasting, named_by: str | None) -> LogStore:
    _check_redis("a log")
    from coterie.stores.redis.log import open_redis_log

    return open_redis_log(url, namespace, durability=durability, named_by=named_by)


def _check_redis(what: str) -> None:
    if find_spec("hiredis") is None:
        raise Misuse(f"{what} in Redis needs a package that is not installed: pip install 'coterie[redis]'")
