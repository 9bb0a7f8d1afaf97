"""Tasks of types with limits and budgets: who is turned away, and who is charged what."""

from __future__ import annotations

from typing import Any

import pytest

from coterie import Orchestrator, Task, TaskContext
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.quota import Quota
from coterie.budget import Budget
from coterie.errors import (
    AgentThrottled,
    AgentUnavailable,
    Unavailable,
)
from coterie.pipeline import gates
from coterie.policies import Policies, Spend
from coterie.stores.memory import MemoryStateStore
from coterie.testing import FaultyStateStore
from tests.core.pipeline.scripted import Script, run, team_of


async def test_a_limit_refuses_what_is_too_soon():
    policies = Policies(limits={"requests": Quota(rate_per_s=0.01, burst=3)}, max_wait_s=0, max_hold_s=0)
    script = Script("fine")

    results = await run(team_of(policies, x1=script), 5)

    assert [one.state for one in results] == ["succeeded"] * 3 + ["failed"] * 2
    assert results[-1].error.type == "QuotaSpent"
    assert script.calls == 3


async def test_a_throttled_agent_pauses_the_limiter_and_not_the_breaker():
    policies = Policies(
        limits={"requests": Quota(rate_per_s=1000, burst=100)},
        breaker=BreakerPolicy(failure_threshold=1),
        max_wait_s=0,
        max_hold_s=0,
    )
    script = Script(AgentThrottled("slow down", status=429, retry_after_s=60))

    results = await run(team_of(policies, x1=script), 2)

    assert [one.error.type for one in results] == ["AgentThrottled", "QuotaSpent"]
    assert script.calls == 1


@pytest.mark.parametrize(
    ("used", "calls"),
    [
        pytest.param(0, 3, id="an agent that reports nothing is charged its upper bound"),
        pytest.param(10, 10, id="one that reports is charged what it used"),
    ],
)
async def test_a_run_stops_when_its_budget_is_used_up(used: int, calls: int):
    async def work(ctx: TaskContext) -> str:
        if used:
            ctx.report_usage(requests=1, input_tokens=used - 3, output_tokens=3)
        return "fine"

    script = Script(work)
    policies = Policies(budgets=[Spend(name="tokens", limit=100 if used else 30, per_call=10, per_run=True)])

    results = await run(team_of(policies, x1=script), calls + 2)

    assert [one.state for one in results] == ["succeeded"] * calls + ["failed"] * 2
    assert results[-1].error.type == "BudgetExhausted"
    assert script.calls == calls


async def test_a_run_without_money_opens_no_breaker_for_others():
    script = Script("fine")
    spend = Spend(name="tokens", limit=10, per_call=10, per_run=True)
    policies = Policies(budgets=[spend], breaker=BreakerPolicy(failure_threshold=1), max_wait_s=0)

    results = await run(team_of(policies, x1=script), 4)

    assert [one.error.type for one in results[1:]] == ["BudgetExhausted"] * 3


async def test_a_store_that_fails_before_the_call_is_no_failure_of_the_agent():
    script = Script("fine")
    store = FaultyStateStore(MemoryStateStore())
    spend = Spend(name="tokens", limit=100, per_call=10)
    policies = Policies(budgets=[spend], breaker=BreakerPolicy(failure_threshold=1), max_wait_s=0)
    orchestrator = Orchestrator(team_of(policies, x1=script), store=store)
    gate = orchestrator.pipeline.gate("x")
    assert gate is not None
    await orchestrator.execute_task(Task("t", "x"))

    store.down = "refusing"
    with pytest.raises(Unavailable):
        await orchestrator.execute_task(Task("t", "x"))

    breaker = gate.tools.breaker("x1")
    assert breaker is not None
    assert breaker.get_state().state == "closed"
    store.down = None
    await orchestrator.pipeline.aclose()


async def test_who_waits_for_the_limit_makes_no_slow_call():
    script = Script("fine")
    slow = BreakerPolicy(mode="count", window_calls=2, min_calls=2, slow_call_s=0.1, slow_rate=0.5)
    policies = Policies(breaker=slow, limits={"requests": Quota(rate_per_s=4, burst=1)}, max_wait_s=0, max_hold_s=5)

    results = await run(team_of(policies, x1=script), 4)

    assert [one.state for one in results] == ["succeeded"] * 4


