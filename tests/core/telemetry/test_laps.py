"""What work goes through is on its trail: in the journal's records, and as spans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from coterie import Agent, ArtifactStore, Event, Journal, Orchestrator, Plan, Retry, Task, TaskContext, Team
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.quota import Quota
from coterie.errors import AgentUnavailable
from coterie.journal import Intent
from coterie.journal.view import view_run
from coterie.policies import Fallback, Policies, Spend
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.task import Compensation
from coterie.trail import Lap

QUICK = Retry(max_attempts=3, base_s=0.001, cap_s=0.001)


class Script:
    """An agent that raises what it is given, call by call, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def __call__(self, task_input: dict[str, Any], ctx: TaskContext) -> str:
        ctx.report_usage(input_tokens=10)
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def team_of(script: Any, policies: Policies | None = None, **others: Any) -> Team:
    team = Team("laps", policies={"x": policies} if policies else {})
    team.add(Agent("x1", "x", script, capacity=4))
    for name, other in others.items():
        team.add(Agent(name, name, other))
    return team


@pytest.fixture
async def journal() -> AsyncIterator[Journal]:
    made = Journal(MemoryJournalStore())
    yield made
    await made.aclose()


async def laps_of(
    journal: Journal, team: Team, *tasks: Task, unit: str = "t", queues: bool = False, **more: Any
) -> tuple[Lap, ...]:
    """Those of the one task, whatever became of it. queues: also those of queueing, which a busy machine makes up."""
    orchestrator = Orchestrator(team, journal=journal, **more)
    try:
        await orchestrator.execute_workflow(Plan("p", tasks or [Task("t", "x")]), workflow_id="r")
    finally:
        await orchestrator.pipeline.aclose()
    found = (await view_run(journal, "r")).unit(unit)
    assert found is not None
    assert found.record is not None
    return tuple(lap for lap in found.record.laps if queues or lap.kind != "queue")


def kinds(laps: tuple[Lap, ...]) -> list[str]:
    return [lap.kind for lap in laps]


async def test_work_that_succeeds_at_once_has_nothing_to_tell(journal):
    assert await laps_of(journal, team_of(Script())) == ()


async def test_work_that_fails_at_once_has_nothing_to_tell_that_its_record_does_not(journal):
    assert await laps_of(journal, team_of(Script(ValueError("no")))) == ()


async def test_each_attempt_and_each_back_off_is_on_the_trail(journal):
    laps = await laps_of(journal, team_of(Script(ValueError("no"), KeyError("k"))), Task("t", "x", retry=QUICK))

    assert kinds(laps) == ["call", "backoff", "call", "backoff", "call"]
    assert laps[0].facts == {"attempt": 1, "agent": "x1", "type": "x", "error": "ValueError: no", "tokens_in": 10}
    assert laps[1].facts == {"attempt": 1, "error": "ValueError: no"}
    assert laps[4].facts == {"attempt": 3, "agent": "x1", "type": "x", "tokens_in": 10}
    assert all(before.ended_us <= after.at_us + 1000 for before, after in pairwise(laps))


async def test_behind_a_gate_it_is_the_same(journal):
    policies = Policies(breaker=BreakerPolicy())
    script = Script(AgentUnavailable("away"))

    laps = await laps_of(journal, team_of(script, policies), Task("t", "x", retry=QUICK))

    assert kinds(laps) == ["call", "backoff", "call"]
    assert laps[0].facts["error"] == "AgentUnavailable: away"
    assert [lap.facts["tokens_in"] for lap in laps if lap.kind == "call"] == [10, 10]


