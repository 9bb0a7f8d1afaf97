"""Open the state store that a URL, or the environment, names."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from coterie.errors import Misuse
from coterie.ids import check_name
from coterie.ports import StateStore

__all__ = ["default_path", "open_state_store"]

_REDIS = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
_KNOWN = "'memory://', 'sqlite://', 'sqlite:///absolute/path', 'redis://host:6379/0'"


def open_state_store(url: str | None, namespace: str) -> StateStore:
    """The state store at `url`; nothing is connected or made before it is used.

    url: `memory://`, `sqlite:///absolute/path`, `sqlite://` (see `default_path`), or one of Redis: `redis://`,
        `rediss://`, `unix://`, `redis+sentinel://`, `redis+cluster://` and their `rediss` forms. None: what
        `COTERIE_STORE` says, else `sqlite://`.

    Raises:
        Misuse: no store has such URLs, its package is not installed, or the namespace is no name. No message shows
            more of the URL than its scheme, as it may hold a password.
    """
    check_name(namespace, "the namespace")
    given = url or os.environ.get("COTERIE_STORE") or "sqlite://"
    scheme, separator, rest = given.partition("://")
    if not separator:
        raise Misuse(f"the URL of the state store does not begin with 'scheme://'; give one of {_KNOWN}")
    if scheme == "memory":
        return _open_memory(rest, namespace)
    if scheme == "sqlite":
        return _open_sqlite(rest, namespace)
    if scheme in _REDIS:
        return _open_redis(given, namespace)
    raise Misuse(f"no state store has URLs with the scheme {scheme[:40]!r}; give one of {_KNOWN}")


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


def _open_memory(rest: str, namespace: str) -> StateStore:
    from coterie.stores.memory import MemoryStateStore

    if rest:
        raise Misuse("state in memory has no place; give 'memory://' and nothing after it")
    return MemoryStateStore(namespace)


def _open_sqlite(rest: str, namespace: str) -> StateStore:
    from coterie.stores.sqlite import SqliteStateStore

    if rest and (not rest.startswith("/") or rest.endswith("/")):
        raise Misuse("the URL of a state database is 'sqlite://' and the absolute path of a file: 'sqlite:///dir/file'")
    return SqliteStateStore(rest or default_path(), namespace)


def _open_redis(url: str, namespace: str) -> StateStore:
    if find_spec("hiredis") is None:
        raise Misuse("state in Redis needs a package that is not installed: pip install 'coterie[redis]'")
    from coterie.stores.redis import open_redis

    return open_redis(url, namespace)
