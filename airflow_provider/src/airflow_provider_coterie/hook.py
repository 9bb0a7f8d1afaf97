"""The hook of connections of type `coterie`: opens the stores that one names, and the team that works."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_provider_coterie.executor import executor_of, is_in_process, require_shared_store
from airflow_provider_coterie.remote.calling import asks_workers
from airflow_provider_coterie.settings import DEFAULT_CONN_ID, CoterieSettings, aread_settings, read_settings
from airflow_provider_coterie.state_store import LOCAL_STORE, require_shared_state, why_no_journal
from coterie import ArtifactStore, Ref, Runtime, Team, sync
from coterie.errors import CoterieError, Misuse
from coterie.telemetry.links import trace_url_of

if TYPE_CHECKING:
    from coterie.events import Listener
    from coterie.journal import Journal
    from coterie.ports import Durability, LogStore, StateStore

__all__ = ["DEFAULT_CONN_ID", "CoterieHook", "CoterieSettings"]


class CoterieHook(BaseHook):
    """Opens what a connection of type `coterie` describes.

    Where the default connection does not exist, the environment variables `COTERIE_ARTIFACTS` and
    `COTERIE_NAMESPACE` stand for it; where it names no state store, `COTERIE_STORE` does; where it does not say what
    the journal survives, `COTERIE_JOURNAL` does, and of the time that agents have after SIGTERM,
    `COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S`.
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
            settings = read_settings(self.coterie_conn_id)
            _check_reach(settings, self._executor)
            self._settings = settings
        return self._settings

    def get_conn(self) -> ArtifactStore:
        """The connection's artifact store."""
        return ArtifactStore(self.settings.artifacts, namespace=self.settings.namespace)

    async def aget_conn(self) -> ArtifactStore:
        """The same, in an event loop of Airflow's, such as a trigger's."""
        settings = await self._asettings()
        return ArtifactStore(settings.artifacts, namespace=settings.namespace)

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
        # In a thread: the client that the URL asks for may have to be imported.
        return await asyncio.to_thread(_opened, await self._asettings(), self._executor)

    def get_journal(self) -> Journal | None:
        """The journal of what runs have finished, beside the state; None where it is off, or cannot be.

        That it cannot be is logged, with what to set. Nothing is connected before it is used, in the event loop that
        uses it. The caller closes it.

        Raises:
            Misuse: no store has such URLs.
        """
        settings = self.settings
        return None if settings.journal == "off" else self._journal(settings, settings.journal)

    async def aget_journal(self) -> Journal | None:
        """The same, in an event loop of Airflow's, to look at: what it has may not be durable yet."""
        settings = await self._asettings()
        return None if settings.journal == "off" else await asyncio.to_thread(self._journal, settings, "relaxed")

    def get_log_store(self) -> LogStore:
        """The store of events, and of what remote workers are asked for, beside the state. The caller closes it.

        Nothing is connected before it is used, in the event loop that uses it.

        Raises:
            As `get_state_store`.
        """
        return _opened_log(self.settings, self._executor)

    async def aget_log_store(self) -> LogStore:
        """The same, in an event loop of Airflow's, such as a trigger's."""
        return await asyncio.to_thread(_opened_log, await self._asettings(), self._executor)

    def runtime(
        self, team: Team | str | None = None, *, journal: Journal | None = None, on_event: Listener | None = None
    ) -> Runtime:
        """A runtime for a team or the path of one, by default the connection's. The caller closes it.

        It has the connection's state store, opened where the team has policies, or workers are asked for tasks. The
        journal is the caller's own affair.

        Raises:
            Misuse: no team is named, or there is none at the path.
            PolicyError: as for `get_state_store`.
        """
        known = team if isinstance(team, Team) else self.team(team)
        settings = self.settings
        shares = bool(known.policies) or asks_workers(known)
        # Where nothing is shared, it is opened for events alone, if anybody publishes some.
        store = _state_url(settings, self._executor) if shares else settings.store or LOCAL_STORE
        return Runtime(
            known,
            artifacts=settings.artifacts,
            store=store,
            store_named_by=settings.store_named_by,
            journal=journal or False,
            namespace=settings.namespace,
            on_event=on_event,
            graceful_shutdown_timeout_s=settings.graceful_shutdown_timeout_s,
        )

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
                journal = self.get_journal()
                if journal is not None:
                    found += f", and keeps a {sync.run(_keeping(journal, self.coterie_conn_id))} journal"
            trace_url_of(self.settings.trace_url, where=f"'trace_url' of the connection {self.coterie_conn_id!r}")
        except CoterieError as error:
            return False, str(error)
        return True, found

    async def _asettings(self) -> CoterieSettings:
        if self._settings is None:
            self._settings = await aread_settings(self.coterie_conn_id)
        return self._settings

    def _journal(self, settings: CoterieSettings, durability: Durability) -> Journal | None:
        from coterie.journal import Journal
        from coterie.stores.opening import open_journal_store

        problem = why_no_journal(settings.store, _executor(self._executor))
        if problem is not None:
            self.log.warning("the journal is off: %s", problem)
            return None
        url = settings.store or LOCAL_STORE
        lasting = None if url.startswith("memory:") else durability
        named_by = settings.store_named_by
        return Journal(open_journal_store(url, settings.namespace, durability=lasting, named_by=named_by))


def _opened_log(settings: CoterieSettings, task_executor: str | None) -> LogStore:
    from coterie.stores.opening import open_log_store

    url = _state_url(settings, task_executor)
    return open_log_store(url, settings.namespace, named_by=settings.store_named_by)


def _check_reach(settings: CoterieSettings, task_executor: str | None) -> None:
    executor = _executor(task_executor)
    if executor is not None:
        require_shared_store(settings.artifacts, executor, shared_file_system=settings.shared_file_system)


def _state_url(settings: CoterieSettings, task_executor: str | None) -> str:
    url = settings.store or LOCAL_STORE
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

    url = _state_url(settings, task_executor)
    return open_state_store(url, settings.namespace, named_by=settings.store_named_by)


async def _answering(store: StateStore) -> str:
    """Where a store lies that answers, and holds what this coterie reads."""
    from coterie.stores.format import check_format

    try:
        await check_format(store)
    finally:
        await store.aclose()
    return store.url


async def _keeping(journal: Journal, conn_id: str) -> str:
    """How durable a journal is that answers."""
    from airflow_provider_coterie.ledger import look

    try:
        await look(journal, "airflow-connection-test", conn_id)
    finally:
        await journal.aclose()
    return journal.store.durability


def _default_store() -> ArtifactStore | None:
    try:
        return CoterieHook().get_conn()
    except Misuse:
        # Not set up: coterie's own message tells what it looked for.
        return None


# `Ref.load()` in a task that knows nothing of coterie reads through the default connection.
sync.add_artifacts_fallback(_default_store)