async def test_a_refusal_says_who_refused_and_how_long_was_waited(journal):
    policies = Policies(
        breaker=BreakerPolicy(failure_threshold=1, success_threshold=1, timeout_s=0.3, jitter=0.0), max_wait_s=5
    )
    script = Script(AgentUnavailable("away"))

    laps = await laps_of(journal, team_of(script, policies), Task("t", "x", retry=QUICK))

    refused = next(lap for lap in laps if lap.kind == "refused")
    assert refused.took_us == 0
    assert refused.facts["by"] == "breaker:x"
    assert 0 < refused.facts["retry_after_s"] <= 0.3
    waited = laps[laps.index(refused) + 1]
    assert (waited.kind, dict(waited.facts)) == ("wait", {"for": "refusal"})
    assert waited.took_us >= refused.facts["retry_after_s"] * 1e6 * 0.9


async def test_a_rate_limit_that_holds_it_back_is_on_the_trail(journal):
    policies = Policies(limits={"requests": Quota(rate_per_s=2, burst=1)}, max_hold_s=5)
    team = team_of(Script(), policies)

    laps = await laps_of(journal, team, Task("a", "x"), Task("t", "x", depends_on=["a"]))

    (held, _call) = laps
    assert (held.kind, dict(held.facts)) == ("limit", {"quota": "requests"})
    assert held.took_us >= 20_000


async def test_a_spent_budget_says_its_name(journal):
    spend = Spend(name="weekly", limit=10, per_call=10, window=3600)
    policies = Policies(budgets=(spend,), max_wait_s=0.0, fallback=(Fallback(value="later"),))

    laps = await laps_of(journal, team_of(Script(), policies), Task("a", "x"), Task("t", "x", depends_on=["a"]))

    (refused, fell_back) = laps
    assert (refused.kind, refused.facts["by"]) == ("refused", "budget:weekly")
    assert fell_back.kind == "fallback"


async def test_waiting_for_a_slot_of_the_fleets_pool_is_on_the_trail(journal):
    async def slow(task_input: dict[str, Any]) -> None:
        await asyncio.sleep(0.1)

    team = Team("laps", policies={"x": Policies(pool=PoolPolicy())})
    team.add(Agent("x1", "x", slow, capacity=1))

    laps = await laps_of(journal, team, Task("a", "x", priority=1), Task("t", "x"), queues=True)

    assert kinds(laps) == ["queue", "call"]
    assert laps[0].facts["place"] == "pool"
    assert laps[0].took_us >= 15_000


async def test_whoever_stands_in_is_on_the_trail(journal):
    policies = Policies(fallback=(Fallback(agent_type="y"),))
    script = Script(ValueError("no"))

    laps = await laps_of(journal, team_of(script, policies, y=Script()))

    assert kinds(laps) == ["call", "fallback"]
    assert laps[1].facts == {"to": str(Fallback(agent_type="y"))}


async def test_durable_steps_are_on_the_trail_and_say_whether_they_were_replayed(journal):
    async def agent(task_input: dict[str, Any], ctx: TaskContext) -> int:
        async def ask() -> int:
            return 1

        first = await ctx.step("ask", ask)
        if ctx.attempt == 1:
            raise ValueError("after the step")
        return first

    laps = await laps_of(journal, team_of(agent), Task("t", "x", retry=QUICK))

    steps = [dict(lap.facts) for lap in laps if lap.kind == "step"]
    assert steps == [{"name": "ask", "replayed": False}, {"name": "ask", "replayed": True}]


async def test_artifacts_that_are_written_and_read_are_on_the_trail(journal, tmp_path: Path):
    async def big(task_input: dict[str, Any]) -> str:
        return "x" * 5000

    async def reader(task_input: dict[str, Any], ctx: TaskContext) -> int:
        return len(await ctx.output("a"))

    team = team_of(reader, big=big)
    async with asyncio.timeout(30):
        store = ArtifactStore(tmp_path.as_uri())
        tasks = (Task("a", "big"), Task("t", "x", depends_on=["a"]))
        read = await laps_of(journal, team, *tasks, artifacts=store)
        written = (await view_run(journal, "r")).unit("a").record.laps

    assert [(lap.kind, dict(lap.facts)) for lap in written] == [("write", {"bytes": 5002})]
    assert [(lap.kind, dict(lap.facts)) for lap in read] == [("read", {"bytes": 5002})]


