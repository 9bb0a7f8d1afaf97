"""A store that never answers, and `fail_open`: one caller a second finds out whether it is back, all others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from coterie._rules.decided import Decide, State
from coterie.errors import LeaseLost, Unavailable
from coterie.limiter import Quota, RateLimiter
from coterie.pool import PoolPolicy, ResourcePool
from coterie.ports import Notice
from coterie.stores.memory import MemoryStateStore
from coterie.testing.clock import ManualClock
from tests.fleet.faults.weather import until


class SilentStore(MemoryStateStore):
    """Fails at the first word once it is `silent`, then never answers. asked: how many wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.silent = False
        self.asked = 0
        self._failed = False
        self._for_ever = asyncio.Event()

    async def update(self, key: str, decide: Decide[object], *, keep_s: float | None = None) -> object:  # type: ignore[override]
        await self._answer()
        return await super().update(key, decide, keep_s=keep_s)

    async def read(self, key: str) -> tuple[State | None, int]:
        await self._answer()
        return await super().read(key)

    async def subscribe(self, channel: str, notice: Notice) -> None:
        await self._answer()
        await super().subscribe(channel, notice)

    async def _answer(self) -> None:
        if not self.silent:
            return
        if not self._failed:
            self._failed = True
            raise Unavailable("no answer within 5 s")
        self.asked += 1
        await self._for_ever.wait()


@pytest.fixture
async def silent() -> AsyncIterator[SilentStore]:
    store = SilentStore()
    yield store
    await store.aclose()


async def test_one_caller_of_a_limiter_asks_a_silent_store_and_the_others_go_on_alone(silent):
    clock = ManualClock()
    limiter = RateLimiter("l", Quota(rate_per_s=1, burst=100), store=silent, on_store_failure="fail_open", clock=clock)
    await limiter.acquire()
    silent.silent = True
    await limiter.acquire()

    clock.advance(1.5)
    calls = [asyncio.create_task(limiter.acquire()) for _ in range(10)]
    await until(lambda: sum(call.done() for call in calls) == 9, "nine of ten are let go")

    assert silent.asked == 1
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)


async def test_whoever_waits_for_its_turn_alone_does_not_wait_for_a_silent_store(silent):
    limiter = RateLimiter("l", Quota(rate_per_s=50, burst=1), store=silent, on_store_failure="fail_open")
    await limiter.acquire()
    silent.silent = True
    await limiter.acquire()

    # Less than a second's worth, so that nobody asks the store.
    async with asyncio.timeout(20):
        await asyncio.gather(*(limiter.acquire() for _ in range(10)))

    assert silent.asked == 0
    silent.silent = False
    await limiter.aclose()


async def test_a_lease_that_was_lost_says_so_also_where_the_store_cannot_be_told_that_it_is_over(opened, weather):
    policy = PoolPolicy(lease_s=1.0, heartbeat_s=0.3, claim_s=2.0)
    pool = ResourcePool("t", store=opened(), policy=policy)
    pool.register_agent("north")
    async with AsyncExitStack() as held:
        lease = await held.enter_async_context(pool.lease(wait_s=5))
        weather.proxy.refuse()
        weather.proxy.cut()
        await until(lease.lost.is_set, "the lease has ended")

        with pytest.raises(LeaseLost):
            await held.aclose()
    weather.proxy.accept()
    async with pool.lease(wait_s=5):
        pass
    await pool.aclose()


async def test_agents_that_a_store_has_forgotten_are_known_to_it_again_with_the_next_call(opened, weather):
    pool = ResourcePool("t", store=opened())
    pool.register_agent("north")
    async with pool.lease(wait_s=5):
        pass
    with weather.server.client() as client:
        client.flushdb()

    # The next heartbeat is 10 s away.
    async with pool.lease(wait_s=0):
        pass
    await pool.aclose()
