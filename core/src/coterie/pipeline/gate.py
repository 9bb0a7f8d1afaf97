"""The way to an agent of one type: a slot, the breaker's leave, room in the rate limit, money; then the call.

In this order, so that what is scarce is held for the shortest time. Whoever is refused leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from coterie.breaker import BreakerStatus, CircuitBreaker, Guard
from coterie.breaker.shadow import FREE
from coterie.budget import Budget, Spending
from coterie.clock import Clock
from coterie.errors import BreakerOpen, BudgetSpent, LeaseLost, NoLiveAgent, QuotaSpent, Refused, Unavailable
from coterie.events import Event
from coterie.ids import AgentId, AgentType, WorkflowId
from coterie.limiter import RateLimiter
from coterie.pipeline.account import Account
from coterie.pipeline.caller import Caller
from coterie.pipeline.places import PooledSlots
from coterie.pipeline.reopening import Reopening
from coterie.policies import Fallback, Policies, Spend
from coterie.pool import Lease, ResourcePool
from coterie.pool.lease import Wait
from coterie.ports import StateStore
from coterie.retry_budget import RetryBudget
from coterie.slots import Slot, Slots, TypeSlots
from coterie.trail import Trail
from coterie.work import Work

__all__ = ["Admitted", "Gate", "Tools"]

_log = logging.getLogger("coterie.pool")

TELL_S = 5.0
# What is said of a breaker that lets no call, or few, through.
_RESTING = {"open": "is open", "half_open": "is on trial", "forced_open": "was forced open by hand"}
_PASSING = "lets calls pass by now"
# The slot, and what tells the breaker how the call went.
_Leased: TypeAlias = tuple[Lease, Guard | None]
# So often at most the breakers are asked whether the pool is right about them.
RECONCILE_S = 1.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What a gate works with. breaker: of an agent. budget: of a run, if it has its own. store: for what is kept.

    ready: awaited before each call.
    """

    pool: ResourcePool
    breaker: Callable[[AgentId], CircuitBreaker | None]
    limiter: RateLimiter | None
    budget: Callable[[Spend, WorkflowId], Budget]
    retries: RetryBudget | None
    store: StateStore
    ready: Callable[[], Awaitable[None]]
    clock: Clock


@dataclass(frozen=True, slots=True)
class Admitted:
    """An agent that may be called now. token: the lease's, for agents that refuse older holders."""

    agent_id: AgentId
    token: int


