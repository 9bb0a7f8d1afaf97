"""What the triggers of one process share: one store for each connection, in it one pool for each agent type.

A thousand deferred tasks then cost the store one subscription and one command a second, not a thousand. A journal, and
the log of events, are shared likewise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from airflow_provider_coterie.hook import CoterieHook
from coterie.breaker import BreakerPolicy, BreakerStatus, CircuitBreaker
from coterie.errors import Unavailable
from coterie.pool import PoolPolicy, ResourcePool

if TYPE_CHECKING:
    from coterie import ArtifactStore
    from coterie.ids import AgentType
    from coterie.journal import Journal
    from coterie.ports import LogStore, StateStore
    from coterie.remote import RemoteCalls

__all__ = ["Calls", "Outlook", "calls_outlook", "journal_outlook", "log_outlook", "outlook"]


class _Closable(Protocol):
    async def aclose(self) -> None: ...


T = TypeVar("T", bound=_Closable)
_Key = tuple[str, str | None]


@dataclass(slots=True)
class _Shared(Generic[T]):
    """Something open, and how many use it."""

    opened: T
    users: int = 0


_ByLoop = WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, _Shared[T]]]
# By event loop: a store is of the loop that uses it.
_open: _ByLoop[Outlook] = WeakKeyDictionary()
_open_journals: _ByLoop[Journal] = WeakKeyDictionary()
_open_logs: _ByLoop[LogStore] = WeakKeyDictionary()


class Outlook:
    """A connection's state store, open; made by `outlook`."""

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self._pools: dict[tuple[AgentType, PoolPolicy], ResourcePool] = {}

    def pool(
        self, agent_type: AgentType, policy: Mapping[str, Any], agents: Collection[tuple[str, int]]
    ) -> ResourcePool:
        """The pool of a type; while it is open here, its agents count as alive: workers run them when asked to."""
        key = (agent_type, PoolPolicy(**policy))
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = ResourcePool(agent_type, store=self.store, policy=key[1])
        for agent_id, capacity in agents:
            pool.register_agent(agent_id, capacity=capacity)
        return pool

    async def breaker(self, name: str, policy: Mapping[str, Any] | None) -> BreakerStatus:
        """What holds of a breaker now. policy: without one, how long it rests is not to be relied on.

        Raises:
            Unavailable: the store does not answer.
        """
        breaker = CircuitBreaker(
            name,
            BreakerPolicy(**(policy or {})),
            store=self.store,
            residence="transient",
            on_store_failure="fail_closed",
        )
        try:
            status = await breaker.refresh()
        finally:
            await breaker.aclose()
        if status.store == "away":
            raise Unavailable(f"the state store {self.store.url!r} does not answer; see why, or try again later")
        return status

    async def free_slots(
        self, agent_type: AgentType, policy: Mapping[str, Any], agents: Collection[tuple[str, int]]
    ) -> int:
        """The slots of a pool that a task would get at once."""
        status = await self.pool(agent_type, policy, agents).refresh()
        return sum(max(0, agent.slots - agent.in_use) for agent in status.agents if agent.condition == "ready")

    @asynccontextmanager
    async def hearing(self, channels: Collection[str], told: Callable[[], None]) -> AsyncIterator[None]:
        """While this is open, `told` is called for each signal, and when one may have been missed."""

        def notice(_: str | None) -> None:
            told()

        async with AsyncExitStack() as stack:
            for channel in channels:
                await self.store.subscribe(channel, notice)
                stack.push_async_callback(self.store.unsubscribe, channel, notice)
            yield

    async def aclose(self) -> None:
        """Close the pools, then the store; both within a bound."""
        for pool in self._pools.values():
            await pool.aclose()
        await self.store.aclose()


@asynccontextmanager
async def outlook(coterie_conn_id: str, executor: str | None) -> AsyncIterator[Outlook]:
    """The connection's state store, open as long as anybody in this event loop uses it.

    Raises:
        Misuse, PolicyError: there is no such connection, or no store that can be shared.
    """

    async def opened() -> Outlook:
        return Outlook(await CoterieHook(coterie_conn_id, executor=executor).aget_state_store())

    async with _shared(_open, (coterie_conn_id, executor), opened) as shared:
        assert shared is not None
        yield shared


@asynccontextmanager
async def journal_outlook(coterie_conn_id: str, executor: str | None) -> AsyncIterator[Journal | None]:
    """The connection's journal, to look at, as `outlook`; None where it is off by now.

    Raises:
        Misuse: there is no such connection.
    """
    hook = CoterieHook(coterie_conn_id, executor=executor)
    async with _shared(_open_journals, (coterie_conn_id, executor), hook.aget_journal) as shared:
        yield shared


@asynccontextmanager
async def log_outlook(coterie_conn_id: str, executor: str | None) -> AsyncIterator[LogStore]:
    """The connection's log of events, as `outlook`.

    Raises:
        As `outlook`.
    """
    hook = CoterieHook(coterie_conn_id, executor=executor)
    async with _shared(_open_logs, (coterie_conn_id, executor), hook.aget_log_store) as shared:
        assert shared is not None
        yield shared


@dataclass(frozen=True, slots=True)
class Calls:
    """Remote calls of a connection, and where they lie."""

    calls: RemoteCalls
    outlook: Outlook
    artifacts: ArtifactStore


@asynccontextmanager
async def calls_outlook(coterie_conn_id: str, executor: str | None) -> AsyncIterator[Calls]:
    """The connection's remote calls, on the shared state store and log.

    Raises:
        As `outlook`.
    """
    from airflow_provider_coterie.events.buses import bus_on
    from coterie.remote import RemoteCalls

    artifacts = await CoterieHook(coterie_conn_id, executor=executor).aget_conn()
    async with outlook(coterie_conn_id, executor) as shared, log_outlook(coterie_conn_id, executor) as log:
        calls = RemoteCalls(shared.store, log, artifacts=artifacts, namespace=log.namespace, bus=bus_on(log))
        try:
            yield Calls(calls, shared, artifacts)
        finally:
            await calls.aclose()


@asynccontextmanager
async def _shared(by_loop: _ByLoop[T], key: _Key, opened: Callable[[], Awaitable[T | None]]) -> AsyncIterator[T | None]:
    known = by_loop.setdefault(asyncio.get_running_loop(), {})
    if key not in known:
        mine = await opened()
        if mine is None:
            yield None
            return
        # Somebody else may have been as quick; a store that was not used has opened nothing.
        known.setdefault(key, _Shared(mine))
    shared = known[key]
    shared.users += 1
    try:
        yield shared.opened
    finally:
        shared.users -= 1
        if not shared.users and known.get(key) is shared:
            del known[key]
            await shared.opened.aclose()
