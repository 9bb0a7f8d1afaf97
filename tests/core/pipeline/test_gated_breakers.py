"""Tasks of types with breakers: who is called, who is refused, and what a refusal comes out as."""

from __future__ import annotations

import asyncio

import pytest

from coterie import Agent, CircuitBreaker, Event, Orchestrator, Retry, Task, TaskContext, Team
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.pool_policy import PoolPolicy
from coterie.errors import (
    BreakerOpen,
    PoolBusy,
    StepFailed,
)
from coterie.policies import Fallback, Policies
from coterie.stores.memory import MemoryStateStore
from tests.core.pipeline.scripted import Script, run, team_of

QUICK = BreakerPolicy(failure_threshold=2, success_threshold=1, timeout_s=0.05, jitter=0.0)


# Breakers


async def test_an_agent_that_fails_is_no_longer_called():
    bad = Script(ValueError("down"))
    policies = Policies(breaker=BreakerPolicy(failure_threshold=2), max_wait_s=0)

    results = await run(team_of(policies, x1=bad), 5)

    assert bad.calls == 2
    assert [one.error.type for one in results] == [
        "ValueError",
        "ValueError",
        "BreakerOpen",
        "BreakerOpen",
        "BreakerOpen",
    ]
    assert results[-1].attempts == 0


async def test_the_agents_of_the_type_that_still_work_are_called_instead():
    bad, good = Script(ValueError("down")), Script("fine")
    policies = Policies(
        breaker=BreakerPolicy(failure_threshold=1), pool=PoolPolicy(strategy="round_robin"), max_wait_s=0
    )

    results = await run(team_of(policies, x1=bad, x2=good), 10)

    assert bad.calls == 1
    assert [one.state for one in results].count("succeeded") == 9


async def test_with_the_scope_type_one_breaker_holds_for_all():
    bad, good = Script(ValueError("down")), Script("fine")
    policies = Policies(
        breaker=BreakerPolicy(failure_threshold=1),
        breaker_scope="type",
        pool=PoolPolicy(strategy="round_robin"),
        max_wait_s=0,
    )

    results = await run(team_of(policies, x1=bad, x2=good), 6)

    assert bad.calls == 1
    assert {one.error.type for one in results[results.index(next(r for r in results if r.error)) + 1 :]} == {
        "BreakerOpen"
    }


async def test_a_refused_task_waits_and_is_then_tried():
    script = Script(ValueError("one"), ValueError("two"), "back")
    events: list[Event] = []

    results = await run(team_of(Policies(breaker=QUICK), x1=script), 3, events=events)

    assert [one.state for one in results] == ["failed", "failed", "succeeded"]
    assert results[-1].attempts == 1
    assert "task.refused" in [event.name for event in events]


async def test_what_an_agent_answers_does_not_open_its_breaker():
    script = Script(StepFailed("no such page"))

    await run(team_of(Policies(breaker=BreakerPolicy(failure_threshold=1), max_wait_s=0), x1=script), 5)

    assert script.calls == 5


async def test_a_task_past_its_time_out_counts_against_the_agent():
    async def hang(ctx: TaskContext) -> None:
        await asyncio.Event().wait()

    script = Script(hang)
    policies = Policies(breaker=BreakerPolicy(failure_threshold=1), max_wait_s=0)

    results = await run(team_of(policies, x1=script), 2, timeout_s=0.01)

    assert [one.error.type for one in results] == ["TaskTimedOut", "BreakerOpen"]


async def test_two_orchestrators_with_one_store_share_the_breaker():
    store = MemoryStateStore()
    policies = Policies(breaker=BreakerPolicy(failure_threshold=2), max_wait_s=0)
    one, other = Script(ValueError("down")), Script("fine")

    await run(team_of(policies, x1=one), 2, store=store)
    (result,) = await run(team_of(policies, x1=other), store=store)

    assert result.error.type == "BreakerOpen"
    assert other.calls == 0


async def test_a_breaker_that_was_closed_by_hand_elsewhere_is_noticed():
    script = Script(ValueError("down"), "fine")
    policies = Policies(breaker=BreakerPolicy(failure_threshold=1), pool=PoolPolicy(), max_wait_s=0)
    store = MemoryStateStore()
    team = team_of(policies, x1=script)
    await run(team, 2, store=store)

    by_hand = CircuitBreaker("x1", policies.breaker, store=store)
    await by_hand.reset()
    (result,) = await run(team, store=store)

    assert result.output == "fine"
    await by_hand.aclose()


