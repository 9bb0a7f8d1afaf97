"""Waiting for a slot: order, wake-ups, what a waiter costs, and what it leaves behind."""

from __future__ import annotations

import asyncio

import pytest

from coterie.errors import (
    BreakerOpen,
    LeaseLost,
    Misuse,
    PoolBusy,
)
from coterie.pool import ResourcePool
from coterie.stores.memory import MemoryStateStore
from tests.fleet.pool.callers import PATIENCE_S, Open, hold, in_use, until_waiting
from tests.fleet.pool.stores import Watched


async def test_a_waiter_of_another_process_is_woken_by_the_release(pools: Open):
    here, there = pools(), pools()
    here.register_agent("one")
    tokens = []

    async def wait() -> None:
        async with there.lease(wait_s=PATIENCE_S) as lease:
            tokens.append(lease.token)

    async with here.lease() as first:
        waiting = asyncio.create_task(wait())
        await until_waiting(here, 1)
    await asyncio.wait_for(waiting, PATIENCE_S)

    assert tokens == [first.token + 1]


async def test_the_fleets_order_holds_against_the_process_that_releases(pools: Open):
    here, there = pools(), pools()
    here.register_agent("one")
    order: list[str] = []
    async with here.lease():
        tasks = []
        for number, (pool, name, priority) in enumerate(
            [(there, "early", 0), (here, "late", 0), (here, "urgent", 5), (there, "last", -1)]
        ):
            tasks.append(asyncio.create_task(hold(pool, order, name, priority=priority)))
            await until_waiting(here, number + 1)

    await asyncio.gather(*tasks)

    assert order == ["urgent", "early", "late", "last"]


async def test_a_wait_that_is_over_is_refused_and_leaves_no_ticket(pools: Open):
    pool = pools()
    pool.register_agent("one")
    async with pool.lease():
        for wait_s in (0, 0.05):
            with pytest.raises(PoolBusy) as refused:
                async with pool.lease(wait_s=wait_s):
                    pass
            assert refused.value.retry_after_s > 0
            assert await in_use(pool) == (1, 0)


async def test_cancelling_a_waiter_leaves_neither_lease_nor_ticket(pools: Open):
    pool = pools()
    pool.register_agent("one")
    async with pool.lease():
        waiting = asyncio.create_task(hold(pool, [], "never"))
        await until_waiting(pool, 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await in_use(pool) == (1, 0)

    assert await in_use(pool) == (0, 0)


@pytest.mark.parametrize("ticks", range(12))
async def test_cancelled_at_any_moment_everything_comes_back(ticks: int):
    store = Watched(MemoryStateStore())
    async with ResourcePool("linter", store=store) as pool, ResourcePool("linter", store=store) as other:
        pool.register_agent("one")
        await pool.heartbeat()
        order: list[str] = []
        tasks = [asyncio.create_task(hold(pool, order, str(number))) for number in range(3)]
        for _ in range(ticks):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()

        ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE_S)

        assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends)
        assert "1" in order
        assert await in_use(other) == (0, 0)