class Gate:
    """The way to the agents of one type; made by `Pipeline`."""

    def __init__(self, agent_type: AgentType, policies: Policies, tools: Tools) -> None:
        self.agent_type = agent_type
        self.policies = policies
        self.tools = tools
        self._all: Slots | None = None
        self._agents: dict[AgentId, Slot | None] = {}
        self._work = Work()
        self._look_again_s = 0.0
        self._looking: asyncio.Task[bool] | None = None
        self._told_away = False
        self.reopening = Reopening(self._passes_freely)

    def connect(self, slots: Slots) -> None:
        """Say where agents are found that stand in for others."""
        self._all = slots

    def stand_ins(self, fallback: Fallback) -> TypeSlots:
        """The slots of those who stand in.

        Raises:
            UnknownAgent, UnknownAgentType: there are none.
        """
        assert self._all is not None
        if fallback.agent is not None:
            return self._all.of_agent(fallback.agent)
        assert fallback.agent_type is not None
        return self._all.of(fallback.agent_type)

    @property
    def remembers_s(self) -> float:
        """For how long outputs are kept in case of need; 0: they are not."""
        return max((each.cached_s or 0.0 for each in self.policies.fallback), default=0.0)

    @property
    def version(self) -> str:
        """Changes when that of one of the agents does."""
        return ",".join(sorted({slot.agent.version for slot in self._agents.values() if slot is not None}))

    def slots(self) -> TypeSlots:
        """Where the tasks of the type wait in this process."""
        pool = self.policies.pool
        return TypeSlots(self) if pool is None else PooledSlots(self, pool, self.tools.clock)

    def join(self, slot: Slot) -> None:
        """Let tasks through to one more agent."""
        self.register(slot.agent.id, slot.agent.capacity, slot)

    def register(self, agent_id: AgentId, capacity: int, slot: Slot | None = None) -> None:
        """Let callers through to one more agent. slot: what performs its tasks, if it performs any."""
        self.tools.pool.register_agent(agent_id, capacity=capacity)
        self._agents[agent_id] = slot

    def slot(self, agent_id: AgentId) -> Slot:
        """What performs the tasks of an agent that was let through."""
        slot = self._agents[agent_id]
        assert slot is not None
        return slot

    @asynccontextmanager
    async def admit(
        self,
        caller: Caller,
        *,
        wait_s: Wait,
        priority: int = 0,
        key: str = "",
        ticket: str | None = None,
        only: AgentId | None = None,
    ) -> AsyncIterator[Admitted]:
        """Pass; the body calls the agent, and what it raises says how that went.

        wait_s: how long to wait in the pool's queue; 0 does not queue. It, priority, key: as of `ResourcePool.lease`.
        ticket: a place there that is kept already. only: no agent but this one.

        Raises, before the body runs:
            BreakerOpen, PoolBusy, NoLiveAgent, QuotaSpent, BudgetSpent: not now.
            BudgetExhausted: never again in this run. Unavailable: a store failed.
        """
        await self._ready()
        async with AsyncExitStack() as held:
            avoid = [name for name in self._agents if name != only] if only is not None else []
            ask = partial(self.tools.pool.lease, priority=priority, wait_s=wait_s, key=key, ticket=ticket)
            trail = caller.trail
            if trail is None:
                lease, guard = await self._lease(held, ask, avoid)
                account = await self._account(held, caller)
            else:
                leased, account = await self._noted(trail, self._lease(held, ask, avoid), held, caller, priority)
                lease, guard = leased
            async with account:
                if guard is not None:
                    # What stood in the way since is none of the agent's doing.
                    guard.calls()
                yield Admitted(lease.agent_id, lease.token)

    async def _noted(
        self, trail: Trail, lease: Coroutine[Any, Any, _Leased], held: AsyncExitStack, caller: Caller, priority: int
    ) -> tuple[_Leased, Account]:
        """The way as always, and what stood in it on the trail."""
        began_us = trail.now_us()
        try:
            try:
                leased = await lease
            finally:
                trail.waited("queue", began_us, place="pool", priority=priority)
            return leased, await self._account(held, caller, trail)
        except Refused as refusal:
            # Of a budget, its own name is on the trail.
            if not isinstance(refusal, BudgetSpent):
                _note_refusal(trail, refusal, self._named(refusal))
            raise

    def _named(self, refusal: Refused) -> str:
        """Who refused."""
        if isinstance(refusal, BreakerOpen):
            return f"breaker:{refusal.breaker}"
        return f"{'limit' if isinstance(refusal, QuotaSpent) else 'pool'}:{self.agent_type}"

    @property
    def breaker_names(self) -> list[str]:
        """The circuit breakers of its agents."""
        breakers = [self.tools.breaker(agent_id) for agent_id in self._agents]
        return list(dict.fromkeys(breaker.name for breaker in breakers if breaker is not None))

    async def look_again(self) -> bool:
        """Whether a breaker no longer rests although the pool thinks so: it was closed by hand, or elsewhere."""
        return await self._wake(lambda breaker: breaker.retry_after_s == 0.0)

    def breaker_moved(self, event: Event) -> None:
        """Copy what a breaker does into the pool: it must not be picked while it rests."""
        agent_ids = [event.fields["breaker"]] if self.policies.breaker_scope == "agent" else list(self._agents)
        rests_s = event.fields.get("retry_after_s", 0.0) if event.name == "breaker.opened" else 0.0
        if event.name in ("breaker.opened", "breaker.closed"):
            for agent_id in agent_ids:
                self._work.start(self._suspend(agent_id, rests_s))

    async def aclose(self) -> None:
        """End what is still being told, within a bound."""
        await self._work.aclose(TELL_S)

    async def _lease(
        self, held: AsyncExitStack, ask: Callable[..., AbstractAsyncContextManager[Lease]], avoid: list[AgentId]
    ) -> _Leased:
        refusal: BreakerOpen | None = None
        tries = len(self._agents) + 1
        while tries > 0:
            tries -= 1
            async with AsyncExitStack() as attempt:
                try:
                    lease = await attempt.enter_async_context(_kept_to_the_end(ask(self.agent_type, avoid=avoid)))
                except BreakerOpen as error:
                    woke_up, refusal = await self._woke_up(), self._all_suspended(error)
                    if not woke_up:
                        raise refusal from None
                    continue
                if lease.agent_id not in self._agents:
                    # Registered by a process that knows more agents than this one; however many, its own come after.
                    tries += lease.agent_id not in avoid
                    avoid, lease.unused = [*avoid, lease.agent_id], True
                    continue
                breaker = self.tools.breaker(lease.agent_id)
                guard: Guard | None = None
                try:
                    if breaker is not None:
                        guard = await attempt.enter_async_context(breaker.guard().hold())
                except BreakerOpen as error:
                    refusal, lease.unused = error, True
                    await self._suspend(lease.agent_id, error.retry_after_s)
                    continue
                held.push_async_exit(attempt.pop_all())
                return lease, guard
        raise refusal or NoLiveAgent(
            f"the pool {self.agent_type!r} has only agents that this process does not know; use one team everywhere",
            retry_after_s=1.0,
        )

    async def _ready(self) -> None:
        try:
            await self.tools.ready()
        except Unavailable as error:
            # What needs its store says so itself.
            if self.policies.on_store_failure == "fail_closed":
                raise
            if not self._told_away:
                # One long wait to learn that it does not answer is enough.
                self._told_away = True
                for agent_id in self._agents:
                    breaker = self.tools.breaker(agent_id)
                    if breaker is not None:
                        breaker.store_is_away(error)

    async def _passes_freely(self) -> bool:
        return await self._wake(lambda breaker: breaker.state in FREE)

    async def _wake(self, is_awake: Callable[[BreakerStatus], bool]) -> bool:
        """Whether any breaker is; the pool is told."""
        woken = False
        for agent_id in self._agents:
            breaker = self.tools.breaker(agent_id)
            if breaker is not None and is_awake(await breaker.refresh()):
                await self._suspend(agent_id, 0.0)
                woken = True
        return woken

    async def _woke_up(self) -> bool:
        """As `look_again`, once a second at most; who is refused while that is asked waits for the answer.

        It holds for the whole second: a refusal that is heard after it may have been made before.
        """
        now_s, last = self.tools.clock.monotonic(), self._looking
        if last is None or last.cancelled() or (last.done() and now_s >= self._look_again_s):
            self._look_again_s = now_s + RECONCILE_S
            self._looking = last = self._work.start(self.look_again())
        return await asyncio.shield(last)

    def _all_suspended(self, refusal: BreakerOpen) -> BreakerOpen:
        """The pool's refusal, with what the breakers say of it."""
        states: dict[str, str] = {}
        for agent_id in self._agents:
            breaker = self.tools.breaker(agent_id)
            if breaker is not None:
                states[breaker.name] = breaker.get_state().state
        resting = {name: state for name, state in states.items() if state in _RESTING}
        if not states:
            return refusal
        told = ", ".join(f"{name!r} {_RESTING.get(state, _PASSING)}" for name, state in (resting or states).items())
        by_hand = next((name for name, state in resting.items() if state == "forced_open"), None)
        ends = f"; 'coterie breakers auto {by_hand}' ends that" if by_hand is not None else ""
        said = f"every agent of the type {self.agent_type!r} is suspended, by the circuit breakers: {told}{ends}"
        return BreakerOpen(refusal.breaker, retry_after_s=refusal.retry_after_s, state=refusal.state, said=said)

    async def _suspend(self, agent_id: AgentId, rests_s: float) -> None:
        try:
            async with asyncio.timeout(TELL_S):
                await self.tools.pool.suspend_for(agent_id, rests_s)
        except (Unavailable, TimeoutError):
            # The breaker itself goes on refusing; the pool learns of it from the next that is refused.
            return

    async def _account(self, held: AsyncExitStack, caller: Caller, trail: Trail | None = None) -> Account:
        limiter = self.tools.limiter
        reservation = None
        if limiter is not None:
            costs = {"tokens": self.policies.tokens_per_call} if "tokens" in limiter.quotas else {}
            began_us = trail.now_us() if trail is not None else 0
            reservation = await limiter.acquire(max_wait_s=self.policies.max_hold_s, **costs)
            if trail is not None:
                trail.waited("limit", began_us, quota=",".join(limiter.quotas))
        spendings: list[tuple[Spend, Spending]] = []
        try:
            for spend in self.policies.budgets:
                budget = self.tools.budget(spend, caller.workflow_id)
                try:
                    spending = await held.enter_async_context(budget.reserve(spend.bound))
                except BudgetSpent as refusal:
                    if trail is not None:
                        _note_refusal(trail, refusal, f"budget:{spend.name}")
                    raise
                # Whoever is refused by the next one has spent nothing of this one.
                spending.report(0)
                spendings.append((spend, spending))
        except BaseException:  # raised again: the place in the rate limit is given back first
            if reservation is not None:
                await reservation.cancel()
            raise
        return Account(caller, limiter, reservation, spendings, self.tools.retries)


def _note_refusal(trail: Trail, refusal: Refused, by: str) -> None:
    trail.note("refused", trail.now_us(), 0, by=by, error=refusal, retry_after_s=round(refusal.retry_after_s, 3))


@asynccontextmanager
async def _kept_to_the_end(way: AbstractAsyncContextManager[Lease]) -> AsyncIterator[Lease]:
    """A lease whose loss ends nothing: work that was done is done, and was paid for."""
    done = False
    try:
        async with way as lease:
            yield lease
            done = True
    except LeaseLost as error:
        if not done:
            raise
        _log.warning("lease.lost: the slot may have been somebody else's for a while: %s", error)
