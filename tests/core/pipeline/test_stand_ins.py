"""Tasks of types with fallbacks: who stands in for agents that fail, in which order, and whether anybody can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coterie import Agent, Event, Orchestrator, Retry, Runtime, Task, TaskContext, Team
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.quota import Quota
from coterie.errors import (
    BreakerOpen,
    BudgetExhausted,
    Misuse,
    PoolBusy,
    QuotaSpent,
    Refused,
    UnknownAgent,
    UnknownAgentType,
)
from coterie.policies import Fallback, Policies
from coterie.slots import Slots
from coterie.stores.memory import MemoryStateStore
from tests.core.pipeline.scripted import Script, run, team_of

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
