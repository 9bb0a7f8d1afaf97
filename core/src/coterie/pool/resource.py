"""The pool: slots of agents that all processes share, leased one at a time, in a fair order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from coterie._rules.pool import Change, key, set_agent, suspend
from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.pool_status import PooledAgent, PoolStatus
from coterie._rules.timeline import micros
from coterie.agent import Agent
from coterie.clock import Clock, SystemClock
from coterie.errors import CoterieError, LeaseLost, Misuse, PolicyError, UnknownAgent, UnknownAgentType
from coterie.ids import AgentId, AgentType, check_name
from coterie.pool.lane import GIVE_BACK_S, Lane
from coterie.pool.lease import Ask, Assignment, Lease, Wait, check_ticket, check_wait, new_id, outcome_of, time_left
from coterie.ports import StateStore
from coterie.shared_state import check_store
from coterie.task import Task

__all__ = ["Assignment", "Lease", "PoolPolicy", "PoolStatus", "PooledAgent", "ResourcePool"]

_log = logging.getLogger("coterie.pool")

_MOST_CAPACITY = 10_000
_MOST_WEIGHT = 1000


class ResourcePool:
    """Agents of one or several types, their slots shared by every process whose pool has the same store.

    agent_type: the one that is meant where none is named. store: without one, the pool is this process's own.
    policy: the same in all processes.

    A pool is used in one event loop. While it holds or awaits anything, one background task keeps that alive in the
    store: one command for each type and heartbeat, one a second where somebody waits. Close it when done.
    """

    def __init__(
        self,
        agent_type: AgentType | None = None,
        *,
        store: StateStore | None = None,
        policy: PoolPolicy | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._default = None if agent_type is None else check_name(agent_type, "the pool's agent type")
        self._clock = clock or SystemClock()
        check_store(store, "the pool" if agent_type is None else f"the pool {agent_type!r}")
        self._store = store or _own_store(self._clock)
        self._owns_store = store is None
        self.policy = policy or PoolPolicy()
        self._owner = new_id()
        self._lanes: dict[AgentType, Lane] = {}
        self._types: dict[AgentId, AgentType] = {}
        self._assigned: dict[tuple[str, AgentId, int], Lease] = {}
        self._news = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False
        if self._default is not None:
            self._lane(self._default)

    def __repr__(self) -> str:
        return f"ResourcePool({sorted(self._lanes)}, store={self._store!r})"

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def register_agent(
        self,
        agent: Agent | AgentId,
        *,
        agent_type: AgentType | None = None,
        capacity: int | None = None,
        weight: int = 1,
    ) -> None:
        """Offer an agent's slots, and keep it alive while this pool is open. Written with the next command.

        agent: an `Agent`, or an id; then the type is the pool's own, unless given, and the capacity 1.
        capacity: slots in the whole fleet. The same agent may be registered by many processes; the last word counts.
        weight: its share under the strategy `weighted`.

        Raises:
            Misuse: an id or type that cannot be a name, or an id that is of another type here.
            PolicyError: a capacity or weight that cannot work.
        """
        self._check_open()
        if isinstance(agent, Agent):
            agent_id, kind = agent.id, agent_type or agent.type
            capacity = agent.capacity if capacity is None else capacity
        else:
            agent_id, kind = check_name(agent, "agent id"), self._type(agent_type)
            capacity = 1 if capacity is None else capacity
        if type(capacity) is not int or not 1 <= capacity <= _MOST_CAPACITY:
            raise PolicyError(
                f"the agent {agent_id!r} has capacity {capacity!r}; give a number from 1 to {_MOST_CAPACITY}"
            )
        if type(weight) is not int or not 1 <= weight <= _MOST_WEIGHT:
            raise PolicyError(f"the agent {agent_id!r} has weight {weight!r}; give a number from 1 to {_MOST_WEIGHT}")
        if self._types.setdefault(agent_id, kind) != kind:
            known = self._types[agent_id]
            raise Misuse(f"the agent {agent_id!r} is of the type {known!r} here, not {kind!r}; choose another agent_id")
        self._lane(kind).register(agent_id, capacity, weight)
        # Without a loop there is nobody to keep it alive yet: then the first command starts that.
        with contextlib.suppress(RuntimeError):
            self._start()

    @asynccontextmanager
    async def lease(
        self,
        agent_type: AgentType | None = None,
        *,
        priority: int = 0,
        wait_s: Wait | None = None,
        key: str = "",
        avoid: Collection[AgentId] = (),
        ticket: str | None = None,
    ) -> AsyncIterator[Lease]:
        """Borrow one slot of one agent, waiting by priority (with ageing), then in order of arrival, fleet-wide.

        wait_s: how long to wait, by default `max_wait_s` of the policy; 0 does not queue. A function is asked, whenever
        the time is over, how much longer. key: kept on one agent by the strategy `consistent_hash`. avoid: agents that
        are not wanted. ticket: a place kept by `keep_place`, or a name under which the place survives this call's
        process; by default there is neither.

        The lease is renewed while the block runs; when it is lost nevertheless, `lease.lost` is set and the end of
        the block raises LeaseLost. An exception in the block counts as the agent's failure (a time-out, AgentThrottled
        and AgentUnavailable as one for being asked too much, which an adaptive pool heeds), a cancellation or refusal
        as nothing. Cancelling while waiting leaves neither lease nor ticket behind.

        Raises:
            UnknownAgentType: no type is named, and the pool has none of its own.
            BreakerOpen: every agent of the type is suspended; NoLiveAgent: none is alive. Both at once.
            PoolBusy: every slot is taken and the time to wait is over, the queue full, or too few agents healthy.
        """
        name = new_id() if ticket is None else check_ticket(ticket)
        ask = Ask(name, new_id(), priority, key=key, avoid=avoid)
        lane, lease = await self._acquire(agent_type, ask, wait_s)
        try:
            yield lease
        except Exception as error:
            await lane.give_back(lease, outcome_of(error))
            raise
        except BaseException:
            await lane.give_back(lease, "")
            raise
        await lane.settle(lease, "" if lease.unused else "s")

    async def submit_task(self, task: Task, *, wait_s: float | None = None) -> Assignment:
        """Lease a slot for a task, by its type and priority; kept alive here until `complete_task`.

        Raises:
            As for `lease`.
        """
        ask = Ask(new_id(), new_id(), task.priority, key=task.id)
        _, lease = await self._acquire(task.agent_type, ask, wait_s)
        self._assigned[task.id, lease.agent_id, lease.token] = lease
        return Assignment(task.id, lease.agent_id, lease.token, lease.deadline)

    async def complete_task(
        self,
        task_id: str,
        agent_id: AgentId,
        success: bool,  # noqa: FBT001
        *,
        token: int | None = None,
        overload: bool = False,
    ) -> None:
        """Give back what `submit_task` assigned. token: of the assignment; needed in another process.

        overload: it failed because the agent was asked too much.

        Raises:
            LeaseLost: it has ended before; StaleToken: and the agent was granted to others since.
        """
        outcome = "s" if success else "o" if overload else "f"
        mine = [name for name in self._assigned if name[:2] == (task_id, agent_id) and token in (None, name[2])]
        if mine:
            lease = self._assigned.pop(mine[0])
            await self._lane(lease.agent_type).settle(lease, outcome)
        elif token is None:
            raise LeaseLost(
                f"the task {task_id!r} has no slot of {agent_id!r} in this process; give the token of its assignment"
            )
        else:
            await self._lane(self._types.get(agent_id) or self._type(None)).complete(agent_id, token, outcome)

    async def keep_place(
        self,
        ticket: str,
        agent_type: AgentType | None = None,
        *,
        priority: int = 0,
        wait_s: float = 0.0,
        key: str = "",
    ) -> bool:
        """Stand in the queue without holding anything: whether a slot waits for `ticket`, within `wait_s` seconds.

        The place survives this process for `ticket_s`; asking again keeps it, and asking twice does no harm. A slot
        that is granted waits `deferred_claim_s` for `lease(ticket=...)`, anywhere, then goes to the next in the queue.

        Raises:
            Refused: as for `lease`; then there is no place. Ask again after `retry_after_s`.
        """
        self._start()
        ask = Ask(check_ticket(ticket), "", priority, takes_over=False, key=key)
        return await self._lane(agent_type).keep_place(ask, wait_s=check_wait(wait_s))

    async def withdraw(self, ticket: str, agent_type: AgentType | None = None) -> None:
        """Give up a place kept by `keep_place`, or the slot that waits for it; unknown ones are ignored."""
        self._check_open()
        await self._lane(agent_type).withdraw(check_ticket(ticket))

    async def drain(self, agent_id: AgentId | None = None, *, agent_type: AgentType | None = None) -> None:
        """Give an agent no new leases, fleet-wide; running ones finish. By default all that are registered here.

        Raises:
            UnknownAgent: the pool has no agent of that id.
        """
        for name in [agent_id] if agent_id is not None else list(self._types):
            await self._change(name, agent_type, "drain")

    async def resume(self, agent_id: AgentId, *, agent_type: AgentType | None = None) -> None:
        """End draining, and suspension.

        Raises:
            UnknownAgent: the pool has no agent of that id.
        """
        await self._change(agent_id, agent_type, "resume")

    async def remove_agent(self, agent_id: AgentId, *, agent_type: AgentType | None = None) -> None:
        """Take an agent out, fleet-wide; its running leases finish. Whoever else keeps it alive brings it back.

        Raises:
            UnknownAgent: the pool has no agent of that id.
        """
        await self._change(agent_id, agent_type, "remove")
        lane = self._lane(agent_type or self._types.get(agent_id))
        lane.agents.pop(agent_id, None)
        self._types.pop(agent_id, None)

    async def suspend(self, agent_id: AgentId, *, until_us: int, agent_type: AgentType | None = None) -> bool:
        """Pick an agent no more before an instant: whoever moves its breaker copies that here.

        until_us: microseconds since the epoch, on the store's clock; one that has passed ends the suspension.
        Returns whether the pool has the agent.
        """
        self._start()
        lane = self._lane(agent_type or self._types.get(agent_id))
        return await lane.change(lambda chance: suspend(lane.terms, agent_id, until_us, chance=chance))

    async def suspend_for(self, agent_id: AgentId, seconds: float, *, agent_type: AgentType | None = None) -> bool:
        """As `suspend`, for so long from now on the store's clock; 0 ends the suspension."""
        self._start()
        lane = self._lane(agent_type or self._types.get(agent_id))
        _, now = await self._store.read(key(lane.agent_type))
        return await self.suspend(agent_id, until_us=now + micros(seconds), agent_type=lane.agent_type)

    def get_pool_status(self) -> PoolStatus:
        """What this process knows: all of the pool as of the last `refresh`, else its own agents and leases."""
        parts = [lane.status or _own_status(lane) for lane in self._lanes.values()]
        return _joined(parts)

    async def refresh(self) -> PoolStatus:
        """The status of the whole pool now, as the store has it."""
        self._check_open()
        await self.heartbeat()
        return _joined([await lane.look() for lane in list(self._lanes.values())])

    async def heartbeat(self) -> None:
        """Renew agents, leases and places now; the background task does it in time.

        Raises:
            Unavailable: the store failed.
        """
        self._start()
        for lane in list(self._lanes.values()):
            await lane.beat()

    async def aclose(self) -> None:
        """Give all leases and places back, and stop looking after the agents, within 5 s; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if self._keeper is not None and not self._keeper.done():
            self._keeper.cancel()
            await asyncio.wait({self._keeper}, timeout=GIVE_BACK_S)
        if self._lanes:
            leaving = [asyncio.ensure_future(lane.leave()) for lane in self._lanes.values()]
            await asyncio.wait(leaving, timeout=GIVE_BACK_S)
        if self._owns_store:
            await self._store.aclose()

    async def _acquire(self, agent_type: AgentType | None, ask: Ask, wait_s: Wait | None) -> tuple[Lane, Lease]:
        self._start()
        lane = self._lane(agent_type)
        return lane, await lane.acquire(ask, left_s=time_left(self.policy.max_wait_s if wait_s is None else wait_s))

    async def _change(self, agent_id: AgentId, agent_type: AgentType | None, change: Change) -> None:
        self._start()
        lane = self._lane(agent_type or self._types.get(agent_id))
        if not await lane.change(lambda chance: set_agent(lane.terms, agent_id, change, chance=chance)):
            raise UnknownAgent(agent_id, [agent.agent_id for agent in (await lane.look()).agents])

    def _type(self, agent_type: AgentType | None) -> AgentType:
        if agent_type is not None:
            return check_name(agent_type, "agent type")
        if self._default is not None:
            return self._default
        if len(self._lanes) == 1:
            return next(iter(self._lanes))
        raise UnknownAgentType("(none named)", self._lanes)

    def _lane(self, agent_type: AgentType | None) -> Lane:
        name = self._type(agent_type)
        lane = self._lanes.get(name)
        if lane is None:
            lane = Lane(name, self._store, self.policy, self._clock, owner=self._owner, wake=self._wake)
            self._lanes[name] = lane
        return lane

    def _wake(self) -> None:
        self._news.set()

    def _start(self) -> None:
        self._check_open()
        if self._keeper is None or self._keeper.done():
            # An event is of one loop, and that of the last keeper may have ended.
            self._news = asyncio.Event()
            self._keeper = asyncio.get_running_loop().create_task(self._keep(), name="coterie-pool")

    def _check_open(self) -> None:
        if self._closed:
            raise Misuse("this pool is closed; make a new one")

    async def _keep(self) -> None:
        """Have each lane say what it has to when it is due."""
        loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            lanes = list(self._lanes.values())
            left_s = min((lane.due_s() for lane in lanes), default=math.inf) - loop.time()
            if left_s > 0:
                await _woken(self._news, None if left_s == math.inf else left_s)
                continue
            due = [lane for lane in lanes if lane.due_s() <= loop.time()]
            for failed in await asyncio.gather(*(lane.beat() for lane in due), return_exceptions=True):
                if failed is not None and not isinstance(failed, CoterieError):
                    raise failed


async def _woken(news: asyncio.Event, timeout_s: float | None) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await news.wait()
    except TimeoutError:
        return


def _own_store(clock: Clock) -> StateStore:
    from coterie.stores.memory import MemoryStateStore

    return MemoryStateStore(clock=clock)


def _own_status(lane: Lane) -> PoolStatus:
    used = [lease.agent_id for lease in lane.held.values()]
    agents = (
        PooledAgent(
            name,
            lane.agent_type,
            capacity,
            used.count(name),
            "busy" if used.count(name) >= capacity else "ready",
            weight,
        )
        for name, (capacity, weight) in lane.agents.items()
    )
    return PoolStatus(tuple(agents), {lane.agent_type: lane.waiting} if lane.waiting else {})


def _joined(parts: list[PoolStatus]) -> PoolStatus:
    agents = tuple(agent for part in parts for agent in part.agents)
    return PoolStatus(agents, {name: count for part in parts for name, count in part.waiting.items()})
