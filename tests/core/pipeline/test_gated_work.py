"""Tasks of types with policies: who is called, who waits, what is paid, who stands in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from coterie import Agent, CircuitBreaker, Event, Orchestrator, Plan, Retry, Runtime, Task, TaskContext, Team
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.quota import Quota
from coterie._rules.retry_budget import RetryAllowance
from coterie.clock import SystemClock
from coterie.errors import (
    AgentUnavailable,
    BreakerOpen,
    BudgetExhausted,
    Misuse,
    PoolBusy,
    QuotaSpent,
    Refused,
    StepFailed,
    UnknownAgent,
    UnknownAgentType,
)
from coterie.policies import Fallback, Policies
from coterie.slots import Slots
from coterie.stores.memory import MemoryStateStore
from coterie.testing import FaultyStateStore
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


# Stand-ins


@pytest.mark.parametrize(
    ("fallback", "output"),
    [
        (Fallback(value={"stale": True}), {"stale": True}),
        (Fallback(value=None), None),
        (Fallback(agent_type="cheap"), "cheap answer"),
        (Fallback(agent="cheap"), "cheap answer"),
        (Fallback(agent="x2"), "second answer"),
    ],
    ids=str,
)
async def test_somebody_stands_in_after_the_last_attempt(fallback: Fallback, output: Any):
    bad = Script(ValueError("down"))
    policies = Policies(fallback=[fallback], pool=PoolPolicy(strategy="consistent_hash"))
    team = team_of(policies, x1=bad, cheap=Script("cheap answer"))
    if fallback.agent == "x2":
        # Which agent the strategy picks for the task does not matter: one of the two fails, x2 answers.
        team.add(Agent("x2", "x", Script("second answer")))
    events: list[Event] = []

    (result,) = await run(team, events=events, retry=Retry(max_attempts=2, base_s=0, cap_s=0))

    assert (result.state, result.output) == ("succeeded", output)
    if bad.calls:
        assert "task.fell_back" in [event.name for event in events]


async def test_stand_ins_are_asked_in_their_order():
    policies = Policies(fallback=[Fallback(agent_type="worse"), Fallback(cached_s=60), Fallback(value="at last")])

    (result,) = await run(team_of(policies, x1=Script(ValueError("down")), worse=Script(ValueError("too"))))

    assert result.output == "at last"


async def test_the_last_output_to_the_same_input_stands_in():
    script = Script("remembered", ValueError("down"))
    team, store = team_of(Policies(fallback=[Fallback(cached_s=60)]), x1=script), MemoryStateStore()

    (first,) = await run(team, store=store, input={"q": 1})
    (second,) = await run(team, store=store, input={"q": 1})
    (third,) = await run(team, store=store, input={"q": 2})

    assert (first.output, second.output) == ("remembered", "remembered")
    assert third.state == "failed"


async def test_what_a_newer_version_of_an_agent_gave_is_found_after_a_refusal_too():
    policies = Policies(breaker=BreakerPolicy(failure_threshold=1), fallback=[Fallback(cached_s=60)], max_wait_s=0)
    script = Script("remembered", ValueError("down"))
    team = Team("gated", [Agent("x1", "x", script, version="2")], policies={"x": policies})

    results = await run(team, 4, store=MemoryStateStore())

    assert [one.output for one in results] == ["remembered"] * 4
    assert script.calls == 2


async def test_an_output_that_is_too_old_does_not_stand_in(manual_clock: Any):
    store = MemoryStateStore(clock=manual_clock)
    team = team_of(Policies(fallback=[Fallback(cached_s=60)]), x1=Script("old", ValueError("down")))
    await run(team, store=store)

    manual_clock.advance(61)
    (result,) = await run(team, store=store)

    assert result.state == "failed"


async def test_a_refusal_without_end_goes_to_the_stand_in():
    policies = Policies(breaker=BreakerPolicy(failure_threshold=1), fallback=[Fallback(value="spare")], max_wait_s=0)
    bad = Script(ValueError("down"))

    results = await run(team_of(policies, x1=bad), 3)

    assert [one.output for one in results] == ["spare"] * 3
    assert bad.calls == 1


async def test_without_waiting_a_stand_in_that_is_refused_is_none():
    bad, busy = Script(ValueError("down")), Script("never")
    team = team_of(Policies(fallback=[Fallback(agent_type="other"), Fallback(value="at last")]), x1=bad)
    team.add(Agent("other", "other", busy))
    team.protect("other", Policies(limits={"requests": Quota(rate_per_s=0.001, burst=1)}, max_wait_s=0, max_hold_s=0))
    store = MemoryStateStore()
    orchestrator = Orchestrator(team, store=store)
    await orchestrator.execute_task(Task("first", "other"))

    result = await orchestrator.execute_task(Task("t", "x"), waits=False)

    assert (result.output, bad.calls, busy.calls) == ("at last", 1, 1)
    await orchestrator.pipeline.aclose()


async def test_nobody_stands_in_for_a_stand_in():
    team = team_of(Policies(fallback=[Fallback(agent_type="other")]), x1=Script(ValueError("down")))
    team.add(Agent("other", "other", Script(ValueError("too"))))
    team.protect("other", Policies(fallback=[Fallback(agent_type="x")]))

    (result,) = await run(team)

    assert (result.state, result.error.message) == ("failed", "down")


async def test_another_agent_has_an_idempotency_key_of_its_own():
    keys: list[str] = []

    def noting(fail: bool) -> Callable[[TaskContext], Any]:
        async def work(ctx: TaskContext) -> str:
            keys.append(ctx.idempotency_key)
            if fail:
                raise ValueError("down")
            return "fine"

        return work

    team = team_of(
        Policies(fallback=[Fallback(agent_type="cheap")]), x1=Script(noting(True)), cheap=Script(noting(False))
    )
    await run(team)
    await run(team)

    assert len(keys) == 4
    assert keys[:2] == keys[2:]
    assert keys[0] != keys[1]


# What cannot work


NOBODY = [
    (Policies(fallback=[Fallback(agent_type="nobody")]), "x", UnknownAgentType, "the fallback of 'x'"),
    (Policies(fallback=[Fallback(agent="nobody")]), "x", UnknownAgent, "the fallback of 'x'"),
    (Policies(), "nobody", UnknownAgentType, "the team's policies.*known types: 'x'"),
]


@pytest.mark.parametrize(("policies", "agent_type", "error", "message"), NOBODY, ids=str)
@pytest.mark.parametrize(
    "use", [lambda team: team.check(), Runtime, Orchestrator], ids=["check", "runtime", "orchestrator"]
)
def test_policies_and_stand_ins_of_nobody_are_refused_before_anything_runs(
    use: Callable[[Team], Any], policies: Policies, agent_type: str, error: type[Exception], message: str
):
    team = Team("gated", [Agent("x1", "x", Script("fine"))], policies={agent_type: policies})

    with pytest.raises(error, match=f"'nobody'.*{message}"):
        use(team)


async def test_a_stand_in_that_has_gone_leaves_its_place_to_the_next(caplog: pytest.LogCaptureFixture):
    fallback = [Fallback(agent="cheap"), Fallback(agent_type="cheap"), Fallback(value="at last")]
    team = team_of(Policies(fallback=fallback), x1=Script(ValueError("down")), cheap=Script("never"))
    orchestrator = Orchestrator(team)
    gate = orchestrator.pipeline.gate("x")
    assert gate is not None
    gate.connect(Slots())

    result = await orchestrator.execute_task(Task("t", "x"))

    assert result.output == "at last"
    assert [record.message.split()[0] for record in caplog.records].count("task.nobody_stands_in") == 2
    await orchestrator.pipeline.aclose()


async def test_where_nobody_can_stand_in_the_failure_itself_comes_out():
    team = team_of(Policies(fallback=[Fallback(agent="cheap")]), x1=Script(ValueError("down")), cheap=Script("never"))
    orchestrator = Orchestrator(team)
    gate = orchestrator.pipeline.gate("x")
    assert gate is not None
    gate.connect(Slots())

    result = await orchestrator.execute_task(Task("t", "x"))

    assert result.error is not None
    assert (result.error.type, result.error.message) == ("ValueError", "down")
    await orchestrator.pipeline.aclose()


def test_policies_are_said_once():
    team = team_of(Policies(), x1=Script("fine"))

    with pytest.raises(Misuse, match="already"):
        team.protect("x", Policies())


def test_refusals_say_when_to_come_back():
    assert all(issubclass(kind, Refused) for kind in (BreakerOpen, PoolBusy, QuotaSpent))
    assert not issubclass(BudgetExhausted, Refused)