async def test_a_cancelled_request_that_is_on_its_way_leaves_no_lease():
    store = Watched(MemoryStateStore())
    async with ResourcePool("linter", store=store) as pool:
        pool.register_agent("one")
        await pool.heartbeat()
        store.gate.clear()
        asking = asyncio.create_task(hold(pool, [], "never"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.sleep(0)
        store.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await asking

        assert await in_use(pool) == (0, 0)


async def test_a_cancelled_body_gives_its_slot_back_and_counts_nothing(pools: Open):
    pool = pools()
    pool.register_agent("one")
    started = asyncio.Event()

    async def body() -> None:
        async with pool.lease():
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await in_use(pool) == (0, 0)
    assert pool.get_pool_status().agents[0].latency_s is None


async def test_a_lease_and_a_release_are_one_command_each_also_through_the_queue():
    store = Watched(MemoryStateStore())
    async with ResourcePool("linter", store=store) as pool:
        pool.register_agent("one")
        async with pool.lease():
            assert store.updates == 1, "the agent is written with the lease"
        assert store.updates == 2
        assert pool.get_pool_status().waiting == {}

        async with pool.lease():
            # The first that waits here subscribes, and asks once more.
            first = asyncio.create_task(hold(pool, [], "first"))
            await until_waiting(pool, 1)
        await first
        order: list[str] = []
        held = pool.lease()
        await held.__aenter__()
        store.updates = 0
        waiters = [asyncio.create_task(hold(pool, order, str(number))) for number in range(20)]
        for _ in range(100):
            await asyncio.sleep(0)
        await held.__aexit__(None, None, None)
        await asyncio.gather(*waiters)

        assert order == [str(number) for number in range(20)]
        # 20 leases and 21 releases; reconciling may add one a second.
        assert 41 <= store.updates <= 43


async def test_a_parked_waiter_costs_at_most_one_command_a_second():
    wrapped = MemoryStateStore()
    store = Watched(wrapped)
    async with ResourcePool("linter", store=wrapped) as holder, ResourcePool("linter", store=store) as pool:
        holder.register_agent("one")
        async with holder.lease():
            waiters = [asyncio.create_task(hold(pool, [], str(number))) for number in range(5)]
            await until_waiting(holder, 5)
            _, began = await wrapped.read("pool/linter")
            store.updates = 0

            seen_s = 0.0
            while seen_s < 3.2:
                await asyncio.sleep(0.2)
                seen_s = ((await wrapped.read("pool/linter"))[1] - began) / 1e6
            asked, kept = store.updates, sum((await holder.refresh()).waiting.values())
        await asyncio.gather(*waiters)

    assert kept == 5
    assert 1 <= asked <= seen_s + 1


async def test_a_kept_place_survives_its_process_and_is_claimed_by_another(pools: Open):
    here, trigger, worker = pools(), pools(), pools()
    here.register_agent("one")
    async with here.lease():
        assert await trigger.keep_place("run-1.lint") is False
        await trigger.aclose()
        again = pools()
        both = [asyncio.create_task(again.keep_place("run-1.lint", wait_s=PATIENCE_S)) for _ in range(2)]
        rival = asyncio.create_task(hold(here, [], "rival"))
        await until_waiting(here, 2)

    assert await asyncio.gather(*both) == [True, True]
    assert not rival.done()
    async with worker.lease(ticket="run-1.lint"):
        with pytest.raises(PoolBusy, match="same ticket"):
            async with here.lease(ticket="run-1.lint"):
                pass
    await rival


async def test_a_ticket_serves_one_call_at_a_time_and_a_call_takes_over_what_was_deferred(pools: Open):
    pool = pools()
    pool.register_agent("one")
    order: list[str] = []
    async with pool.lease():
        deferred = asyncio.create_task(pool.keep_place("kept", wait_s=PATIENCE_S))
        await until_waiting(pool, 1)
        worker = asyncio.create_task(hold(pool, order, "worker", ticket="kept"))
        await asyncio.sleep(0)
        with pytest.raises(PoolBusy, match="same ticket"):
            async with pool.lease(ticket="kept"):
                pass
        assert (await in_use(pool)) == (1, 1)
    await asyncio.wait_for(worker, PATIENCE_S)
    ended = await asyncio.wait_for(asyncio.gather(deferred, return_exceptions=True), PATIENCE_S)

    assert order == ["worker"]
    assert ended[0] is True or isinstance(ended[0], PoolBusy)
    await pool.withdraw("kept")


async def test_a_withdrawn_place_lets_the_next_move_up(pools: Open):
    pool = pools()
    pool.register_agent("one")
    order: list[str] = []
    async with pool.lease():
        await pool.keep_place("kept")
        task = asyncio.create_task(hold(pool, order, "next"))
        await until_waiting(pool, 2)
    await pool.withdraw("kept")

    await task
    assert await in_use(pool) == (0, 0)


async def test_those_who_wait_are_refused_when_every_agent_is_suspended(pools: Open):
    pool = pools()
    pool.register_agent("one")
    async with pool.lease():
        waiting = asyncio.create_task(hold(pool, [], "never"))
        await until_waiting(pool, 1)
        _, now = await pool._store.read("pool/linter")
        await pool.suspend("one", until_us=now + 60_000_000)
        with pytest.raises(BreakerOpen):
            await asyncio.wait_for(waiting, PATIENCE_S)


async def test_closing_gives_everything_back_and_refuses_who_waits(pools: Open):
    here, there = pools(), pools()
    there.register_agent("one")
    await there.heartbeat()
    leasing = here.lease()
    lease = await leasing.__aenter__()
    waiting = asyncio.create_task(hold(here, [], "never"))
    await until_waiting(there, 1)

    await here.aclose()

    with pytest.raises(PoolBusy, match="closed"):
        await waiting
    assert lease.lost.is_set()
    assert await in_use(there) == (0, 0)
    with pytest.raises(LeaseLost):
        await leasing.__aexit__(None, None, None)
    with pytest.raises(Misuse, match="closed"):
        async with here.lease():
            pass