async def test_who_is_refused_by_all_breakers_is_told_which_they_are_and_which_were_forced():
    team = team_of(Policies(breaker=BreakerPolicy(failure_threshold=1), max_wait_s=0), x1=Script(ValueError("down")))
    team.add(Agent("x2", "x", Script("never"), capacity=4))
    store = MemoryStateStore()
    by_hand = CircuitBreaker("x2", store=store)
    await by_hand.force_open()

    results = await run(team, 4, store=store)

    told = results[-1].error
    assert told.type == "BreakerOpen"
    assert "every agent of the type 'x' is suspended, by the circuit breakers: " in told.message
    assert "'x1' is open, 'x2' was forced open by hand" in told.message
    assert "'coterie breakers auto x2' ends that" in told.message
    await by_hand.aclose()


def test_a_breaker_that_was_forced_open_says_so_and_how_that_ends():
    refused = BreakerOpen("gate", retry_after_s=60, state="forced_open")

    assert str(refused) == (
        "the circuit breaker 'gate' was forced open by hand; 'coterie breakers auto gate' ends that; try again in 60 s"
    )


# Refusals that are left to the caller


async def test_without_waiting_a_refusal_is_raised_and_nobody_is_called():
    script = Script(ValueError("down"))
    team = team_of(Policies(breaker=BreakerPolicy(failure_threshold=1)), x1=script)
    store = MemoryStateStore()
    await run(team, store=store)

    with pytest.raises(BreakerOpen) as caught:
        await run(team, store=store, waits=False)

    assert 0 < caught.value.retry_after_s <= 60
    assert script.calls == 1


async def test_a_refusal_that_outlasts_all_patience_is_the_tasks_failure():
    team = team_of(Policies(breaker=BreakerPolicy(failure_threshold=1), max_wait_s=1), x1=Script(ValueError("down")))
    store = MemoryStateStore()
    await run(team, store=store)

    (result,) = await run(team, store=store, waits=False)

    assert result.error.type == "BreakerOpen"


@pytest.mark.parametrize("waits", [True, False])
async def test_a_refusal_that_an_agent_itself_was_given_is_its_failure(waits: bool):
    script = Script(PoolBusy("another pool is full", retry_after_s=0.01), "never")
    events: list[Event] = []

    (result,) = await run(team_of(Policies(pool=PoolPolicy()), x1=script), events=events, waits=waits)

    assert (result.error.type, result.attempts, script.calls) == ("PoolBusy", 1, 1)
    assert "task.refused" not in [event.name for event in events]


async def test_a_refusal_that_an_agent_was_given_is_tried_again_as_the_task_says():
    script = Script(PoolBusy("another pool is full", retry_after_s=0.01), "fine")

    (result,) = await run(team_of(Policies(), x1=script), retry=Retry(max_attempts=2, base_s=0, cap_s=0))

    assert (result.output, result.attempts) == ("fine", 2)


async def test_a_refusal_is_logged_without_a_traceback(caplog: pytest.LogCaptureFixture):
    policies = Policies(breaker=BreakerPolicy(failure_threshold=1), fallback=[Fallback(value="spare")], max_wait_s=0)

    await run(team_of(policies, x1=Script(ValueError("down"))), 2)

    failed = [record.exc_info for record in caplog.records if record.message.startswith("task.failed")]
    assert [trace is not None for trace in failed] == [True, False]


async def test_a_busy_pool_is_a_refusal_too():
    begun, finish = asyncio.Event(), asyncio.Event()

    async def busy(ctx: TaskContext) -> str:
        begun.set()
        await finish.wait()
        return "done"

    team = Team("gated", [Agent("x1", "x", Script(busy))], policies={"x": Policies(pool=PoolPolicy())})
    store = MemoryStateStore()
    first = asyncio.ensure_future(run(team, store=store))
    await begun.wait()

    with pytest.raises(PoolBusy):
        await run(team, store=store, waits=False)

    finish.set()
    assert (await first)[0].state == "succeeded"


async def test_an_agent_that_was_not_called_as_its_breaker_refused_has_not_answered_fast():
    store = MemoryStateStore()
    policies = Policies(pool=PoolPolicy(), breaker=BreakerPolicy(timeout_s=60), max_wait_s=0)
    orchestrator = Orchestrator(team_of(policies, x1=Script("fine")), store=store)
    gate = orchestrator.pipeline.gate("x")
    assert gate is not None
    breaker = gate.tools.breaker("x1")
    assert breaker is not None
    await gate.tools.pool.heartbeat()
    await breaker.force_open()
    # The pool has not heard of it.
    await gate.tools.pool.suspend_for("x1", 0)

    refused = await orchestrator.execute_task(Task("t", "x"))

    assert refused.error is not None
    assert refused.error.type == "BreakerOpen"
    state, _ = await store.read("pool/x")
    assert state is not None
    assert state["agents"]["x1"]["y"] == 0
    await orchestrator.pipeline.aclose()
