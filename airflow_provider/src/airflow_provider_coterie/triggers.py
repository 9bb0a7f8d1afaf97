"""Waiting without a worker: for a refusal to be over, for a breaker or pool to be as wanted, for work to be free.

The first are pushed by the signals of the state store. They look at it by themselves only now and then, in case a
signal was lost: every `RECONCILE_S`; for a pool, which tells nobody but its queue of a free slot, every `POOL_LOOK_S`.
A journal has no signals: it is looked at every second at first, later every `CLAIM_LOOK_S`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from airflow_provider_coterie.behind import see_through
from airflow_provider_coterie.outlook import Outlook, journal_outlook, outlook
from airflow_provider_coterie.resuming import ResumingTrigger
from airflow_provider_coterie.waiting import ClaimWait, Wait
from coterie.errors import BreakerOpen, CoterieError, Refused, Unavailable

__all__ = ["CoterieClaimTrigger", "CoterieRefusalTrigger", "CoterieStateTrigger"]

RECONCILE_S = 30.0
POOL_LOOK_S = 5.0
CLAIM_LOOK_S = 5.0
# The first look after the store has failed; then twice as long each time, up to `RECONCILE_S`.
RECOVER_S = 1.0
_HERE = "airflow_provider_coterie.triggers"
# Those who were refused together do not all return together: a wait is lengthened by chance, by at most this share.
_SPREAD = 0.1
_FREE = ("closed", "disabled", "metrics_only")


class CoterieRefusalTrigger(ResumingTrigger):
    """Wait until a refused task may be tried again; fires once, whether that is so or the patience is used up.

    wait: as `Wait.to_dict` gives it. Refused by a pool, it stands in the pool's queue under the task's ticket: any
    number of triggers with the same ticket are one place, and the place survives a restart of the triggerer.

    The event is `{"woken_by": "slot" | "breaker" | "time" | "patience", "first_refused_at": …}`.
    """

    def __init__(self, *, coterie_conn_id: str, wait: Mapping[str, Any], executor: str | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.coterie_conn_id = coterie_conn_id
        self.executor = executor
        self.wait = Wait.from_dict(wait)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the trigger is made of again, in whatever triggerer."""
        kwargs = {"coterie_conn_id": self.coterie_conn_id, "wait": self.wait.to_dict(), "executor": self.executor}
        return f"{_HERE}.{type(self).__name__}", kwargs

    async def awaited(self) -> dict[str, Any]:
        """How the wait ended."""
        return {"woken_by": await self._woken(), "first_refused_at": self.wait.first_refused_at}

    async def on_kill(self) -> None:
        """A person ended the task: leave the queue. Not called when the triggerer stops, nor when this has fired."""
        if self.wait.wait_for == "slot" and self.wait.pool is not None:
            await see_through(self._leave(self.wait.pool))

    async def _leave(self, policy: Mapping[str, Any]) -> None:
        # What cannot be withdrawn now ends by itself, after the policy's `ticket_s`.
        with suppress(CoterieError):
            async with outlook(self.coterie_conn_id, self.executor) as shared:
                await shared.pool(self.wait.agent_type, policy, ()).withdraw(self.wait.ticket)

    async def _woken(self) -> str:
        waits: dict[str, Callable[[Outlook], Awaitable[str]]] = {"slot": self._for_slot, "breaker": self._for_breaker}
        work = waits.get(self.wait.wait_for)
        patience = asyncio.timeout(max(0.0, self.wait.gives_up_at - time.time()))
        try:
            async with patience:
                return await _with_outlook(self, work) if work is not None else await self._for_time()
        except TimeoutError:
            if not patience.expired():
                raise
            return "patience"
        except CoterieError as error:
            self.log.warning("refusal.not_watched: %s: %s; waiting for its time alone", type(error).__name__, error)
            return await self._for_time()

    async def _for_time(self) -> str:
        left_s = self.wait.retry_at - time.time()
        await asyncio.sleep(max(0.0, min(spread(left_s), self.wait.gives_up_at - time.time())))
        return "time"

    async def _for_slot(self, shared: Outlook) -> str:
        wait = self.wait
        assert wait.pool is not None
        pool = shared.pool(wait.agent_type, wait.pool, wait.agents)
        while True:
            try:
                if await pool.keep_place(wait.ticket, priority=wait.priority, wait_s=RECONCILE_S):
                    return "slot"
            except BreakerOpen:
                # The task learns of it by asking, and waits for the breaker then.
                return "breaker"
            except Refused as error:
                await asyncio.sleep(max(RECOVER_S, error.retry_after_s))

    async def _for_breaker(self, shared: Outlook) -> str:
        wait = self.wait
        told = asyncio.Event()
        async with shared.hearing([f"breaker/{name}" for name in wait.breakers], told.set):
            while True:
                told.clear()
                rests_s = await self._rests_s(shared)
                if rests_s <= 0:
                    return "breaker"
                await _told_within(told, min(spread(rests_s), RECONCILE_S))

    async def _rests_s(self, shared: Outlook) -> float:
        """Until the first of the breakers may let a call through."""
        rests_s = []
        for name in self.wait.breakers:
            status = await shared.breaker(name, self.wait.breaker)
            if status.state in _FREE:
                await self._tell_pool(shared, name)
            rests_s.append(status.retry_after_s)
        return min(rests_s, default=0.0)

    async def _tell_pool(self, shared: Outlook, breaker: str) -> None:
        """Have the fleet's pool pick the agents of a closed breaker again: whoever closed it may not have told it."""
        wait = self.wait
        if wait.pool is not None:
            pool = shared.pool(wait.agent_type, wait.pool, wait.agents)
            for agent_id, _ in wait.agents:
                if agent_id == breaker or len(wait.breakers) == 1:
                    await pool.suspend_for(agent_id, 0.0)


