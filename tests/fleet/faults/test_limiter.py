"""Rate limiters that share a server, in bad weather: no caller is stuck, no window has too many, the rate is back."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from coterie.errors import QuotaSpent, Unavailable
from coterie.limiter import Quota, RateLimiter
from tests.fleet.faults.limiters import CALL_S, MEMBERS, QUOTA, closed, limiters_of, through
from tests.fleet.faults.weather import BRIEF, LONG, Weather, seeded, until


async def fail_closed(opened: Any, weather: Weather, *, seed: int | None, long: int) -> None:
    with seeded(seed) as chance:
        fleet = limiters_of(opened, "fail_closed")
        faults = [*BRIEF, *chance.sample(LONG, long)] * 2
        chance.shuffle(faults)
        await through(fleet, weather, faults, chance)
        told = f"{fleet.ends} in {faults}"
        assert fleet.ends["done"] > 0, told
        assert fleet.excess() <= 0, told
        await fleet.is_itself_again()
        await closed(fleet)


async def fail_open(opened: Any, weather: Weather, caplog: Any, *, seed: int | None, long: int) -> None:
    caplog.set_level(logging.WARNING, "coterie.state")
    with seeded(seed) as chance:
        fleet = limiters_of(opened, "fail_open")
        faults = [*BRIEF, *chance.sample(LONG, long)] * 2
        chance.shuffle(faults)
        took_s = await through(fleet, weather, faults, chance)
        told = f"{fleet.ends} in {faults}"
        lost = sum("state.store_failed" in record.getMessage() for record in caplog.records)
        assert "Unavailable" not in fleet.ends, told
        # The fleet's quota, and for each member its own: with a burst for each time that it was left alone.
        most = (1 + MEMBERS) * QUOTA.rate_per_s * took_s + QUOTA.burst * (1 + lost)
        assert fleet.ends["done"] <= most, told
        await fleet.is_itself_again()
        await closed(fleet)


async def test_fail_closed_no_window_has_too_many_and_the_rate_is_back(opened, weather):
    await fail_closed(opened, weather, seed=None, long=1)


async def test_fail_open_nobody_fails_and_each_keeps_to_the_rate_alone(opened, weather, caplog):
    await fail_open(opened, weather, caplog, seed=None, long=1)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("how", ["fail_closed", "fail_open"])
async def test_much_weather(opened, weather, caplog, how, seed):
    if how == "fail_closed":
        await fail_closed(opened, weather, seed=seed, long=len(LONG))
    else:
        await fail_open(opened, weather, caplog, seed=seed, long=len(LONG))


async def test_a_place_that_was_cut_off_between_question_and_answer_is_lost_until_time_passes_it(opened, weather):
    slow = RateLimiter("slow", Quota(rate_per_s=2.0, burst=1), store=opened())
    await slow.acquire(max_wait_s=0)
    await asyncio.sleep(0.6)

    weather.proxy.cut_at_next_answer()
    with pytest.raises(Unavailable):
        await slow.acquire(max_wait_s=0)
    # It was granted to nobody.
    with pytest.raises(QuotaSpent):
        await slow.acquire(max_wait_s=0)

    async with asyncio.timeout(5):
        await slow.acquire(max_wait_s=1)
    await slow.aclose()


async def test_a_store_that_lost_its_state_leaves_a_limiter_that_still_works(opened, weather):
    with seeded(None) as chance:
        fleet = limiters_of(opened, "fail_closed")
        await through(fleet, weather, ["killed and emptied"], chance)
        # The schedule begins anew, with a full burst.
        assert fleet.excess() <= QUOTA.burst, fleet.ends
        await fleet.is_itself_again()
        await closed(fleet)


async def test_a_pause_whose_message_was_cut_off_is_kept_by_those_who_wait(opened, weather):
    one, other = (RateLimiter("p", Quota(rate_per_s=2.0, burst=1), store=opened()) for _ in range(2))
    await other.acquire()
    waiting = asyncio.create_task(other.acquire(max_wait_s=10))
    await until(lambda: other._listening, "it waits, and listens")

    def is_paused() -> bool:
        with weather.server.client() as client:
            return any('"held":15' in client.get(key) for key in client.keys("*:limit/p}"))

    # The message cannot arrive: all that the server says is held back, and then the connections are gone.
    paused_s = time.monotonic()
    weather.proxy.delay_s = 0.05
    pausing = asyncio.create_task(one.pause(1.5))
    await until(is_paused, "the pause is decided")
    weather.proxy.cut()
    weather.proxy.delay_s = 0.0

    async with asyncio.timeout(CALL_S):
        await waiting
        await asyncio.gather(pausing, return_exceptions=True)
    assert time.monotonic() - paused_s >= 1.5
    await one.aclose()
    await other.aclose()


@pytest.mark.parametrize("gone", ["frozen", "dead"])
@pytest.mark.parametrize("how", ["fail_closed", "fail_open"])
async def test_closing_is_bounded_whatever_the_store_does(opened, weather, how, gone):
    fleet = limiters_of(opened, how)
    async with asyncio.timeout(10):
        await asyncio.gather(*(one.acquire() for one in fleet.limiters for _ in range(5)))
    waiting = [asyncio.create_task(fleet.limiters[0].acquire(requests=5)) for _ in range(4)]
    await asyncio.sleep(0.05)
    weather.server.pause() if gone == "frozen" else weather.server.kill()
    try:
        for task in waiting:
            task.cancel()
        await closed(fleet)
        async with asyncio.timeout(CALL_S):
            await asyncio.gather(*waiting, return_exceptions=True)
    finally:
        weather.server.resume() if gone == "frozen" else weather.server.start()
