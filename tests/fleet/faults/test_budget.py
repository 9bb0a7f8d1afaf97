"""Budgets that share a server, in bad weather: never over by one unit, nobody stuck, nothing forgotten."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from coterie.errors import BudgetExhausted, Unavailable
from tests.fleet.faults.budgets import CALL_S, LIMIT, MOST, budgets_of, patiently, through
from tests.fleet.faults.weather import BRIEF, LONG, Weather, seeded, until


async def in_the_weather(
    opened: Any, weather: Weather, caplog: Any, *, seed: int | None, long: int, limit: int
) -> None:
    caplog.set_level(logging.WARNING, "coterie.budget")
    with seeded(seed) as chance:
        fleet = budgets_of(opened, limit)
        faults = [*BRIEF, *chance.sample(LONG, long)] * 2
        chance.shuffle(faults)
        await through(fleet, weather, faults, chance)
        told = f"{fleet.ends} in {faults}"
        assert fleet.ends["done"] > 0, told
        assert fleet.worst <= limit, told
        charged = await fleet.is_itself_again(limit)
        # What is charged beyond what was spent is what the log asks to be settled by hand.
        unsaid = sum(".not_settled" in one.getMessage() or ".not_undone" in one.getMessage() for one in caplog.records)
        assert charged <= fleet.spent + unsaid * MOST, told


async def test_never_over_by_one_unit_and_nothing_is_charged_in_vain_unsaid(opened, weather, caplog):
    await in_the_weather(opened, weather, caplog, seed=None, long=1, limit=LIMIT)


async def test_never_over_by_one_unit_where_it_is_used_up(opened, weather, caplog):
    await in_the_weather(opened, weather, caplog, seed=None, long=0, limit=300)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("limit", [300, LIMIT])
async def test_much_weather(opened, weather, caplog, limit, seed):
    await in_the_weather(opened, weather, caplog, seed=seed, long=len(LONG), limit=limit)


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("what", ["request", "answer"])
# Of the reading, then of the writing.
@pytest.mark.parametrize("after", [0, 1])
async def test_a_reservation_that_was_cut_off_is_undone(opened, weather, what, after, torn):
    budget = budgets_of(opened).budgets[0]
    async with budget.reserve(10) as spending:
        spending.report(7)

    cut = weather.proxy.cut_at_next_request if what == "request" else weather.proxy.cut_at_next_answer
    cut(after=after, torn=torn)
    try:
        held = await budget.hold(100)
    except Unavailable:
        held = None
    if held is not None:
        await budget.settle(held.id, 0)

    async def undone() -> bool:
        status = await budget.status()
        return (status.spent, status.held) == (7, 0)

    await until(undone, "nothing is held")
    await budget.aclose()


async def test_a_settlement_that_was_cut_off_leaves_the_whole_amount_charged_and_is_booked_once(opened, weather):
    budget = budgets_of(opened).budgets[0]
    held = await budget.hold(100)

    weather.proxy.cut_at_next_answer(after=1)
    with pytest.raises(Unavailable):
        await budget.settle(held.id, 60)
    await budget.settle(held.id, 60)

    status = await budget.status()
    assert (status.spent, status.held) == (60, 0)
    await budget.aclose()


@pytest.mark.parametrize("gone", ["frozen", "dead"])
async def test_closing_is_bounded_whatever_the_store_does_and_the_charge_stays(opened, weather, gone):
    fleet = budgets_of(opened)
    budget = fleet.budgets[0]
    spending = await budget.hold(100)
    weather.server.pause() if gone == "frozen" else weather.server.kill()
    try:
        async with asyncio.timeout(CALL_S):
            with pytest.raises(Unavailable):
                await budget.hold(5)
            await spending.settle()
            await budget.aclose()
    finally:
        weather.server.resume() if gone == "frozen" else weather.server.start()

    status = await patiently(fleet.budgets[1].status)
    assert status.spent + status.held >= 100


async def test_fail_open_spends_its_own_limit_alone_and_the_fleets_again_afterwards(opened, weather):
    fleet = budgets_of(opened, 100, on_store_failure="fail_open")
    budget = fleet.budgets[0]
    async with budget.reserve(60):
        pass
    weather.proxy.refuse()
    weather.proxy.cut()
    async with budget.reserve(100):
        pass
    with pytest.raises(BudgetExhausted):
        await budget.hold(1)
    weather.proxy.accept()

    async def of_the_fleet() -> bool:
        try:
            await budget.hold(41)
        except BudgetExhausted:
            return (await budget.status()).spent == 60
        return False

    await until(of_the_fleet, "the fleet's budget")
    await budget.aclose()