class CoterieStateTrigger(ResumingTrigger):
    """Wait until a breaker is in one of the states `expected`, or a pool has `free_slots`; fires once, for sensors.

    breaker: its name; else agent_type: whose pool, with its policy and agents, as in `Wait`.
    The event is `{"state": …}`, or `{"free_slots": …}`.
    """

    def __init__(
        self,
        *,
        coterie_conn_id: str,
        executor: str | None = None,
        breaker: str | None = None,
        expected: Collection[str] = (),
        agent_type: str = "",
        free_slots: int = 1,
        pool: Mapping[str, Any] | None = None,
        agents: Collection[Collection[Any]] = (),
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.coterie_conn_id = coterie_conn_id
        self.executor = executor
        self.breaker = breaker
        self.expected = list(expected)
        self.agent_type = agent_type
        self.free_slots = free_slots
        self.pool = dict(pool or {})
        self.agents = [(str(name), int(capacity)) for name, capacity in agents]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the trigger is made of again, in whatever triggerer."""
        names = ("coterie_conn_id", "executor", "breaker", "expected", "agent_type", "free_slots", "pool")
        kwargs = {name: getattr(self, name) for name in names}
        return f"{_HERE}.{type(self).__name__}", {**kwargs, "agents": [list(agent) for agent in self.agents]}

    async def awaited(self) -> dict[str, Any]:
        """What was found to be as wanted."""
        found: dict[str, Any] = await _with_outlook(self, self._for_pool if self.breaker is None else self._for_breaker)
        return found

    async def _for_breaker(self, shared: Outlook) -> dict[str, Any]:
        assert self.breaker is not None
        told = asyncio.Event()
        async with shared.hearing([f"breaker/{self.breaker}"], told.set):
            while True:
                told.clear()
                status = await shared.breaker(self.breaker, None)
                if status.state in self.expected:
                    return {"state": status.state}
                await _told_within(told, RECONCILE_S)

    async def _for_pool(self, shared: Outlook) -> dict[str, Any]:
        while True:
            free = await shared.free_slots(self.agent_type, self.pool, self.agents)
            if free >= self.free_slots:
                return {"free_slots": free}
            await asyncio.sleep(POOL_LOOK_S * random.uniform(0.75, 1.25))  # noqa: S311  # spreads load, no secret


class CoterieClaimTrigger(ResumingTrigger):
    """Wait until nobody is at the work of a task; fires once.

    wait: as `ClaimWait.to_dict` gives it. Where the journal cannot be looked at, until its `retry_at`.

    The event is `{"woken_by": "claim" | "time"}`.
    """

    def __init__(self, *, coterie_conn_id: str, wait: Mapping[str, Any], executor: str | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.coterie_conn_id = coterie_conn_id
        self.executor = executor
        self.wait = ClaimWait.from_dict(wait)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the trigger is made of again, in whatever triggerer."""
        kwargs = {"coterie_conn_id": self.coterie_conn_id, "wait": self.wait.to_dict(), "executor": self.executor}
        return f"{_HERE}.{type(self).__name__}", kwargs

    async def awaited(self) -> dict[str, Any]:
        """How the wait ended."""
        try:
            woken_by = await self._for_claim()
        except CoterieError as error:
            self.log.warning("claim.not_watched: %s: %s; waiting for its time alone", type(error).__name__, error)
            await asyncio.sleep(max(RECOVER_S, spread(self.wait.retry_at - time.time())))
            woken_by = "time"
        return {"woken_by": woken_by}

    async def _for_claim(self) -> str:
        look_s = 1.0
        async with journal_outlook(self.coterie_conn_id, self.executor) as journal:
            while journal is not None:
                held_s = await journal.held_s(self.wait.workflow_id, self.wait.place)
                if held_s <= 0:
                    break
                await asyncio.sleep(spread(max(1.0, min(held_s, look_s))))
                look_s = min(look_s * 1.5, CLAIM_LOOK_S)
        return "claim"


async def _with_outlook(trigger: Any, work: Callable[[Outlook], Awaitable[Any]]) -> Any:
    """Do `work` with the trigger's store; while that does not answer, again and again, each time later."""
    recover_s = RECOVER_S
    while True:
        try:
            async with outlook(trigger.coterie_conn_id, trigger.executor) as shared:
                return await work(shared)
        except Unavailable as error:
            trigger.log.warning("store.failed: %s; looking again in %.0f s", error, recover_s)
        await asyncio.sleep(spread(recover_s))
        recover_s = min(2 * recover_s, RECONCILE_S)


async def _told_within(told: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await told.wait()


def spread(seconds: float) -> float:
    return seconds * (1.0 + random.random() * _SPREAD)  # noqa: S311  # spreads load, no secret
