"""The pool as callers use it, on a store in memory and on one on disk."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coterie import Agent, Task
from coterie.errors import (
    BreakerOpen,
    LeaseLost,
    Misuse,
    NoLiveAgent,
    PolicyError,
    PoolBusy,
    StaleToken,
    UnknownAgent,
    UnknownAgentType,
)
from coterie.pool import PoolPolicy, ResourcePool
from coterie.stores.memory import MemoryStateStore
from coterie.testing import ManualClock
from tests.fleet.pool.callers import PATIENCE_S, Open, hold, in_use, until_waiting
from tests.fleet.pool.stores import Watched


async def test_a_lease_names_its_agent_and_gives_the_slot_back(pools: Open):
    pool = pools()
    pool.register_agent("one", capacity=2)

    async with pool.lease() as lease, pool.lease() as other:
        assert (lease.agent_id, lease.agent_type, lease.lost.is_set()) == ("one", "linter", False)
        assert other.token == lease.token + 1
        assert await in_use(pool) == (2, 0)

    assert await in_use(pool) == (0, 0)


async def test_agents_of_a_team_are_pooled_by_their_types(pools: Open):
    pool = pools(None)
    pool.register_agent(Agent("fast", "linter", lambda task_input: None, capacity=3))
    pool.register_agent(Agent("deep", "security", lambda task_input: None))

    async with pool.lease("security") as lease, pool.lease("linter") as other:
        assert (lease.agent_id, other.agent_id) == ("deep", "fast")
    assert {agent.agent_id: agent.capacity for agent in pool.get_pool_status().agents} == {"fast": 3, "deep": 1}
    with pytest.raises(UnknownAgentType, match="none named"):
        async with pool.lease():
            pass


async def test_an_error_of_the_body_comes_out_and_gives_the_slot_back(pools: Open):
    pool = pools()
    pool.register_agent("one")

    with pytest.raises(ZeroDivisionError):
        async with pool.lease():
            1 / 0  # noqa: B018

    assert await in_use(pool) == (0, 0)
    assert pool.get_pool_status().agents[0].latency_s is not None


async def test_a_lost_lease_says_so_and_its_end_raises():
    clock = ManualClock()
    async with ResourcePool("linter", store=MemoryStateStore(clock=clock)) as pool:
        pool.register_agent("one")

        async def outlive() -> None:
            async with pool.lease() as lease:
                clock.advance(31)
                await pool.heartbeat()
                assert lease.lost.is_set()

        with pytest.raises(LeaseLost, match="has ended"):
            await outlive()


async def test_heartbeats_keep_leases_and_agents_alive_in_the_store():
    clock = ManualClock()
    store = MemoryStateStore(clock=clock)
    async with ResourcePool("linter", store=store) as pool, ResourcePool("linter", store=store) as other:
        pool.register_agent("one")
        async with pool.lease():
            for _ in range(10):
                clock.advance(20)
                await pool.heartbeat()
            with pytest.raises(PoolBusy):
                async with other.lease(wait_s=0):
                    pass


async def test_the_background_task_renews_without_being_asked():
    store = MemoryStateStore()
    policy = PoolPolicy(heartbeat_s=0.1, lease_s=20.0)

    async def ends(lease_id: str) -> int:
        state: Any = (await store.read("pool/linter"))[0]
        return int(state["leases"][lease_id]["e"])

    async with ResourcePool("linter", store=store, policy=policy) as pool:
        pool.register_agent("one")
        async with pool.lease() as lease:
            first = await ends(lease.id)
            async with asyncio.timeout(PATIENCE_S):
                while await ends(lease.id) <= first:  # noqa: ASYNC110  # the store's, not ours
                    await asyncio.sleep(0.02)


async def test_a_lease_that_cannot_be_renewed_is_lost_when_its_time_is_over():
    store = Watched(MemoryStateStore())
    policy = PoolPolicy(heartbeat_s=0.1, lease_s=0.3)
    async with ResourcePool("linter", store=store, policy=policy) as pool:
        pool.register_agent("one")

        async def outlive() -> None:
            async with pool.lease() as lease:
                store.fail = 1000
                await asyncio.wait_for(lease.lost.wait(), PATIENCE_S)
                store.fail = 0

        with pytest.raises(LeaseLost):
            await outlive()


@pytest.mark.parametrize("after", [False, True])
async def test_a_release_that_the_store_did_not_take_is_told_later(after: bool):
    store = Watched(MemoryStateStore())
    store.after = after
    async with ResourcePool("linter", store=store) as pool:
        pool.register_agent("one")

        async with pool.lease():
            store.fail = 1

        await pool.heartbeat()
        assert await in_use(pool) == (0, 0)


async def test_tasks_are_assigned_and_completed_also_from_another_process(pools: Open):
    here, there = pools(), pools()
    here.register_agent("one", capacity=2)
    task = Task("lint", "linter", priority=3)

    mine, other = await here.submit_task(task), await here.submit_task(Task("again", "linter"))
    assert (mine.task_id, mine.agent_id) == ("lint", "one")

    await here.complete_task("lint", "one", True)
    await there.complete_task("again", "one", False, token=other.token)
    assert await in_use(here) == (0, 0)
    with pytest.raises(LeaseLost):
        await here.complete_task("lint", "one", True)
    with pytest.raises(LeaseLost):
        await there.complete_task("lint", "one", True, token=mine.token)


async def test_a_stale_token_is_told_from_a_lost_lease(pools: Open):
    here, there = pools(), pools()
    here.register_agent("one")
    old = await here.submit_task(Task("a", "linter"))
    await here.complete_task("a", "one", True)
    async with here.lease():
        with pytest.raises(StaleToken, match=str(old.token)):
            await there.complete_task("a", "one", True, token=old.token)


async def test_every_agent_suspended_is_refused_at_once_and_resumed_serves(pools: Open):
    pool = pools()
    store = pool._store
    pool.register_agent("one")
    await pool.heartbeat()
    _, now = await store.read("pool/linter")

    assert await pool.suspend("one", until_us=now + 60_000_000)
    with pytest.raises(BreakerOpen, match="every agent") as refused:
        async with pool.lease():
            pass
    await pool.resume("one")
    async with pool.lease():
        pass

    assert 50 < refused.value.retry_after_s <= 60
    assert not await pool.suspend("nobody", until_us=now + 60_000_000)


async def test_nobody_alive_is_refused_at_once(pools: Open):
    pool = pools()

    with pytest.raises(NoLiveAgent, match="'linter'"):
        async with pool.lease():
            pass


async def test_where_every_agent_is_draining_one_is_told_how_to_end_that(pools: Open):
    pool = pools()
    pool.register_agent("one")
    await pool.heartbeat()
    await pool.drain("one")

    with pytest.raises(NoLiveAgent, match=r"is draining: 'one'; .*'coterie pool resume linter one'"):
        async with pool.lease():
            pass
    with pytest.raises(NoLiveAgent, match="draining"):
        await pool.keep_place("ticket")
    assert pool.get_pool_status().agents[0].condition == "ready", "what was looked up for the message is no refresh"


@pytest.mark.parametrize("priority", ["high", 1.5, True, None])
async def test_a_priority_that_is_no_whole_number_is_refused(pools: Open, priority: Any):
    pool = pools()
    pool.register_agent("one")

    with pytest.raises(Misuse, match="the priority is"):
        async with pool.lease(priority=priority):
            pass


async def test_a_priority_beyond_the_range_counts_as_its_end(pools: Open):
    pool, order = pools(), []
    pool.register_agent("one")

    async with pool.lease():
        waiting = []
        for priority in (1000, 10**9, -(10**9), -1000):
            waiting.append(asyncio.create_task(hold(pool, order, str(priority), priority=priority)))
            await until_waiting(pool, len(waiting))
    await asyncio.gather(*waiting)

    assert order == ["1000", "1000000000", "-1000000000", "-1000"]


async def test_processes_that_give_an_agent_different_capacities_are_told_once(
    pools: Open, caplog: pytest.LogCaptureFixture
):
    often = PoolPolicy(heartbeat_s=0.01, agent_ttl_s=60)
    old, new = pools(policy=often), pools(policy=often)
    old.register_agent("one", capacity=4)
    new.register_agent("one", capacity=1)

    async with asyncio.timeout(PATIENCE_S):
        while "capacities_differ" not in caplog.text:  # noqa: ASYNC110  # told by a heartbeat
            await asyncio.sleep(0.01)
    for _ in range(5):
        await old.heartbeat()
        await new.heartbeat()

    told = [record.getMessage() for record in caplog.records if "capacities_differ" in record.message]
    assert set(told) <= {
        "pool.capacities_differ 'one': here 4, elsewhere 1; the last heartbeat counts, so give all the same",
        "pool.capacities_differ 'one': here 1, elsewhere 4; the last heartbeat counts, so give all the same",
    }
    assert len(told) == len(set(told))


async def test_drained_removed_and_unknown_agents(pools: Open):
    pool = pools()
    pool.register_agent("one")
    async with pool.lease():
        await pool.drain()
        assert [agent.condition for agent in (await pool.refresh()).agents] == ["draining"]
    with pytest.raises(NoLiveAgent):
        async with pool.lease():
            pass
    await pool.resume("one")
    await pool.remove_agent("one")
    assert (await pool.refresh()).agents == ()
    with pytest.raises(UnknownAgent, match="'one'"):
        await pool.drain("one", agent_type="linter")


async def test_a_pool_without_a_store_is_its_processs_own():
    async with ResourcePool("linter") as pool:
        pool.register_agent("one")
        order: list[str] = []
        await asyncio.gather(*(hold(pool, order, str(number)) for number in range(50)))

        assert order == [str(number) for number in range(50)]


async def test_a_key_stays_with_one_agent():
    async with ResourcePool("linter", policy=PoolPolicy(strategy="consistent_hash")) as pool:
        for name in ("one", "two", "three"):
            pool.register_agent(name)
        seen = set()
        for _ in range(5):
            async with pool.lease(key="session-7") as lease:
                seen.add(lease.agent_id)
        async with pool.lease(key="session-7", avoid=seen) as lease:
            assert lease.agent_id not in seen

    assert len(seen) == 1


async def test_what_cannot_work_is_refused_with_its_name():
    async with ResourcePool("linter") as pool:
        for wrong in ({"capacity": 0}, {"weight": 0}, {"capacity": True}):
            with pytest.raises(PolicyError, match="'one'"):
                pool.register_agent("one", **wrong)  # type: ignore[arg-type]
        pool.register_agent("one")
        with pytest.raises(Misuse, match="'security'"):
            pool.register_agent("one", agent_type="security")
        with pytest.raises(Misuse, match="wait_s"):
            async with pool.lease(wait_s=float("inf")):
                pass
        with pytest.raises(Misuse, match="ticket"):
            await pool.keep_place("has space")


async def test_a_lease_is_renewed_in_time_also_while_others_wait():
    policy = PoolPolicy(heartbeat_s=0.2, lease_s=0.6)
    async with ResourcePool("linter", store=MemoryStateStore(), policy=policy) as pool:
        pool.register_agent("one")
        async with pool.lease():
            waiting = asyncio.create_task(pool.keep_place("next", wait_s=PATIENCE_S))
            renewed = [pool._lanes["linter"].due_s() - asyncio.get_running_loop().time()]
            while not pool._lanes["linter"].waiting:  # noqa: ASYNC110  # the pool's, not ours
                await asyncio.sleep(0)
            renewed.append(pool._lanes["linter"].due_s() - asyncio.get_running_loop().time())

            assert max(renewed) <= policy.heartbeat_s
        assert await waiting


def test_a_pool_is_kept_alive_in_the_next_event_loop_too():
    pool = ResourcePool("linter", store=MemoryStateStore(), policy=PoolPolicy(heartbeat_s=0.2, lease_s=0.6))
    pool.register_agent("one")

    async def lease() -> bool:
        async with pool.lease():
            for _ in range(9):
                await asyncio.sleep(0)
            return pool._keeper is not None and not pool._keeper.done()

    assert [asyncio.run(lease()), asyncio.run(lease())] == [True, True]
    asyncio.run(pool.aclose())
