"""What a connection of type `coterie` says, or the environment in its place."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_coterie.state_store import with_password
from coterie.errors import Misuse
from coterie.shutdown import check_timeout_s, timeout_s_here

if TYPE_CHECKING:
    from airflow.sdk import Connection

__all__ = ["DEFAULT_CONN_ID", "CoterieSettings", "JournalMode", "aread_settings", "read_settings"]

DEFAULT_CONN_ID = "coterie_default"
_STORE_VARIABLE = "COTERIE_STORE"

# Airflow kills the process of a task that a person has ended, or cleared, five seconds after SIGTERM; nothing tells the
# task that from a worker that is shut down. What it holds must be handed back within that time.
GRACEFUL_SHUTDOWN_TIMEOUT_S = 2.0

# Whether what was finished is kept, and what it survives: a power cut; the end of any process; it is not kept.
JournalMode = Literal["strict", "relaxed", "off"]


@dataclass(frozen=True, slots=True)
class CoterieSettings:
    """What a connection of type `coterie` says.

    store: the URL with its password, never shown; None: none is named. store_named_by: where it is, for messages.
    trace_url: the template of links to traces; None: what `COTERIE_TRACE_URL` says.
    """

    artifacts: str
    namespace: str = "default"
    team_path: str | None = None
    shared_file_system: bool = False
    store: str | None = field(default=None, repr=False)
    journal: JournalMode = "strict"
    graceful_shutdown_timeout_s: float = GRACEFUL_SHUTDOWN_TIMEOUT_S
    store_named_by: str = _STORE_VARIABLE
    trace_url: str | None = None


def read_settings(conn_id: str) -> CoterieSettings:
    """Ask Airflow for a connection; the variables stand for the default one where there is none.

    Raises:
        Misuse: there is no such connection, or what it says cannot be used.
    """
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        return _from_environment(conn_id, error)
    return _from_connection(conn_id, connection)


async def aread_settings(conn_id: str) -> CoterieSettings:
    """The same, in an event loop of Airflow's."""
    try:
        connection = await BaseHook.aget_connection(conn_id)
    except AirflowNotFoundException as error:
        return _from_environment(conn_id, error)
    return _from_connection(conn_id, connection)


def _from_environment(conn_id: str, error: AirflowNotFoundException) -> CoterieSettings:
    """What the variables say that stand for the default connection, and for no other."""
    url = os.environ.get("COTERIE_ARTIFACTS")
    if conn_id == DEFAULT_CONN_ID and url:
        namespace = os.environ.get("COTERIE_NAMESPACE") or "default"
        journal = _journal_mode("COTERIE_JOURNAL", os.environ.get("COTERIE_JOURNAL"))
        store, timeout_s = os.environ.get(_STORE_VARIABLE) or None, timeout_s_here(GRACEFUL_SHUTDOWN_TIMEOUT_S)
        return CoterieSettings(url, namespace, store=store, journal=journal, graceful_shutdown_timeout_s=timeout_s)
    here = "; or, on one machine, set COTERIE_ARTIFACTS=file:///a/folder" if conn_id == DEFAULT_CONN_ID else ""
    raise Misuse(
        f"there is no connection {conn_id!r}; add one of type 'coterie' with an artifact store, for example "
        f"AIRFLOW_CONN_{conn_id.upper()}='"
        f'{{"conn_type": "coterie", "extra": {{"artifacts": "s3://bucket/prefix"}}}}\'{here}'
    ) from error


def _from_connection(conn_id: str, connection: Connection) -> CoterieSettings:
    extra = connection.extra_dejson
    url, store, journal = (extra.get(name) for name in ("artifacts", "store", "journal"))
    where, named_by = f"'journal' of the connection {conn_id!r}", _STORE_VARIABLE
    if not url:
        raise Misuse(f"the connection {conn_id!r} names no artifact store; set 'artifacts' to a URL in it")
    if store:
        named_by = f"the connection {conn_id!r}"
        store = with_password(str(store), connection.password, named_by)
    elif conn_id == DEFAULT_CONN_ID:
        store = os.environ.get(_STORE_VARIABLE)
    if not journal and conn_id == DEFAULT_CONN_ID:
        where, journal = "COTERIE_JOURNAL", os.environ.get("COTERIE_JOURNAL")
    return CoterieSettings(
        str(url),
        str(extra.get("namespace") or "default"),
        extra.get("team_path") or None,
        extra.get("shared_file_system") in (True, "true", "True", "1"),
        store or None,
        _journal_mode(where, journal),
        _timeout_s(conn_id, extra.get("graceful_shutdown_timeout_s")),
        named_by,
        str(extra.get("trace_url") or "") or None,
    )


def _timeout_s(conn_id: str, given: object) -> float:
    if given in (None, ""):
        default_s = GRACEFUL_SHUTDOWN_TIMEOUT_S
        return timeout_s_here(default_s) if conn_id == DEFAULT_CONN_ID else default_s
    if isinstance(given, str):
        # The form gives numbers as texts.
        with suppress(ValueError):
            given = float(given)
    return check_timeout_s(given, f"'graceful_shutdown_timeout_s' of the connection {conn_id!r}")


def _journal_mode(where: str, given: object) -> JournalMode:
    if given in (None, ""):
        return "strict"
    for known in get_args(JournalMode):
        if given == known:
            return known  # type: ignore[no-any-return]  # get_args forgets the type
    raise Misuse(f"{where} is {given!r}; use 'strict', 'relaxed' or 'off'")
