"""Closing against a server that is frozen, with the patience that a store has unless told otherwise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from coterie.breaker import CircuitBreaker
from coterie.budget import Budget
from coterie.limiter import Quota, RateLimiter
from coterie.pool import ResourcePool
from coterie.stores.redis import open_redis
from tests.fleet.faults.orchestrators import orchestrators_of
from tests.fleet.faults.weather import until

# Late by so much, on a busy machine.
SLACK_S = 2.0


@pytest.mark.full
async def test_every_shell_closes_within_its_bound_and_leaves_nothing_running(weather):
    store = open_redis(weather.server.url, "closing")
    breaker = CircuitBreaker("b", store=store, residence="resident")
    pool = ResourcePool("t", store=store)
    limiter = RateLimiter("l", Quota(rate_per_s=10, burst=5), store=store)
    budget = Budget("b", 100, store=store)
    fleet = orchestrators_of(lambda: store, "fail_open")
    pool.register_agent("north", capacity=2)
    await breaker.call(asyncio.sleep, 0)
    held = pool.lease(wait_s=1)
    await held.__aenter__()
    reservations = [await limiter.reserve() for _ in range(7)]
    spending = await budget.hold(10)
    assert await fleet.world.one(fleet.orchestrators[0]) == "succeeded"

    weather.server.pause()
    try:
        await breaker.call(asyncio.sleep, 0)
        ends = [
            asyncio.create_task(reservations[-1].cancel()),
            asyncio.create_task(spending.settle()),
            asyncio.create_task(pool.lease(wait_s=30).__aenter__()),
        ]
        await asyncio.sleep(0.1)
        # Telling what waits, then what is on its way, then its end: 3 s each.
        await _closes(breaker.aclose, 9.0)
        await _closes(pool.aclose, 5.0)
        await _closes(limiter.aclose, 5.0)
        await _closes(budget.aclose, 5.0)
        await _closes(fleet.orchestrators[0].pipeline.aclose, 10.0)
        await _closes(fleet.orchestrators[1].pipeline.aclose, 10.0)
        # Connections, then what waits for them.
        await _closes(store.aclose, 2.0)
        await asyncio.gather(*ends, return_exceptions=True)
        own = asyncio.current_task()
        await until(lambda: _left(own) == 0, "nothing runs any more", within_s=15)
    finally:
        weather.server.resume()


async def _closes(aclose: Callable[[], Awaitable[None]], bound_s: float) -> None:
    began = time.monotonic()
    await aclose()
    took_s = time.monotonic() - began
    assert took_s < bound_s + SLACK_S, f"{aclose!r} took {took_s:.1f} s"


def _left(own: object) -> int:
    return len([task for task in asyncio.all_tasks() if task is not own and "TcpProxy" not in repr(task)])
