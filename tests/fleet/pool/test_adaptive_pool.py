"""Slots that are lent by what an agent bears, as callers meet them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Any

import pytest

from coterie import Aimd, Task
from coterie.errors import (
    AgentThrottled,
    AgentUnavailable,
    BadAnswer,
    BreakerOpen,
    LeaseLost,
    Misuse,
    PolicyError,
    PoolBusy,
    TaskTimedOut,
)
from coterie.policies import policies_from
from coterie.pool import PoolPolicy, ResourcePool
from tests.fleet.pool.callers import Open

FOUR = PoolPolicy(adaptive=Aimd(minimum=1, start=4, maximum=8, backoff=0.5))


async def fail(pool: ResourcePool, error: BaseException) -> None:
    with pytest.raises(type(error)):
        async with pool.lease(wait_s=0):
            raise error


async def limit(pool: ResourcePool) -> int | None:
    return (await pool.refresh()).agents[0].limit


@pytest.mark.parametrize(
    ("error", "after"),
    [
        (TimeoutError(), 2),
        (TaskTimedOut("t", 1.0), 2),
        (AgentThrottled("429"), 2),
        (AgentUnavailable("503", status=503), 2),
        (ZeroDivisionError(), 4),
        (BadAnswer("no JSON"), 4),
        (ConnectionError(), 4),
        (BreakerOpen("x", retry_after_s=1.0), 4),
        (LeaseLost("of another pool"), 4),
        (asyncio.CancelledError(), 4),
    ],
    ids=repr,
)
async def test_what_the_body_raises_says_whether_the_agent_was_overloaded(error: BaseException, after: int):
    async with ResourcePool("linter", policy=FOUR) as pool:
        pool.register_agent("one", capacity=8)

        await fail(pool, error)

        assert await limit(pool) == after


async def test_what_one_process_finds_out_holds_for_all(pools: Open):
    here, there = pools(policy=FOUR), pools(policy=FOUR)
    here.register_agent("one", capacity=8)
    await fail(here, AgentThrottled("429"))

    async with there.lease(), there.lease():
        status = await there.refresh()
        assert (status.capacity, status.agents[0].limit, status.agents[0].condition) == (2, 2, "busy")
        with pytest.raises(PoolBusy):
            async with here.lease(wait_s=0):
                pass

    assert await limit(here) == 3


async def test_those_who_wait_are_served_as_the_limit_grows(pools: Open):
    pool = pools(policy=PoolPolicy(adaptive=Aimd(start=1, maximum=4)))
    pool.register_agent("one", capacity=4)
    together, most = 0, 0

    async def call() -> None:
        nonlocal together, most
        async with pool.lease():
            together += 1
            most = max(most, together)
            await asyncio.sleep(0)
            together -= 1

    await asyncio.gather(*(call() for _ in range(20)))

    assert await limit(pool) == 4
    assert most <= 4


async def test_whoever_completes_a_task_may_say_that_the_agent_was_overloaded(pools: Open):
    here, there = pools(policy=FOUR), pools(policy=FOUR)
    here.register_agent("one", capacity=8)
    first, second, third = [await here.submit_task(Task(name, "linter")) for name in ("a", "b", "c")]

    await here.complete_task("a", first.agent_id, False)
    assert await limit(here) == 4
    await there.complete_task("b", second.agent_id, False, token=second.token, overload=True)
    await here.complete_task("c", third.agent_id, False, overload=True)

    assert await limit(here) == 2


async def test_without_the_option_there_is_no_limit():
    async with ResourcePool("linter") as pool:
        pool.register_agent("one", capacity=8)

        await fail(pool, AgentThrottled("429"))

        assert await limit(pool) is None
        assert (await pool.refresh()).capacity == 8


def test_the_option_is_a_setting_in_files_too():
    document = {"pool": {"adaptive": {"start": 4, "maximum": 16, "backoff": 0.8}}}

    assert policies_from(document, "x").pool == PoolPolicy(adaptive=Aimd(start=4, maximum=16, backoff=0.8))
    assert policies_from({"pool": {"adaptive": {}}}, "x").pool == PoolPolicy(adaptive=Aimd())
    assert policies_from({"pool": {"adaptive": None}}, "x").pool == PoolPolicy()


@pytest.mark.parametrize(
    ("adaptive", "says"),
    [
        ({"strat": 4}, "at pool/adaptive/strat"),
        ({"start": 300}, "start=300"),
        ({"backoff": 0.2}, "backoff=0.2"),
        ({"minimum": "few"}, "at pool/adaptive/minimum"),
        (True, "at pool/adaptive"),
    ],
)
def test_a_setting_in_a_file_that_cannot_work_is_refused_with_its_place(adaptive: Any, says: str):
    with pytest.raises(Misuse, match=says):
        policies_from({"pool": {"adaptive": adaptive}}, "x")


def test_a_policy_is_handed_on_as_json():
    assert PoolPolicy(**json.loads(json.dumps(asdict(FOUR)))) == FOUR
    assert PoolPolicy(**json.loads(json.dumps(asdict(PoolPolicy())))) == PoolPolicy()


def test_what_is_no_setting_is_refused():
    with pytest.raises(PolicyError, match="adaptive=4; give an Aimd"):
        PoolPolicy(adaptive=4)  # type: ignore[arg-type]
