"""Tasks of types with policies: whose capacity they take, and how often they are tried."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coterie import Agent, Orchestrator, Plan, Retry, Task, TaskContext, Team
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.retry_budget import RetryAllowance
from coterie.clock import SystemClock
from coterie.errors import (
    AgentUnavailable,
)
from coterie.policies import Policies
from coterie.stores.memory import MemoryStateStore
from coterie.testing import FaultyStateStore
from tests.core.pipeline.scripted import Script, run, team_of

QUICK = BreakerPolicy(failure_threshold=2, success_threshold=1, timeout_s=0.05, jitter=0.0)


# Capacity of the fleet


async def test_capacity_is_the_fleets_where_the_type_has_a_pool():
    now, most = 0, 0

    async def count(ctx: TaskContext) -> None:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        for _ in range(20):
            await asyncio.sleep(0)
        now -= 1

    team = Team("gated", [Agent("x1", "x", Script(count), capacity=2)], policies={"x": Policies(pool=PoolPolicy())})
    store = MemoryStateStore()
    orchestrators = [Orchestrator(team, store=store) for _ in range(4)]

    results = await asyncio.gather(*(each.execute_task(Task("t", "x")) for each in orchestrators for _ in range(5)))

    assert {one.state for one in results} == {"succeeded"}
    assert most == 2
    for each in orchestrators:
        await each.pipeline.aclose()


@pytest.mark.parametrize(("places", "error"), [(("one", "two"), None), (("one", "one"), "PoolBusy")])
async def test_work_of_one_name_may_have_places_of_its_own(places: tuple[str, str], error: str | None):
    begun, finish = asyncio.Event(), asyncio.Event()

    async def busy(ctx: TaskContext) -> str:
        begun.set()
        await finish.wait()
        return "done"

    team = Team("gated", [Agent("x1", "x", Script(busy), capacity=2)], policies={"x": Policies(pool=PoolPolicy())})
    orchestrator = Orchestrator(team, store=MemoryStateStore())

    def work(place: str) -> Any:
        return orchestrator.execute_task(Task("t", "x"), workflow_id="run", waits=False, place=place)

    first = asyncio.ensure_future(work(places[0]))
    await begun.wait()
    second = asyncio.ensure_future(work(places[1]))
    finish.set()
    ended = await asyncio.gather(first, second, return_exceptions=True)

    assert [type(one).__name__ if isinstance(one, Exception) else None for one in ended] == [None, error]
    await orchestrator.pipeline.aclose()


async def test_a_cancelled_task_leaves_no_slot_behind():
    begun = asyncio.Event()

    async def hang(ctx: TaskContext) -> None:
        begun.set()
        await asyncio.Event().wait()

    team = Team(
        "gated", [Agent("x1", "x", Script(hang, "next"))], policies={"x": Policies(pool=PoolPolicy(), breaker=QUICK)}
    )
    store = MemoryStateStore()
    first = asyncio.ensure_future(run(team, store=store))
    await begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first

    (result,) = await run(team, store=store)

    assert result.output == "next"


@pytest.mark.parametrize(("policy", "state"), [("fail_open", "succeeded"), ("fail_closed", "failed")])
async def test_a_store_that_is_away_from_the_start_is_a_matter_of_policy(policy: Any, state: str):
    store = FaultyStateStore(MemoryStateStore())
    store.down = "refusing"
    policies = Policies(breaker=BreakerPolicy(), on_store_failure=policy, max_wait_s=0)
    plan = Plan("p", [Task("t", "x")])
    orchestrator = Orchestrator(team_of(policies, x1=Script("fine")), store=store)

    result = await orchestrator.execute_workflow(plan)

    assert result["t"].state == state
    await orchestrator.pipeline.aclose()


async def test_work_whose_lease_was_lost_meanwhile_is_kept(manual_clock: Any):
    async def slowly(ctx: TaskContext) -> str:
        # Long enough for the lease to end by the store's clock, without a heartbeat in between.
        manual_clock.advance(1000)
        return "paid for"

    script = Script(slowly)
    store = MemoryStateStore(clock=manual_clock)

    (result,) = await run(team_of(Policies(pool=PoolPolicy()), x1=script), store=store)

    assert (result.output, script.calls) == ("paid for", 1)


# Retries


async def test_attempts_are_made_with_the_slot_given_back_between_them():
    script = Script(ValueError("one"), ValueError("two"), "fine")

    (result,) = await run(
        team_of(Policies(pool=PoolPolicy()), x1=script), retry=Retry(max_attempts=3, base_s=0, cap_s=0)
    )

    assert (result.state, result.attempts) == ("succeeded", 3)


async def test_what_an_agent_asks_to_wait_beyond_all_patience_is_not_tried_again():
    script = Script(AgentUnavailable("tomorrow", status=503, retry_after_s=86_400), "never")

    (result,) = await run(team_of(Policies(), x1=script), retry=Retry(max_attempts=3, base_s=0, cap_s=0))

    assert (result.error.type, script.calls) == ("AgentUnavailable", 1)


class _Worked(SystemClock):
    """A clock on which work takes long, without anybody waiting for it."""

    worked_s = 0.0

    def monotonic(self) -> float:  # type: ignore[override]  # a method here
        return super().monotonic() + self.worked_s


async def test_the_time_in_which_an_agent_works_is_no_waiting():
    clock = _Worked()

    async def slowly(ctx: TaskContext) -> None:
        clock.worked_s += 1000
        raise AgentUnavailable("come back", status=503, retry_after_s=0.01)

    script = Script(slowly, "fine")
    orchestrator = Orchestrator(team_of(Policies(max_wait_s=1), x1=script), clock=clock)

    result = await orchestrator.execute_task(Task("t", "x", retry=Retry(max_attempts=2, base_s=0, cap_s=0)))

    assert (result.state, result.attempts) == ("succeeded", 2)
    await orchestrator.pipeline.aclose()


async def test_refused_attempts_are_not_counted():
    script = Script(ValueError("one"), ValueError("two"), "never")
    policies = Policies(breaker=BreakerPolicy(failure_threshold=2), max_wait_s=0)

    (result,) = await run(team_of(policies, x1=script), retry=Retry(max_attempts=5, base_s=0, cap_s=0))

    assert (result.error.type, result.attempts, script.calls) == ("BreakerOpen", 2, 2)


async def test_a_spent_retry_budget_ends_the_attempts():
    script = Script(ValueError("down"))
    policies = Policies(retries=RetryAllowance(share=0.1, floor_per_s=0, cap=2))

    results = await run(team_of(policies, x1=script), 3, retry=Retry(max_attempts=3, base_s=0, cap_s=0))

    assert [one.attempts for one in results] == [3, 1, 1]
    assert {one.error.type for one in results} == {"ValueError"}


async def test_a_cut_off_that_the_agent_made_an_error_of_its_own_is_a_time_out():
    async def broken_off(ctx: TaskContext) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("the connection broke off") from None

    orchestrator = Orchestrator(team_of(Policies(max_wait_s=0), x1=Script(broken_off)))

    result = await orchestrator.execute_task(Task("t", "x", timeout_s=0.01))

    assert result.error is not None
    assert result.error.type == "TaskTimedOut"
    await orchestrator.pipeline.aclose()


async def test_however_many_agents_another_process_knows_the_own_one_is_found():
    store, policies = MemoryStateStore(), {"x": Policies(pool=PoolPolicy(), max_wait_s=0)}

    def process(*agents: str) -> Orchestrator:
        return Orchestrator(
            Team("t", [Agent(each, "x", Script("fine")) for each in agents], policies=policies), store=store
        )

    newer, older = process(*(f"new{number}" for number in range(5))), process("old")
    assert (await newer.execute_task(Task("t", "x"))).state == "succeeded"

    results = [await older.execute_task(Task(f"t{number}", "x")) for number in range(6)]

    assert [(one.state, one.agent_id) for one in results] == [("succeeded", "old")] * 6
    for each in (newer, older):
        await each.pipeline.aclose()
