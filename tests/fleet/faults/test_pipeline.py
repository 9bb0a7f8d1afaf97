"""Orchestrators with a team under policies, in bad weather: every task ends, nothing is exceeded, all is well again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coterie import Agent, Orchestrator, Policies, Task, Team
from tests.fleet.faults.orchestrators import BREAKER, CAPACITY, orchestrators_of, through
from tests.fleet.faults.weather import BRIEF, LONG, PATIENCE_S, Weather, seeded


async def in_the_weather(opened: Any, weather: Weather, how: Any, *, seed: int | None, long: int) -> None:
    with seeded(seed) as chance:
        fleet = orchestrators_of(opened, how)
        faults = [*BRIEF, *chance.sample(LONG, long)]
        chance.shuffle(faults)
        half = len(faults) // 2
        await through(fleet, weather, faults[:half])
        fleet.world.ill = True
        await through(fleet, weather, faults[half:])
        told = f"{fleet.world.ends} in {faults}"
        assert fleet.world.ends["succeeded"] > 0, told
        assert all(fleet.world.most[name] <= capacity for name, capacity in CAPACITY.items()), told
        await fleet.is_itself_again()
        budget = next(iter(fleet.orchestrators[0].pipeline._budgets.values()))[1]
        status = await budget.status()
        assert status.spent + status.held >= fleet.world.tokens, told
        await fleet.aclose()


@pytest.mark.parametrize("how", ["fail_open", "fail_closed"])
async def test_every_task_ends_and_all_is_well_again(opened, weather, how):
    await in_the_weather(opened, weather, how, seed=None, long=1)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("how", ["fail_open", "fail_closed"])
async def test_much_weather(opened, weather, how, seed):
    await in_the_weather(opened, weather, how, seed=seed, long=len(LONG))


async def test_a_store_that_forgot_stops_nobody_for_long(opened, weather):
    fleet = orchestrators_of(opened, "fail_open")

    await through(fleet, weather, ["slow", "killed and emptied", "slow"])

    assert fleet.world.ends["succeeded"] > 0
    await fleet.is_itself_again()
    await fleet.aclose()


@pytest.mark.parametrize(("how", "gone"), [("fail_open", "frozen"), ("fail_closed", "dead")])
async def test_tasks_end_and_closing_is_bounded_while_the_store_is_gone(opened, weather, how, gone):
    fleet = orchestrators_of(opened, how)
    assert await fleet.world.one(fleet.orchestrators[0]) == "succeeded"
    weather.server.pause() if gone == "frozen" else weather.server.kill()
    try:
        # Pools and budgets always need their store.
        assert await fleet.world.one(fleet.orchestrators[0]) == "Unavailable"
        await fleet.aclose()
    finally:
        weather.server.resume() if gone == "frozen" else weather.server.start()


async def test_no_more_is_paid_for_than_the_budget_of_the_fleet_has(opened, weather):
    with seeded(None) as chance:
        fleet = orchestrators_of(opened, "fail_open", budget=3_000)
        faults = [*BRIEF] * 2
        chance.shuffle(faults)

        await through(fleet, weather, faults)

        told = f"{fleet.world.ends} in {faults}"
        assert 0 < fleet.world.tokens <= 3_000, told
        # Where a settlement was cut off, what it held stands in the way, and may yet be settled for less.
        assert fleet.world.ends["BudgetExhausted"] + fleet.world.ends["BudgetSpent"] > 0, told
        await fleet.aclose()


async def test_of_a_process_that_begins_while_the_server_is_frozen_one_task_waits(opened, weather):
    team = Team("frozen", policies={"x": Policies(breaker=BREAKER, on_store_failure="fail_open")})
    team.add(Agent("north", "x", lambda task_input: "done"))
    orchestrator = Orchestrator(team, store=opened())
    weather.server.pause()
    try:
        ends = [await orchestrator.execute_task(Task("t", "x"))]

        # Were each of them to wait, as the first one has, they would take a minute and a half.
        async with asyncio.timeout(PATIENCE_S):
            ends += [await orchestrator.execute_task(Task("t", "x")) for _ in range(200)]
    finally:
        weather.server.resume()

    assert {one.state for one in ends} == {"succeeded"}
    await orchestrator.pipeline.aclose()
