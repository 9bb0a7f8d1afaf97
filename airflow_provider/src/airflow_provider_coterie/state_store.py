"""Where the state lies that a fleet shares: the URL with its password, and who would not see it there."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from airflow_provider_coterie.executor import ON_THIS_MACHINE
from coterie.errors import Misuse, PolicyError

__all__ = ["LOCAL_STORE", "require_shared_state", "why_no_journal", "with_password"]

# The database of this machine, where nobody names a store.
LOCAL_STORE = "sqlite://"
_INSTEAD = "use a Redis or Valkey server that all of them reach, such as rediss://host:6379/0"


def with_password(url: str, password: str | None, where: str) -> str:
    """The URL of a state store, with the password that is kept apart from it. where: how errors begin.

    Raises:
        Misuse: the URL holds a password itself, or is of a store that has none. Nothing of either is shown.
    """
    scheme, separator, rest = url.partition("://")
    # Of a unix socket, the path alone may follow.
    login, _, place = ("", "", rest) if rest.startswith("/") else rest.rpartition("@")
    if ":" in login or re.search(r"[?&]sentinel_password=", rest):
        raise Misuse(f"{where} names a state store with a password in its URL; put it into the password field")
    if not password or not separator:
        return url
    if scheme in ("memory", "sqlite"):
        raise Misuse(f"{where} has a password, and {scheme}:// stores have none; leave the field empty")
    return f"{scheme}://{login}:{quote(password, safe='')}@{place}"


def require_shared_state(url: str, executor: str) -> None:
    """Refuse a state store that other tasks, in their own processes, cannot see: each would have its own breakers.

    Raises:
        PolicyError: a database of this machine under an executor that leaves it, or state in memory.
    """
    scheme = url.partition("://")[0]
    if scheme == "memory":
        raise PolicyError(
            "a state store 'memory://' lives in one process, and every Airflow task has its own; "
            "use sqlite:///… on one machine, or a Redis server such as rediss://host:6379/0"
        )
    if scheme == "sqlite" and executor not in ON_THIS_MACHINE:
        raise PolicyError(
            f"the state is a database on this machine (sqlite://), but {executor!r} runs tasks on others, each of "
            f"which would have breakers, pools, limits and events of its own; {_INSTEAD}, as 'State store' in the "
            "connection or in COTERIE_STORE"
        )


def why_no_journal(url: str | None, executor: str | None) -> str | None:
    """Why the journal cannot lie beside the state, and what to set; None if it can.

    A journal is no condition for a DAG to run: it is left out where it could not be shared, not refused.
    url: the store that was named, if one was. executor: None where the task runs in the process that asked for it.
    """
    scheme = "sqlite" if url is None else url.partition("://")[0]
    if executor is not None and (scheme == "memory" or (scheme == "sqlite" and executor not in ON_THIS_MACHINE)):
        lies = "nobody named a state store" if url is None else f"the state store is {scheme}://"
        return (
            f"{lies}, and {executor!r} runs tasks where they would not find what others finished: it is paid for again "
            f"after a retry; {_INSTEAD}, as 'State store' in the connection or in COTERIE_STORE, or set 'Journal' to "
            "'off' to say that it is meant so"
        )
    return _why_no_default() if url is None else None


def _why_no_default() -> str | None:
    """What keeps this user from having the database that is taken where nobody names one."""
    from coterie.stores.opening import default_path

    try:
        folder = default_path().parent
    except Misuse as error:
        return str(error)
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if os.access(there, os.W_OK | os.X_OK):
        return None
    return f"this user may not write to {str(there)!r}; set COTERIE_HOME to a folder of his own, or name a state store"
