"""Circuit breakers that share a server, in bad weather: no call is stuck, no trial is too large, all is well again."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from coterie import CircuitBreaker
from tests.fleet.faults.breakers import COMBINATIONS, MEMBERS, POLICY, Fleet, breakers_of, closed, through
from tests.fleet.faults.weather import BRIEF, LONG, PATIENCE_S, Weather, seeded, until


def schedule(chance: Any, *, long: int) -> list[str]:
    faults = [*BRIEF, *chance.sample(LONG, long)]
    chance.shuffle(faults)
    return faults


async def in_the_weather(opened: Any, weather: Weather, *, seed: int | None, long: int) -> None:
    with seeded(seed) as chance:
        fleets = [breakers_of(opened, residence, how) for residence, how in COMBINATIONS]
        faults = schedule(chance, long=long)
        falling_ill = asyncio.create_task(_fall_ill_at_times(fleets, chance))
        try:
            await through(fleets, weather, faults)
        finally:
            falling_ill.cancel()
            await asyncio.wait([falling_ill])
        for fleet in fleets:
            assert fleet.how == "fail_closed" or "Unavailable" not in fleet.ends, f"{fleet} in {faults}"
        await asyncio.gather(*(fleet.is_itself_again() for fleet in fleets))
        await asyncio.gather(*(closed(fleet) for fleet in fleets))


async def _fall_ill_at_times(fleets: list[Fleet], chance: Any) -> None:
    while True:
        await asyncio.sleep(chance.uniform(0.1, 1.0))
        for fleet in fleets:
            fleet.agent.ill = not fleet.agent.ill


async def test_every_call_ends_and_the_breaker_is_itself_again(opened, weather):
    await in_the_weather(opened, weather, seed=None, long=2)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(20))
async def test_every_call_ends_in_much_weather(opened, weather, seed):
    await in_the_weather(opened, weather, seed=seed, long=len(LONG))


async def test_no_fault_lets_more_through_to_an_ill_agent_than_its_trials_are(opened, weather):
    with seeded(None) as chance:
        fleets = [breakers_of(opened, residence, how) for residence, how in COMBINATIONS]
        for fleet in fleets:
            fleet.agent.ill = True
            for number in range(MEMBERS):
                await until(lambda fleet=fleet, number=number: fleet._refuses(number), f"{number} refuses")
            fleet.agent.calls.clear()
        began = time.monotonic()

        faults = schedule(chance, long=2)
        await through(fleets, weather, faults)

        trials = (time.monotonic() - began) / POLICY.timeout_s + 1
        # A report that was lost gives its place in the trial to another when the permit expires.
        lost = weather.strikes * MEMBERS
        for fleet in fleets:
            alone = MEMBERS if fleet.how == "fail_open" else 0
            most = POLICY.half_open_max_calls * trials * (1 + alone) + lost
            assert len(fleet.agent.calls) <= most, f"{fleet} in {faults}"
            await closed(fleet)


@pytest.mark.parametrize("residence", ["resident", "transient"])
async def test_a_store_that_lost_its_state_leaves_a_breaker_that_still_works(opened, weather, residence):
    fleet = breakers_of(opened, residence, "fail_open")
    fleet.agent.ill = True
    await until(lambda: fleet._refuses(0), "it trips")

    await through([fleet], weather, ["killed and emptied"])

    await fleet.is_itself_again()
    await closed(fleet)


@pytest.mark.parametrize(("residence", "how"), [COMBINATIONS[0], COMBINATIONS[3]])
@pytest.mark.parametrize("gone", ["frozen", "dead"])
async def test_closing_is_bounded_whatever_the_store_does(opened, weather, residence, how, gone):
    fleet = breakers_of(opened, residence, how)
    for number in range(MEMBERS):
        assert await fleet.call(number) == "done"
    weather.server.pause() if gone == "frozen" else weather.server.kill()
    try:
        await fleet.call(0)
        await closed(fleet)
    finally:
        weather.server.resume() if gone == "frozen" else weather.server.start()


@pytest.mark.parametrize("residence", ["resident", "transient", "auto"])
async def test_of_a_process_that_begins_while_the_server_is_frozen_one_call_waits(opened, weather, residence):
    weather.server.pause()
    breaker = CircuitBreaker("frozen", store=opened(), residence=residence)
    try:
        await breaker.call(asyncio.sleep, 0)

        # Were each of them to wait, as the first one has, they would take a minute and a half.
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(200):
                await breaker.call(asyncio.sleep, 0)
    finally:
        weather.server.resume()
    await until(lambda: breaker.get_state().store != "away", "the store is back")
    await breaker.aclose()
