"""A task that a worker performs is in the trace of its run; what it went through there is in the run's journal."""

from __future__ import annotations

import asyncio
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from coterie import Orchestrator, Plan, Retry, Task, TaskContext, Team
from coterie.journal import Journal
from coterie.journal.outage import Stretch
from coterie.journal.view import view_run
from coterie.remote import serving
from coterie.remote.call import CallStatus
from coterie.remote.outcome import Outcome
from coterie.result import TaskResult
from coterie.telemetry import names
from coterie.telemetry.identity import root_span_id, run_trace_id
from coterie.trail import Lap
from tests.fleet.remote.fleet import Fleet, call_of, eventually

PLAN = Plan("p", [Task("t", "flaky", retry=Retry(max_attempts=2, base_s=0.001, cap_s=0.001))])


def agents() -> Team:
    team = Team("agents")

    @team.agent("flaky")
    async def flaky(_: dict[str, Any], context: TaskContext) -> int:
        if context.attempt == 1:
            raise ValueError("again")
        return context.attempt

    return team


def caller() -> Team:
    team = agents()
    team.remote("flaky")
    return team


async def run_there(fleet: Fleet) -> None:
    orchestrator = (await fleet.runtime(caller())).orchestrator
    async with fleet.worker(agents(), worker_id="w1"):
        await asyncio.wait_for(orchestrator.execute_workflow(PLAN, workflow_id="r"), 30)


async def test_the_workers_spans_lie_within_the_callers(fleet: Fleet, spans):
    await run_there(fleet)

    called = spans.one("invoke_agent flaky", kind="CLIENT")
    here, there = spans.parent(called), next(s for s in spans.named("execute_task t") if spans.parent(s) is called)
    assert {span.context.trace_id for span in (called, here, there)} == {run_trace_id("default", "r")}
    assert spans.parent(here) is spans.one("invoke_workflow p")
    assert sorted(spans.under(there)) == ["backoff", "invoke_agent flaky", "invoke_agent flaky"]
    assert [name for name in spans.under(here) if name == "backoff"] == [], "the worker has told of that"
    assert called.attributes[names.WORKER] == "w1"


async def test_of_a_worker_without_spans_its_caller_tells_what_the_work_went_through(fleet: Fleet, spans, monkeypatch):
    monkeypatch.setattr(serving, "open_trace", lambda run, **_: None)

    await run_there(fleet)

    (here,) = spans.named("execute_task t")
    assert sorted(spans.under(here)) == ["backoff", "invoke_agent flaky", "queue flaky"]


async def test_the_run_s_journal_has_what_the_work_went_through_at_the_worker(fleet: Fleet):
    await run_there(fleet)

    laps = (await view_run(Journal(fleet.books), "r")).unit("t").record.laps
    assert [lap.kind for lap in laps] == ["queue", "call", "backoff", "call"]
    assert laps[0].facts == {"priority": 0, "place": "worker", "worker": "w1"}


async def test_work_that_its_caller_does_not_wait_for_hangs_on_the_run(fleet: Fleet, spans):
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"

    async with fleet.worker(agents(), worker_id="w1"):
        await fleet.calls.submit(call_of(PLAN.tasks[0], traceparent=traceparent))
        await asyncio.wait_for(fleet.calls.wait(call_of(PLAN.tasks[0]).id), 30)

    (work,) = spans.named("execute_task t")
    assert work.context.trace_id == run_trace_id("default", "r")
    assert work.parent.span_id == root_span_id("default", "r")
    assert [f"{link.context.trace_id:x}" for link in work.links] == ["a" * 32]
    laps = (await view_run(Journal(fleet.books), "r")).unit("t").record.laps
    assert laps[0].facts == {"priority": 0, "place": "worker", "worker": "w1"}


async def test_what_the_caller_leaves_out_its_worker_leaves_out_too(fleet: Fleet, spans, monkeypatch):
    left_out = TracerProvider(sampler=ParentBased(ALWAYS_OFF), shutdown_on_exit=False)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", left_out)
    orchestrator = (await fleet.runtime(caller())).orchestrator
    going = asyncio.create_task(orchestrator.execute_workflow(PLAN, workflow_id="r"))

    async def queued() -> bool:
        return any(topic.name == "tasks/flaky" and topic.messages for topic in await fleet.log.topics())

    await eventually(queued)
    # Its worker records whatever it is told nothing of.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", spans.provider)
    async with fleet.worker(agents(), worker_id="w1"):
        result = await asyncio.wait_for(going, 30)

    assert result.status == "succeeded"
    assert spans.all == []


async def test_an_unsampled_caller_has_no_spans_made_at_the_worker(spans):
    call = call_of(PLAN.tasks[0], keeps="steps", traceparent=f"00-{'a' * 32}-{'b' * 16}-00")

    outcome = await Orchestrator(agents()).perform_call(call, attempt=1)

    assert outcome.result.state == "succeeded"
    assert spans.all == []


def test_laps_travel_with_the_outcome():
    laps = (Lap("call", 5, 6, {"agent": "a"}), Lap("backoff", 11, 2))

    away = (Stretch(1, 3), Stretch(4, 5))
    told = Outcome(TaskResult("t", "succeeded"), laps=laps, more=3, is_traced=True, away=away)

    read = Outcome.from_json(told.to_json())

    assert (read.laps, read.more, read.is_traced, read.away) == (laps, 3, True, away)
    assert Outcome.from_json(Outcome(TaskResult("t", "succeeded")).to_json()).away == ()
    assert CallStatus.__dataclass_fields__["laps"].default == ()
