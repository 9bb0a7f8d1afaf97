"""The server's clock is set forward and back by an hour: nothing lasts much longer, nothing is given out for ever."""

from __future__ import annotations

import asyncio
import os
from contextlib import nullcontext

import pytest

from coterie._rules.pool import turn
from coterie.breaker import BreakerPolicy, CircuitBreaker, Pace
from coterie.budget import Budget
from coterie.errors import BreakerOpen, BudgetSpent, LeaseLost, PoolBusy, QuotaSpent
from coterie.limiter import Quota, RateLimiter
from coterie.pool import PoolPolicy, ResourcePool
from tests.fleet.faults.weather import until

pytestmark = pytest.mark.compiler

HOUR_S = 3600.0
BREAKER = BreakerPolicy(failure_threshold=1, success_threshold=1, half_open_max_calls=1, timeout_s=1.5, jitter=0.0)
POOL = PoolPolicy(lease_s=2.0, heartbeat_s=0.5, claim_s=2.0)


async def fine() -> str:
    return "done"


async def bad() -> None:
    raise ValueError("down")


@pytest.mark.parametrize("residence", ["resident", "transient"])
@pytest.mark.parametrize("leap_s", [-HOUR_S, HOUR_S])
async def test_an_open_breaker_is_tried_again_soon_whatever_its_clock_does(opened, weather, residence, leap_s):
    # Looks often: what it sees in between must not begin its rest anew.
    pace = Pace(reconcile_s=0.2)
    breakers = [CircuitBreaker("b", BREAKER, store=opened(), residence=residence, pace=pace) for _ in range(2)]
    for breaker in breakers:
        await breaker.call(fine)
    with pytest.raises(ValueError, match="down"):
        await breakers[0].call(bad)
    for breaker in breakers:
        await breaker.refresh()
        assert breaker.get_state().state == "open"

    weather.server.skew_s = leap_s

    async def tried_again() -> bool:
        try:
            return await breakers[1].call(fine) == "done"
        except BreakerOpen:
            return False

    await until(tried_again, "a trial call", within_s=2 * BREAKER.timeout_s + 5)
    await until(lambda: breakers[0].call(fine), "closed for the other too")
    for breaker in breakers:
        await breaker.aclose()


async def test_the_slot_of_a_process_that_died_is_back_though_nobody_but_refused_callers_asks(opened, weather):
    terms, dead = POOL.terms("t"), "0" * 16
    # A process that said this, and never anything again: another keeps the agent alive, for a day.
    long_lived = {**terms, "alive": 86_400_000_000}
    agent = turn(long_lived, dead, chance=0, agents=[["north", 1, 1]], asks=[["one", "held", 0, 1, 0, "", []]])
    granted = await opened().update("pool/t", agent)
    assert granted["asks"]["one"]["k"] == "leased"
    stranger = ResourcePool("t", store=opened(), policy=POOL)
    weather.server.skew_s = -HOUR_S

    async def leased() -> bool:
        try:
            async with stranger.lease(wait_s=0):
                return True
        except PoolBusy:
            return False

    await until(leased, "the slot", within_s=POOL.lease_s + 5)
    await stranger.aclose()


@pytest.mark.parametrize("leap_s", [-HOUR_S, HOUR_S])
async def test_leases_go_on_and_slots_come_back(opened, weather, leap_s):
    pools = [ResourcePool("t", store=opened(), policy=POOL) for _ in range(2)]
    pools[0].register_agent("north", capacity=1)
    # Set back, the lease is renewed; set forward, it has ended, and its holder is told with the next heartbeat.
    with pytest.raises(LeaseLost) if leap_s > 0 else nullcontext():
        async with pools[0].lease(wait_s=5) as held:
            weather.server.skew_s = leap_s
            await asyncio.sleep(2.5 * POOL.heartbeat_s)
            assert held.lost.is_set() == (leap_s > 0)
            if leap_s > 0:
                async with pools[1].lease(wait_s=5):
                    pass
    async with pools[1].lease(wait_s=5):
        pass
    for pool in pools:
        await pool.aclose()


async def test_a_refused_caller_of_a_limiter_is_admitted_soon_after_the_clock_was_set_back(opened, weather):
    limiter = RateLimiter("l", Quota(rate_per_s=2.0, burst=1), store=opened())
    await limiter.acquire()
    weather.server.skew_s = -HOUR_S

    async def admitted() -> bool:
        try:
            await limiter.acquire(max_wait_s=0)
        except QuotaSpent:
            return False
        return True

    for _ in range(3):
        await until(admitted, "the next turn", within_s=5)
    await limiter.aclose()


async def test_whoever_waits_for_a_limiter_goes_when_its_turn_has_come(opened, weather):
    limiter = RateLimiter("l", Quota(rate_per_s=5.0, burst=1), store=opened())
    for leap_s in (-HOUR_S, 2 * HOUR_S, -2 * HOUR_S):
        waiting = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
        await asyncio.sleep(0.1)
        weather.server.skew_s += leap_s
        async with asyncio.timeout(10):
            await asyncio.gather(*waiting)
    await limiter.aclose()


async def test_a_window_of_a_budget_ends_though_its_clock_was_set_back(opened, weather):
    budget = Budget("w", 10, window=2, store=opened())
    async with budget.reserve(10) as spending:
        spending.report(10)
    weather.server.skew_s = -HOUR_S

    async def held() -> bool:
        try:
            async with budget.reserve(10):
                return True
        except BudgetSpent:
            return False

    await until(held, "the next window", within_s=10)
    await budget.aclose()


async def test_a_budget_without_windows_gives_nothing_out_twice_whatever_its_clock_does(opened, weather):
    budget = Budget("b", 100, store=opened(), hold_s=1.0)
    spent = 0
    for leap_s in (HOUR_S, -HOUR_S, -HOUR_S, 12 * HOUR_S, -11 * HOUR_S):
        async with budget.reserve(10, hold_s=60.0) as spending:
            weather.server.skew_s += leap_s
            spending.report(9)
            spent += 9
        # Abandoned: charged in full, also where its time seems to be over.
        await budget.hold(10, hold_id=os.urandom(8).hex())
        spent += 10
        status = await budget.status()
        assert status.spent + status.held == spent
    await budget.aclose()
