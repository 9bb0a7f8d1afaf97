"""The one place that wires stores, clock and team together, and the only owner of their end."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from coterie.agents.clients import aclose_clients
from coterie.artifacts import ArtifactStore
from coterie.clock import Clock
from coterie.errors import Misuse
from coterie.events import Listener
from coterie.journal import Journal
from coterie.orchestrator import Orchestrator
from coterie.ports import LogStore, StateStore
from coterie.shutdown import timeout_s_here
from coterie.team import Team
from coterie.telemetry.counting import hide

if TYPE_CHECKING:
    from coterie.bus import EventBus
    from coterie.remote.calls import RemoteCalls

__all__ = ["Runtime"]

CLOSE_GRACE_S = 10.0


class Runtime:
    """A team with its stores, ready to work; close it when done.

    team: a `Team`, or the path that `Team.load` takes.
    artifacts: the artifact store or its URL; by default `COTERIE_ARTIFACTS`, else outputs stay in memory.
    store: the state that all share who protect the same agents, or its URL; by default `COTERIE_STORE`, else a file of
    this machine (in `COTERIE_HOME`, or the user's state folder). Opened only for a team that has policies.
    journal: what runs have finished, so that it is never done again: a `Journal`, the URL of its store, or True for one
    at the place of the shared state. Off by default: then runs begin from nothing.
    log: where messages lie: the queues of tasks that workers perform, and the events that tasks publish; or its URL.
    By default beside the state. Opened when it is first needed, as is the state for tasks that workers perform.
    store_named_by: the setting that holds the store's URL, for messages: such as "the connection 'coterie_default'".
    namespace: by default `COTERIE_NAMESPACE`, else `default`; of stores made from a URL, and of all identities.
    graceful_shutdown_timeout_s: as of `Orchestrator`; by default `COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S`, else 10.

    Raises:
        Misuse: there is no such team, or a URL cannot be one. UnknownAgentType, UnknownAgent: the team's policies, or a
        fallback, are for nobody. Misuse: `journal=True` beside an open store.
    """

    def __init__(
        self,
        team: Team | str | None = None,
        *,
        artifacts: ArtifactStore | str | None = None,
        store: StateStore | str | None = None,
        log: LogStore | str | None = None,
        store_named_by: str | None = None,
        journal: Journal | str | bool = False,
        namespace: str | None = None,
        on_event: Listener | None = None,
        clock: Clock | None = None,
        graceful_shutdown_timeout_s: float | None = None,
    ) -> None:
        kept = artifacts or os.environ.get("COTERIE_ARTIFACTS") or None
        self.namespace = namespace or os.environ.get("COTERIE_NAMESPACE") or "default"
        self.team = Team.load(team) if isinstance(team, str) else team
        if self.team is not None:
            self.team.check()
        self.artifacts = ArtifactStore(kept, namespace=self.namespace) if isinstance(kept, str) else kept
        self._owns_store = store is None or isinstance(store, str)
        self._store_named_by = store_named_by
        self._store_url = store if isinstance(store, str) else None
        self._given_log = log
        self._log: LogStore | None = None
        self._calls_store: StateStore | None = None
        self._remote: RemoteCalls | None = None
        self._bus: EventBus | None = None
        self.store = self._opened(store)
        self._owns_journal = not isinstance(journal, Journal)
        beside = store if isinstance(store, str) else None
        if journal is True and not self._owns_store:
            raise Misuse(
                "this runtime was given an open state store, and journal=True means a journal beside one that it opens "
                "itself; give the journal or its URL, or the store's URL instead"
            )
        if isinstance(journal, str) or journal is True:
            journal = self._opened_journal(beside, store_named_by) if journal is True else self._opened_journal(journal)
        self.journal = journal or None
        self.orchestrator = Orchestrator(
            self.team,
            artifacts=self.artifacts,
            store=self.store,
            journal=self.journal,
            namespace=self.namespace,
            on_event=on_event,
            clock=clock,
            graceful_shutdown_timeout_s=(
                timeout_s_here() if graceful_shutdown_timeout_s is None else graceful_shutdown_timeout_s
            ),
            remote=partial(getattr, self, "remote"),
            bus=partial(getattr, self, "bus"),
        )
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._closed:
            raise Misuse("this runtime is closed; make a new one")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def remote(self) -> RemoteCalls:
        """The way to workers that share this runtime's stores; opened when first asked for.

        Raises:
            Misuse: the runtime was given a state store, and no log store.
        """
        if self._remote is None:
            from coterie.remote.calls import RemoteCalls

            store = self.store
            if store is None:
                from coterie.stores.opening import open_state_store

                store = self._calls_store = open_state_store(
                    self._store_url, self.namespace, named_by=self._store_named_by
                )
            self._remote = RemoteCalls(
                store,
                self.log,
                artifacts=self.artifacts,
                namespace=self.namespace,
                bus=self.bus,
                on_event=self.orchestrator.tell,
            )
        return self._remote

    @property
    def bus(self) -> EventBus:
        """Where tasks publish; opened when first asked for.

        Raises:
            Misuse: as `remote`.
        """
        if self._bus is None:
            from coterie.bus import EventBus, Signing

            self._bus = EventBus(self.log, signing=Signing.from_environment())
        return self._bus

    @property
    def log(self) -> LogStore:
        """Where messages lie; opened when first asked for.

        Raises:
            Misuse: the runtime was given a state store, and no log store.
        """
        if self._log is None:
            given = self._given_log
            if given is not None and not isinstance(given, str):
                self._log = given
                return given
            if given is None and not self._owns_store:
                raise Misuse(
                    "this runtime was given an open state store, and needs a log store beside it for workers and "
                    "events; give log=, or the store's URL instead"
                )
            from coterie.stores.opening import open_log_store

            self._log = open_log_store(given or self._store_url, self.namespace, named_by=self._store_named_by)
        return self._log

    async def aclose(self) -> None:
        """End what still runs, wait for that at most 10 s, and release what is held; safe to call twice."""
        self._closed = True
        # The last one first. Whatever fails on the way, or is cut short, the rest is closed all the same.
        async with AsyncExitStack() as ending:
            ending.push_async_callback(aclose_clients)
            if self._owns_journal and self.journal is not None:
                ending.push_async_callback(self.journal.aclose)
            if self._owns_store and self.store is not None:
                ending.push_async_callback(self.store.aclose)
            self._close_ways(ending)
            ending.push_async_callback(self.orchestrator.pipeline.aclose)
            ending.callback(hide, self.orchestrator)
            await self.orchestrator.stop(grace_s=CLOSE_GRACE_S)

    def _close_ways(self, ending: AsyncExitStack) -> None:
        if self._calls_store is not None:
            ending.push_async_callback(self._calls_store.aclose)
        if self._log is not None and self._log is not self._given_log:
            ending.push_async_callback(self._log.aclose)
        if self._bus is not None:
            ending.push_async_callback(self._bus.aclose)
        if self._remote is not None:
            ending.push_async_callback(self._remote.aclose)

    def _opened(self, store: StateStore | str | None) -> StateStore | None:
        if not (store is None or isinstance(store, str)):
            return store
        if self.team is None or not self.team.policies:
            return None
        from coterie.stores.opening import open_state_store

        return open_state_store(store, self.namespace, named_by=self._store_named_by)

    def _opened_journal(self, url: str | None, named_by: str | None = None) -> Journal:
        from coterie.stores.opening import open_journal_store

        return Journal(open_journal_store(url, self.namespace, named_by=named_by))
