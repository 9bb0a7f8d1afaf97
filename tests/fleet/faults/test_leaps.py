"""The server's clock leaps to and fro under load: nobody is stuck, little is given out too early, all is well again.

A leap forward ends time-outs early, which nobody can tell from a pause: each may give out once what was not due yet.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.fleet.faults.breakers import COMBINATIONS, breakers_of
from tests.fleet.faults.breakers import closed as breakers_closed
from tests.fleet.faults.breakers import through as through_breakers
from tests.fleet.faults.budgets import LIMIT, budgets_of
from tests.fleet.faults.budgets import through as through_budgets
from tests.fleet.faults.limiters import QUOTA, WAIT_S, limiters_of
from tests.fleet.faults.limiters import closed as limiters_closed
from tests.fleet.faults.limiters import through as through_limiters
from tests.fleet.faults.orchestrators import orchestrators_of
from tests.fleet.faults.orchestrators import through as through_orchestrators
from tests.fleet.faults.pools import CAPACITY, pools_of
from tests.fleet.faults.pools import closed as pools_closed
from tests.fleet.faults.pools import through as through_pools
from tests.fleet.faults.weather import seeded

pytestmark = pytest.mark.compiler

FORWARD, BACK = "clock set forward", "clock set back"
SEEDS = [None, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(10))]


def leaps(chance: Any) -> list[str]:
    return chance.choices([FORWARD, BACK, "cut", "answer lost"], weights=[2, 2, 1, 1], k=8)


@pytest.mark.parametrize("seed", SEEDS)
async def test_limiters(opened, weather, seed):
    with seeded(seed) as chance:
        fleet, faults = limiters_of(opened, "fail_closed"), leaps(chance)
        await through_limiters(fleet, weather, faults, chance)
        # Those who wait already go at their time, and others as if that had passed.
        early = QUOTA.burst + QUOTA.rate_per_s * WAIT_S
        assert fleet.excess() <= early * faults.count(FORWARD), faults
        await fleet.is_itself_again()
        await limiters_closed(fleet)


@pytest.mark.parametrize("seed", SEEDS)
async def test_pools(opened, weather, seed):
    with seeded(seed) as chance:
        fleet, faults = pools_of(opened), leaps(chance)
        await through_pools(fleet, weather, faults, chance)
        forward = faults.count(FORWARD)
        assert all(fleet.log.most[name] <= (1 + forward) * slots for name, slots in CAPACITY.items()), faults
        await fleet.is_itself_again()
        await pools_closed(fleet)


@pytest.mark.parametrize("seed", SEEDS)
async def test_budgets(opened, weather, seed):
    with seeded(seed) as chance:
        fleet, faults = budgets_of(opened, 1_000), leaps(chance)
        await through_budgets(fleet, weather, faults, chance)
        assert fleet.worst <= 1_000 < LIMIT, faults
        await fleet.is_itself_again(1_000)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("residence", "how"), [COMBINATIONS[0], COMBINATIONS[3]])
async def test_breakers(opened, weather, residence, how, seed):
    with seeded(seed) as chance:
        fleet, faults = breakers_of(opened, residence, how), leaps(chance)
        fleet.agent.ill = True
        await through_breakers([fleet], weather, faults[:4])
        fleet.agent.ill = False
        await through_breakers([fleet], weather, faults[4:])
        await fleet.is_itself_again()
        await breakers_closed(fleet)


@pytest.mark.parametrize("fault", [BACK, FORWARD])
async def test_orchestrators(opened, weather, fault):
    fleet = orchestrators_of(opened, "fail_open")

    await through_orchestrators(fleet, weather, ["slow", fault, "slow"])

    assert fleet.world.ends["succeeded"] > 0
    await fleet.is_itself_again()
    await fleet.aclose()
