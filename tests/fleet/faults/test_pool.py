"""Resource pools that share a server, in bad weather: no caller is stuck, no slot has two holders, none is lost."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress

import pytest

from coterie.errors import LeaseLost, PoolBusy, Unavailable
from tests.fleet.faults.pools import (
    BACK_S,
    CALL_S,
    CAPACITY,
    POLICY,
    SLACK_S,
    SLOTS,
    Fleet,
    closed,
    pools_of,
    through,
)
from tests.fleet.faults.weather import BRIEF, LONG, Weather, seeded, until


@pytest.fixture
def fleet(opened) -> Fleet:
    return pools_of(opened)


async def in_the_weather(fleet: Fleet, weather: Weather, *, seed: int | None, long: int) -> None:
    with seeded(seed) as chance:
        faults = [*BRIEF, *chance.sample(LONG, long)] * 2
        chance.shuffle(faults)
        await through(fleet, weather, faults, chance)
        told = f"{fleet.log.ends} in {faults}"
        assert fleet.log.ends["done"] > 0, told
        assert all(fleet.log.most[agent_id] <= capacity for agent_id, capacity in CAPACITY.items()), told
        await fleet.is_itself_again()
        await closed(fleet)


async def test_no_caller_is_stuck_no_slot_has_two_holders_and_all_come_back(fleet, weather):
    await in_the_weather(fleet, weather, seed=None, long=1)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(20))
async def test_much_weather(fleet, weather, seed):
    await in_the_weather(fleet, weather, seed=seed, long=len(LONG))


@pytest.mark.parametrize("fault", ["request lost", "request torn", "answer lost", "answer torn", "cut", "half closed"])
async def test_a_lease_cut_off_between_question_and_answer_leaves_its_slot_to_others(fleet, weather, fault):
    one, other = fleet.pools[:2]
    async with one.lease(wait_s=5), other.lease(wait_s=5):
        pass

    striking = asyncio.create_task(weather.strike(fault))
    async with asyncio.timeout(CALL_S):
        for _ in range(10):
            try:
                async with one.lease(wait_s=5):
                    await asyncio.sleep(0)
            except (Unavailable, LeaseLost):
                await asyncio.sleep(0.01)
    await striking

    await fleet.is_itself_again()
    await closed(fleet)


async def test_a_place_whose_keeping_was_cut_off_is_there_once_when_it_is_asked_for_again(fleet, weather):
    holder, keeper, other = fleet.pools
    async with AsyncExitStack() as held:
        for _ in range(SLOTS):
            await held.enter_async_context(holder.lease(wait_s=5))
        for cut in (weather.proxy.cut_at_next_answer, weather.proxy.cut_at_next_request):
            for torn in (False, True):
                cut(torn=torn)
                with suppress(Unavailable):
                    await keeper.keep_place("run", wait_s=0)

        async def keeps() -> bool:
            with suppress(Unavailable):
                return not await keeper.keep_place("run", wait_s=0)
            return False

        await until(keeps, "it stands in the queue")
        assert (await holder.refresh()).waiting == {"t": 1}

    await until(lambda: keeper.keep_place("run", wait_s=1), "a slot is kept for it")
    async with other.lease(ticket="run", wait_s=0):
        assert sum(agent.in_use for agent in (await other.refresh()).agents) == 1
    await fleet.is_itself_again()
    await closed(fleet)


async def test_the_slot_of_a_holder_that_cannot_say_it_is_over_comes_back_when_its_lease_ends(fleet, weather):
    holder, others = fleet.pools[0], fleet.pools[1:]
    async with AsyncExitStack() as held:
        for _ in range(SLOTS):
            await held.enter_async_context(holder.lease(wait_s=5))
        # Its process is gone without a word; the others reach the store by themselves.
        holder._keeper.cancel()
        lane = holder._lanes["t"]
        lane.held.clear()
        began = time.monotonic()
        async with asyncio.timeout(BACK_S + SLACK_S), AsyncExitStack() as again:
            for number in range(SLOTS):
                await again.enter_async_context(others[number % 2].lease(wait_s=BACK_S + SLACK_S))
        assert time.monotonic() - began > POLICY.lease_s - POLICY.heartbeat_s - 0.5, "not before the lease had ended"
        held.pop_all()
    await closed(fleet)


async def test_holders_learn_that_the_store_lost_their_leases_and_all_is_well_again(fleet, weather):
    pool = fleet.pools[0]
    async with AsyncExitStack() as held:
        lease = await held.enter_async_context(pool.lease(wait_s=5))
        await weather.strike("killed and emptied")
        async with asyncio.timeout(POLICY.heartbeat_s + SLACK_S):
            await lease.lost.wait()
        with pytest.raises(LeaseLost):
            await held.aclose()

    await fleet.is_itself_again()
    await closed(fleet)


@pytest.mark.parametrize("gone", ["frozen", "dead"])
async def test_closing_is_bounded_and_a_store_that_comes_back_has_nothing_held_for_long(fleet, weather, gone):
    leaver, *stayers = fleet.pools
    held = AsyncExitStack()
    for _ in range(SLOTS):
        await held.enter_async_context(leaver.lease(wait_s=5))
    waiting = asyncio.create_task(leaver.lease(wait_s=60).__aenter__())
    await until(lambda: leaver.get_pool_status().waiting, "one waits")
    weather.server.pause() if gone == "frozen" else weather.server.kill()
    try:
        async with asyncio.timeout(5.0 + SLACK_S):
            await leaver.aclose()
            with pytest.raises(PoolBusy, match="closed"):
                await waiting
            with pytest.raises(LeaseLost):
                await held.aclose()
    finally:
        weather.server.resume() if gone == "frozen" else weather.server.start()

    fleet.pools = [stayers[0], stayers[1], stayers[0]]
    await fleet.is_itself_again()
    await closed(fleet)
