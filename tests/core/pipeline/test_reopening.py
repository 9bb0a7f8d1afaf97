"""Who waits for an open circuit breaker goes on when somebody closes it, and not before its time otherwise."""

from __future__ import annotations

import asyncio

import pytest

from coterie import Agent, CircuitBreaker, Orchestrator, Task, Team
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.pool_policy import PoolPolicy
from coterie.pipeline import reopening
from coterie.pipeline.reopening import Reopening
from coterie.policies import Policies
from coterie.ports import StateStore
from coterie.stores.memory import MemoryStateStore
from coterie.testing import ManualClock

BREAKER = BreakerPolicy(failure_threshold=1, timeout_s=300, jitter=0)
POOLED = Policies(breaker=BREAKER, pool=PoolPolicy(), max_wait_s=3600)
# How often they look here, and for how long what does not end is watched.
LOOK_S, WATCHED_S = 0.02, 0.2


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reopening, "LOOK_S", LOOK_S)


class Provider:
    """One that is down until it is mended."""

    def __init__(self) -> None:
        self.is_down = True

    async def __call__(self, _: object) -> str:
        if self.is_down:
            raise ConnectionError("502")
        return "fine"


def orchestrator_of(provider: Provider, policies: Policies, store: StateStore) -> Orchestrator:
    team = Team("t", [Agent("x1", "x", provider, capacity=4)], policies={"x": policies})
    return Orchestrator(team, store=store)


async def start_waiting(orchestrator: Orchestrator, provider: Provider, *names: str) -> list[asyncio.Task[str]]:
    """Have a task open the breaker, mend the provider, and have further tasks wait."""
    assert (await orchestrator.execute_task(Task("opens", "x"))).state == "failed"
    provider.is_down = False

    async def perform(name: str) -> str:
        return (await orchestrator.execute_task(Task(name, "x"))).state

    waiting = [asyncio.create_task(perform(name)) for name in names]
    done, _ = await asyncio.wait(waiting, timeout=WATCHED_S)
    assert not done
    return waiting


def by_hand(store: StateStore) -> CircuitBreaker:
    """The breaker as another process has it."""
    return CircuitBreaker("x1", BREAKER, store=store)


@pytest.mark.parametrize("policies", [POOLED, Policies(breaker=BREAKER, max_wait_s=3600)], ids=["a pool", "no pool"])
async def test_all_who_wait_go_on_when_somebody_else_resets_the_breaker(policies: Policies):
    store, provider = MemoryStateStore(), Provider()
    orchestrator = orchestrator_of(provider, policies, store)
    waiting = await start_waiting(orchestrator, provider, "a", "b", "c")

    other = by_hand(store)
    await other.reset()

    async with asyncio.timeout(30):
        assert await asyncio.gather(*waiting) == ["succeeded"] * 3
    await other.aclose()
    await orchestrator.pipeline.aclose()


async def test_a_breaker_that_may_be_tried_wakes_nobody_before_his_time():
    clock = ManualClock()
    store, provider = MemoryStateStore(clock=clock), Provider()
    orchestrator = orchestrator_of(provider, POOLED, store)
    (waiting,) = await start_waiting(orchestrator, provider, "a")

    clock.advance(301)
    done, _ = await asyncio.wait([waiting], timeout=WATCHED_S)

    other = by_hand(store)
    assert (done, (await other.refresh()).state) == (set(), "open")
    waiting.cancel()
    await asyncio.wait([waiting])
    await other.aclose()
    await orchestrator.pipeline.aclose()


async def test_those_who_wait_look_once_together():
    looks = 0

    async def look() -> bool:
        nonlocal looks
        looks += 1
        return looks == 3

    gate = Reopening(look)

    async with asyncio.timeout(30):
        assert all(await asyncio.gather(*(gate.wait(3600) for _ in range(50))))
    assert looks == 3


async def test_who_waits_no_longer_leaves_nobody_looking():
    looked = asyncio.Event()

    async def look() -> bool:
        looked.set()
        return False

    gate, before = Reopening(look), asyncio.all_tasks()

    assert await gate.wait(3 * LOOK_S) is False
    looked.clear()
    stopped = asyncio.create_task(gate.wait(3600))
    await looked.wait()
    stopped.cancel()
    left = asyncio.all_tasks() - before

    async with asyncio.timeout(30):
        await asyncio.wait(left)
    assert asyncio.all_tasks() == before


async def test_who_comes_after_the_first_have_gone_is_woken_too():
    is_open = False

    async def look() -> bool:
        return is_open

    gate = Reopening(look)
    assert await gate.wait(3 * LOOK_S) is False

    is_open = True

    async with asyncio.timeout(30):
        assert await gate.wait(3600) is True
