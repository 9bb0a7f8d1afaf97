"""The connection of type `coterie`: where outputs and shared state go, in which namespace, and which team works."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_coterie.executor import executor_of, is_in_process, require_shared_store
from airflow_provider_coterie.state_store import require_shared_state, with_password
from coterie import ArtifactStore, Ref, Runtime, Team, sync
from coterie.errors import CoterieError, Misuse

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from coterie.ports import StateStore

__all__ = ["DEFAULT_CONN_ID", "CoterieHook", "CoterieSettings"]

DEFAULT_CONN_ID = "coterie_default"
# The database of this machine, where nobody names a store.
_LOCAL_STORE = "sqlite://"


@dataclass(frozen=True, slots=True)
class CoterieSettings:
    """What a connection of type `coterie` says. store: the URL with its password, never shown; None: none is named."""

    artifacts: str
    namespace: str = "default"
    team_path: str | None = None
    shared_file_system: bool = False
    store: str | None = field(default=None, repr=False)


class CoterieHook(BaseHook):
    """Opens what a connection of type `coterie` describes.

    Where the default connection does not exist, the environment variables `COTERIE_ARTIFACTS` and
    `COTERIE_NAMESPACE` stand for it; where it names no state store, `COTERIE_STORE` does.
    """

    conn_name_attr = "coterie_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = "coterie"
    hook_name = "Coterie"

    def __init__(self, coterie_conn_id: str = DEFAULT_CONN_ID, *, executor: str | None = None) -> None:
        super().__init__()
        self.coterie_conn_id = coterie_conn_id
        self._executor = executor
        self._settings: CoterieSettings | None = None

    @property
    def settings(self) -> CoterieSettings:
        """The connection's settings, read once.

        Raises:
            Misuse: there is no such connection, or it names no artifact store.
            PolicyError: the store cannot be seen by the run's other tasks under the configured executor.
        """
        if self._settings is None:
            settings = _read(self.coterie_conn_id)
            _check_reach(settings, self._executor)
            self._settings = settings
        return self._settings

    def get_conn(self) -> ArtifactStore:
        """The connection's artifact store."""
        return ArtifactStore(self.settings.artifacts, namespace=self.settings.namespace)

    def get_state_store(self) -> StateStore:
        """The store of the state that a fleet shares, as the connection says, else a database of this machine.

        Nothing is connected before it is used, in the event loop that uses it. The caller closes it.

        Raises:
            Misuse: no store has such URLs.
            PolicyError: it cannot be seen by other tasks under the configured executor.
        """
        return _opened(self.settings, self._executor)

    async def aget_state_store(self) -> StateStore:
        """The same, in an event loop of Airflow's, such as a trigger's."""
        if self._settings is None:
            self._settings = await _aread(self.coterie_conn_id)
        # In a thread: the client that the URL asks for may have to be imported.
        return await asyncio.to_thread(_opened, self._settings, self._executor)

    def runtime(self, team: Team | str | None = None) -> Runtime:
        """A runtime for a team or the path of one, by default the connection's. The caller closes it.

        Of a team that has policies, it has the connection's state store.

        Raises:
            Misuse: no team is named, or there is none at the path.
            PolicyError: as for `get_state_store`.
        """
        known = team if isinstance(team, Team) else self.team(team)
        settings = self.settings
        store = _state_url(settings, self._executor) if known.policies else None
        return Runtime(known, artifacts=settings.artifacts, store=store, namespace=settings.namespace)

    def team(self, team_path: str | None = None) -> Team:
        """The team at `team_path`, by default the connection's."""
        path = team_path or self.settings.team_path
        if not path:
            raise Misuse(
                f"neither the task nor the connection {self.coterie_conn_id!r} names a team; "
                "pass team_path='package.module:team'"
            )
        return Team.load(path)

    def load(self, ref: Ref) -> Any:
        """The JSON value behind a reference, verified; blocking."""
        return sync.ArtifactStore(self.get_conn()).load(ref)

    def test_connection(self) -> tuple[bool, str]:
        """Store a value and read it back, and ask the state store if one is named; for the connection form's button."""
        probe = "coterie connection test: " + "." * 400
        try:
            store = sync.ArtifactStore(self.get_conn())
            store.load(store.put(probe))
            found = f"stored and read back an object in {store.url!r}"
            if self.settings.store is not None:
                found += f"; the state store {sync.run(_answering(self.get_state_store()))!r} answers"
        except CoterieError as error:
            return False, str(error)
        return True, found


def _read(conn_id: str) -> CoterieSettings:
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        return _from_environment(conn_id, error)
    return _from_connection(conn_id, connection)


async def _aread(conn_id: str) -> CoterieSettings:
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
        return CoterieSettings(url, namespace, store=os.environ.get("COTERIE_STORE") or None)
    here = "; or, on one machine, set COTERIE_ARTIFACTS=file:///a/folder" if conn_id == DEFAULT_CONN_ID else ""
    raise Misuse(
        f"there is no connection {conn_id!r}; add one of type 'coterie' with an artifact store, for example "
        f"AIRFLOW_CONN_{conn_id.upper()}='"
        f'{{"conn_type": "coterie", "extra": {{"artifacts": "s3://bucket/prefix"}}}}\'{here}'
    ) from error


def _from_connection(conn_id: str, connection: Connection) -> CoterieSettings:
    extra = connection.extra_dejson
    url, store = extra.get("artifacts"), extra.get("store")
    if not url:
        raise Misuse(f"the connection {conn_id!r} names no artifact store; set 'artifacts' to a URL in it")
    if store:
        store = with_password(str(store), connection.password, f"the connection {conn_id!r}")
    elif conn_id == DEFAULT_CONN_ID:
        store = os.environ.get("COTERIE_STORE")
    return CoterieSettings(
        str(url),
        str(extra.get("namespace") or "default"),
        extra.get("team_path") or None,
        extra.get("shared_file_system") in (True, "true", "True", "1"),
        store or None,
    )


def _check_reach(settings: CoterieSettings, task_executor: str | None) -> None:
    executor = _executor(task_executor)
    if executor is not None:
        require_shared_store(settings.artifacts, executor, shared_file_system=settings.shared_file_system)


def _state_url(settings: CoterieSettings, task_executor: str | None) -> str:
    url = settings.store or _LOCAL_STORE
    executor = _executor(task_executor)
    if executor is not None:
        require_shared_state(url, executor)
    return url


def _executor(task_executor: str | None) -> str | None:
    """The class name of the task's executor; None where the task runs in the process that asked for it."""
    if is_in_process():
        return None
    from airflow.sdk import conf

    return executor_of(conf.get("core", "executor"), task_executor)


def _opened(settings: CoterieSettings, task_executor: str | None) -> StateStore:
    from coterie.stores.opening import open_state_store

    return open_state_store(_state_url(settings, task_executor), settings.namespace)


async def _answering(store: StateStore) -> str:
    """Where a store lies that answers, and holds what this coterie reads."""
    from coterie.stores.format import check_format

    try:
        await check_format(store)
    finally:
        await store.aclose()
    return store.url


def _default_store() -> ArtifactStore | None:
    try:
        return CoterieHook().get_conn()
    except Misuse:
        # Not set up: coterie's own message tells what it looked for.
        return None


# `Ref.load()` in a task that knows nothing of coterie reads through the default connection.
sync.add_artifacts_fallback(_default_store)