async def test_work_that_is_done_again_says_why(journal):
    await laps_of(journal, team_of(Script()))
    orchestrator = Orchestrator(team_of(Script()), journal=journal)

    await orchestrator.execute_workflow(Plan("p", [Task("t", "x")]), workflow_id="r", intent=Intent(force="again"))

    (claimed,) = (await view_run(journal, "r")).unit("t").record.laps
    assert (claimed.kind, dict(claimed.facts)) == ("claim", {"why": "forced"})


async def test_without_a_journal_and_without_spans_nothing_is_noted():
    trails: list[object] = []

    async def agent(task_input: dict[str, Any], ctx: TaskContext) -> None:
        trails.append(ctx.trail)
        if ctx.attempt == 1:
            raise ValueError

    events: list[Event] = []
    await Orchestrator(team_of(agent), on_event=events.append).execute_workflow(
        Plan("p", [Task("t", "x", retry=QUICK)])
    )

    assert trails == [None, None]
    assert "task.retrying" in [event.name for event in events]


async def test_laps_become_spans_under_the_tasks_own(spans, journal):
    policies = Policies(
        breaker=BreakerPolicy(failure_threshold=1, success_threshold=1, timeout_s=0.3, jitter=0.0),
        limits={"requests": Quota(rate_per_s=1, burst=1)},
        max_hold_s=5,
        max_wait_s=5,
    )
    script = Script(AgentUnavailable("away"))

    await laps_of(journal, team_of(script, policies), Task("t", "x", retry=QUICK))

    work = spans.one("execute_task t")
    made = sorted(name for name in spans.under(work) if name != "queue x")
    assert made == ["backoff", "invoke_agent x1", "invoke_agent x1", "limit x", "wait refusal"]
    refused = next(event for event in work.events if event.name == "refused")
    assert refused.attributes["coterie.by"] == "breaker:x"


async def test_a_journal_that_cannot_hold_the_laps_holds_the_end(journal, monkeypatch):
    monkeypatch.setattr("coterie.journal.ending.MOST_CHARS", 400)
    retry = Retry(max_attempts=10, base_s=0.0, cap_s=0.0)

    laps = await laps_of(journal, team_of(Script(*[ValueError("no")] * 9)), Task("t", "x", retry=retry))

    assert laps == ()
    assert (await view_run(journal, "r")).unit("t").state == "succeeded"


async def test_a_compensation_is_in_the_trace_of_its_run_and_says_what_it_undoes(spans, journal):
    async def compensate(task_input: dict[str, Any]) -> None: ...

    team = team_of(Script(), undo=compensate, broken=Script(ValueError("no")))
    made = Task("made", "x", compensation=Compensation("undo"))

    await laps_of(journal, team, made, Task("t", "broken", depends_on=["made"]))

    laps = (await view_run(journal, "r")).unit("undo-made").record.laps
    assert [(lap.kind, dict(lap.facts)) for lap in laps] == [("undo", {"of": "made"})]
    root, undone = spans.one("invoke_workflow p"), spans.one("execute_task undo-made")
    assert (undone.context.trace_id, undone.parent.span_id) == (root.context.trace_id, root.context.span_id)
    assert spans.under(undone) == ["invoke_agent undo", "undo made"]


async def test_a_task_by_itself_that_waits_for_a_slot_of_the_process_has_that_on_its_trail(journal):
    async def slow(task_input: dict[str, Any]) -> None:
        await asyncio.sleep(0.1)

    team = Team("laps")
    team.add(Agent("x1", "x", slow, capacity=1))
    orchestrator = Orchestrator(team, journal=journal)

    await asyncio.gather(*(orchestrator.execute_task(Task(name, "x"), workflow_id="r") for name in "at"))

    laps = [lap for name in "at" for lap in (await view_run(journal, "r")).unit(name).record.laps]
    assert [lap.facts["place"] for lap in laps if lap.kind == "queue"] == ["local"]
