"""What the triggers of one process share: one store for each connection, in it one pool for each agent type.

A thousand deferred tasks then cost the store one subscription and one command a second, not a thousand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_provider_coterie.hook import CoterieHook
from coterie.breaker import BreakerPolicy, BreakerStatus, CircuitBreaker
from coterie.errors import Unavailable
from coterie.pool import PoolPolicy, ResourcePool

if TYPE_CHECKING:
    from coterie.ids import AgentType
    from coterie.ports import StateStore

__all__ = ["Outlook", "outlook"]

_Key = tuple[str, str | None]

# By event loop: a store is of the loop that uses it.
_open: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, Outlook]] = WeakKeyDictionary()


class Outlook:
    """A connection's state store, open; made by `outlook`."""

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self.users = 0
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
    known = _open.setdefault(asyncio.get_running_loop(), {})
    key = (coterie_conn_id, executor)
    if key not in known:
        store = await CoterieHook(coterie_conn_id, executor=executor).aget_state_store()
        # Somebody else may have been as quick; a store that was not used has opened nothing.
        known.setdefault(key, Outlook(store))
    shared = known[key]
    shared.users += 1
    try:
        yield shared
    finally:
        shared.users -= 1
        if not shared.users and known.get(key) is shared:
            del known[key]
            await shared.aclose()
