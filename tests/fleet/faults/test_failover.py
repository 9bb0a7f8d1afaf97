"""Sentinels hand a store over to another server, by order or because the old one died: everything goes on by itself.

Replication is asynchronous: what had not reached the replica is lost, so nothing is counted here to the last unit.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from coterie.stores.redis import RedisStateStore, open_redis
from tests.fleet.faults import breakers, budgets, limiters, orchestrators, pools
from tests.fleet.faults.weather import HASTY, PATIENCE_S, seeded
from tests.support.redis_servers import Sentinels, valkey_sentinels


class Handover:
    """Strikes "ordered" and "died"; the server that died comes back, and follows."""

    def __init__(self, sentinels: Sentinels) -> None:
        self._sentinels = sentinels

    async def strike(self, fault: str) -> None:
        before = self._sentinels.primary()
        if fault == "ordered":
            await asyncio.to_thread(self._sentinels.fail_over)
            return
        await asyncio.to_thread(before.kill)
        await asyncio.to_thread(self._sentinels.wait_for_another, before)
        # Its arguments may say that it follows nobody: the sentinels teach it.
        await asyncio.to_thread(before.start)


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Sentinels]:
    with valkey_sentinels() as running:
        yield running


@pytest.fixture
def handover(sentinels: Sentinels) -> Handover:
    return Handover(sentinels)


@pytest.fixture
async def opened(sentinels: Sentinels) -> AsyncIterator[Callable[[], RedisStateStore]]:
    namespace, stores = uuid.uuid4().hex, []

    def open_one() -> RedisStateStore:
        stores.append(open_redis(sentinels.url, namespace, policy=HASTY))
        return stores[-1]

    yield open_one
    for store in stores:
        async with asyncio.timeout(PATIENCE_S):
            await store.aclose()


@pytest.mark.parametrize(("residence", "how"), [("resident", "fail_open"), ("transient", "fail_closed")])
async def test_breakers_go_on(opened, handover, residence, how):
    fleet = breakers.breakers_of(opened, residence, how)

    await breakers.through([fleet], handover, ["ordered"])

    assert fleet.ends["done"] > 0
    await fleet.is_itself_again()
    await breakers.closed(fleet)


async def test_pools_go_on_and_no_slot_is_lost(opened, handover):
    with seeded(None) as chance:
        fleet = pools.pools_of(opened)

        await pools.through(fleet, handover, ["ordered"], chance)

        assert fleet.log.ends["done"] > 0
        await fleet.is_itself_again()
        await pools.closed(fleet)


async def test_limiters_and_budgets_go_on(opened, handover):
    with seeded(None) as chance:
        limited = limiters.limiters_of(opened, "fail_closed")
        spending = budgets.budgets_of(opened, 10**9)

        await asyncio.gather(
            limiters.through(limited, handover, ["ordered"], chance),
            budgets.through(spending, _Nothing(), ["nothing"] * 20, chance),
        )

        assert limited.ends["done"] > 0
        assert spending.ends["done"] > 0
        await limited.is_itself_again()
        await budgets.patiently(spending.budgets[0].status)
        await limiters.closed(limited)


@pytest.mark.parametrize("how", ["fail_open", "fail_closed"])
async def test_orchestrators_go_on_after_a_server_died(opened, handover, how):
    fleet = orchestrators.orchestrators_of(opened, how)

    await orchestrators.through(fleet, handover, ["died"])

    assert fleet.world.ends["succeeded"] > 0
    await fleet.is_itself_again()
    await fleet.aclose()


class _Nothing:
    """Time passes."""

    async def strike(self, fault: str) -> None:
        await asyncio.sleep(0.1)
