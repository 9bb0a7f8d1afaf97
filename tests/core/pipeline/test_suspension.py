"""A pool's suspension of an agent ends with the breaker that it stands for, also where nobody was there to be told."""

from __future__ import annotations

import asyncio
import random
from typing import TypeVar

import pytest

from coterie import Agent, CircuitBreaker, Orchestrator, Task, TaskResult, Team
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.decided import Decide, State
from coterie._rules.pool import suspend, turn
from coterie._rules.pool_policy import PoolPolicy
from coterie.policies import Policies
from coterie.ports import StateStore
from coterie.ports.around import StateStoreAround
from coterie.stores.memory import MemoryStateStore
from coterie.testing import ManualClock

T = TypeVar("T")

TERMS = PoolPolicy().terms("x")
POLICIES = Policies(
    breaker=BreakerPolicy(failure_threshold=1, timeout_s=300, jitter=0), pool=PoolPolicy(), max_wait_s=0
)


def team_of(*, down: bool) -> Team:
    async def work(_: object) -> str:
        if down:
            raise ConnectionError("502")
        return "fine"

    return Team("t", [Agent("x1", "x", work, capacity=4)], policies={"x": POLICIES})


async def run(store: StateStore, count: int, *, down: bool) -> list[TaskResult]:
    orchestrator = Orchestrator(team_of(down=down), store=store)
    try:
        tasks = [orchestrator.execute_task(Task(f"t{n}", "x")) for n in range(count)]
        return list(await asyncio.gather(*tasks))
    finally:
        await orchestrator.pipeline.aclose()


class Hesitant(StateStoreAround):
    """A store that lets others come first, now and then, before and after what it does."""

    def __init__(self, wrapped: StateStore, seed: int) -> None:
        super().__init__(wrapped)
        self._chance = random.Random(seed)

    async def update(self, key: str, decide: Decide[T], *, keep_s: float | None = None) -> T:
        await self._hesitate()
        done = await self._wrapped.update(key, decide, keep_s=keep_s)
        await self._hesitate()
        return done

    async def read(self, key: str) -> tuple[State | None, int]:
        await self._hesitate()
        found = await self._wrapped.read(key)
        await self._hesitate()
        return found

    async def _hesitate(self) -> None:
        for _ in range(self._chance.randrange(8)):
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(20))
async def test_of_many_who_come_at_once_after_a_reset_none_is_refused_for_a_suspension_that_is_over(seed: int):
    clock = ManualClock()
    store = Hesitant(MemoryStateStore(clock=clock), seed)
    await run(store, 2, down=True)
    # Everybody has left, and the pool shows no agent any more.
    clock.advance(60)
    by_hand = CircuitBreaker("x1", POLICIES.breaker, store=store)
    await by_hand.reset()
    await by_hand.aclose()

    results = await run(store, 6, down=False)

    assert [result.error for result in results] == [None] * 6


class Stubborn(StateStoreAround):
    """A store in which another process suspends the agent again as soon as it may be picked."""

    async def update(self, key: str, decide: Decide[T], *, keep_s: float | None = None) -> T:
        done = await self._wrapped.update(key, decide, keep_s=keep_s)
        if key == "pool/x":
            now = (await self._wrapped.read(key))[1]
            await self._wrapped.update(key, suspend(TERMS, "x1", now + 300_000_000, chance=0))
        return done


async def test_who_finds_all_suspended_again_and_again_is_told_the_names_of_the_breakers():
    store = Stubborn(MemoryStateStore())
    await store.update("pool/x", turn(TERMS, "before", chance=0, agents=[["x1", 4, 1]]))

    (result,) = await run(store, 1, down=False)

    assert result.error is not None
    assert result.error.message == (
        "every agent of the type 'x' is suspended, by the circuit breakers: 'x1' lets calls pass by now; "
        "try again in 5 min"
    )