@pytest.mark.parametrize(
    ("unit", "reported"),
    [("money", {"input_tokens": 500}), ("tokens", {"requests": 1}), ("tokens", {"cost_micros": 5})],
)
async def test_what_is_not_reported_in_a_budgets_own_unit_is_charged_at_its_bound(unit: Any, reported: dict[str, int]):
    async def work(ctx: TaskContext) -> str:
        ctx.report_usage(**reported)
        return "fine"

    most = {"limit": "0.30", "per_call": "0.10"} if unit == "money" else {"limit": 30, "per_call": 10}
    policies = Policies(budgets=[Spend(name="b", unit=unit, **most)])

    results = await run(team_of(policies, x1=Script(work)), 4, store=MemoryStateStore())

    assert [one.state for one in results] == ["succeeded"] * 3 + ["failed"]


async def test_money_is_counted_in_micros_and_shared_by_name():
    async def work(ctx: TaskContext) -> str:
        ctx.report_usage(cost_micros=400_000)
        return "fine"

    script = Script(work)
    policies = Policies(budgets=[Spend(name="money", unit="money", limit="1.00", per_call="0.50")])
    store = MemoryStateStore()

    results = await run(team_of(policies, x1=script), 2, store=store) + await run(
        team_of(policies, x1=script), 1, store=store
    )

    assert [one.state for one in results] == ["succeeded", "succeeded", "failed"]


async def test_whoever_was_turned_away_is_not_charged():
    script = Script(AgentUnavailable("busy", status=503))
    policies = Policies(budgets=[Spend(name="tokens", limit=10, per_call=10)])

    results = await run(team_of(policies, x1=script), 4)

    assert {one.error.type for one in results} == {"AgentUnavailable"}


async def test_a_refused_call_leaves_nothing_held():
    policies = Policies(
        limits={"requests": Quota(rate_per_s=0.001, burst=1)},
        budgets=[Spend(name="first", limit=100, per_call=50), Spend(name="second", limit=10, per_call=10)],
        max_wait_s=0,
        max_hold_s=0,
    )

    async def work(ctx: TaskContext) -> None:
        ctx.report_usage(input_tokens=1)
        raise ValueError("fails, but was paid for")

    store = MemoryStateStore()
    await run(team_of(policies, x1=Script(work)), store=store)
    await run(team_of(policies, x1=Script(work)), 3, store=store)

    state, _ = await store.read("budget/first")
    assert state is not None
    assert (state["spent"], state["holds"]) == (1, {})


@pytest.mark.parametrize("asked", [float("nan"), float("inf"), -1])
async def test_a_throttled_agent_that_names_no_time_pauses_nobody(asked: float):
    policies = Policies(limits={"requests": Quota(rate_per_s=1000, burst=100)}, max_wait_s=0, max_hold_s=0)
    script = Script(AgentThrottled("slow down", status=429, retry_after_s=asked))

    results = await run(team_of(policies, x1=script), 2)

    assert [one.error.type for one in results] == ["AgentThrottled"] * 2


async def test_work_that_reports_more_than_a_budget_can_hold_is_done_and_charged():
    async def work(ctx: TaskContext) -> str:
        ctx.report_usage(requests=1, input_tokens=10**14)
        return "fine"

    policies = Policies(budgets=[Spend(name="all", limit=100, per_call=10)], max_wait_s=0)

    results = await run(team_of(policies, x1=Script(work)), 2)

    assert [one.state for one in results] == ["succeeded", "failed"]
    assert results[1].error.type == "BudgetExhausted"


async def test_of_the_budgets_of_runs_a_process_keeps_the_latest(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gates, "RUNS", 3)
    policies = Policies(budgets=[Spend(name="run", limit=15, per_call=10, per_run=True)], max_wait_s=0)
    orchestrator = Orchestrator(team_of(policies, x1=Script("fine")), store=MemoryStateStore())

    async def state_of(run_id: str) -> str:
        return (await orchestrator.execute_task(Task("t", "x"), workflow_id=run_id)).state

    first = [await state_of(f"run-{number}") for number in range(9)]

    assert first == ["succeeded"] * 9
    assert len(orchestrator.pipeline._budgets) == 3
    assert len([each for each in orchestrator.pipeline._closing if isinstance(each, Budget)]) == 3
    # What the first one spent is not forgotten.
    assert await state_of("run-0") == "failed"
    await orchestrator.pipeline.aclose()
