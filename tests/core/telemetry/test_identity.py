"""One trace for each run, whoever takes part in it, and however often it is begun again."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from coterie import Compensation, Journal, Orchestrator, Plan, Task, TaskContext, Team
from coterie.conclude import conclude
from coterie.errors import PlanChanged
from coterie.journal import Intent
from coterie.journal.header import Header, check_header, read_header
from coterie.journal.place import place_of
from coterie.journal.view import view_run
from coterie.result import TaskResult
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.telemetry import names
from coterie.telemetry.identity import Parent, parsed_parent, root_span_id, run_trace_id, traceparent_text, work_span_id
from coterie.telemetry.recording import record_run

PLAN = Plan("p", [Task("a", "x"), Task("b", "x", depends_on=["a"])])


def team_of(*failing: str) -> Team:
    team = Team("t")

    @team.agent("x")
    async def work(task_input: dict[str, Any], ctx: TaskContext) -> str:
        if ctx.task_id in failing:
            raise ValueError("no")
        return "done"

    return team


@pytest.fixture
async def journal() -> AsyncIterator[Journal]:
    made = Journal(MemoryJournalStore())
    yield made
    await made.aclose()


def application(name: str = "application"):
    return trace.get_tracer("an application").start_as_current_span(name)


# Ids.


@given(st.text(), st.text(), st.text(), st.text())
def test_ids_are_valid_and_of_the_right_length(namespace: str, run: str, unit: str, mark: str):
    assert 0 < run_trace_id(namespace, run) < 2**128
    assert 0 < root_span_id(namespace, run) < 2**64
    assert 0 < work_span_id(namespace, run, unit, mark) < 2**64


def test_ids_are_those_that_every_version_derives():
    assert f"{run_trace_id('default', 'r1'):032x}" == "b6456a5c7a0321a4f7e2364d8c3f189b"
    assert f"{root_span_id('default', 'r1'):016x}" == "0cbb8210a8486b6c"


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_a_traceparent_is_read_as_opentelemetry_reads_it(trace_id: int, span_id: int, sampled: bool):
    text = traceparent_text(Parent(trace_id, span_id, sampled))

    context = trace.get_current_span(TraceContextTextMapPropagator().extract({"traceparent": text}))
    theirs = context.get_span_context()

    assert parsed_parent(text) == (theirs.trace_id, theirs.span_id, theirs.trace_flags.sampled)


@pytest.mark.parametrize(
    "text",
    [None, "", "00", f"00-{'0' * 32}-{'1' * 16}-01", f"00-{'1' * 32}-{'0' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01"],
)
def test_what_is_no_traceparent_names_no_parent(text: str | None):
    assert parsed_parent(text) is None


# The header.


def test_the_trace_of_a_run_stays_that_of_who_began_it_when_its_plan_changes():
    first = Header("p", "1", traceparent="00-1")
    texts = {"run": first.text()}

    changed = check_header(
        texts, 0, run="r", given=Header("p", "2", traceparent="00-2"), intent=Intent(allow_changes=True)
    )

    assert read_header(changed.texts["run"]).traceparent == "00-1"
    with pytest.raises(PlanChanged):
        check_header(texts, 0, run="r", given=Header("p", "2"), intent=Intent())


def test_a_header_without_a_context_has_no_word_of_it():
    assert "tp" not in json.loads(Header().text())


# Runs in a journal.


async def test_whoever_goes_on_with_a_run_is_in_the_trace_of_who_began_it(spans, journal):
    with application() as outer:
        await Orchestrator(team_of("b"), journal=journal).execute_workflow(PLAN, workflow_id="r")
    spans.exporter.clear()

    resumed = Intent(goes_on=True)
    await Orchestrator(team_of(), journal=journal).execute_workflow(PLAN, workflow_id="r", intent=resumed)

    again = spans.one("invoke_workflow p")
    assert {span.context.trace_id for span in spans.all} == {outer.get_span_context().trace_id}
    assert again.parent.span_id == root_span_id("default", "r"), "the run's own span was made when it failed"


async def test_whoever_goes_on_with_a_run_from_a_span_of_his_own_links_to_that(spans, journal):
    await Orchestrator(team_of("b"), journal=journal).execute_workflow(PLAN, workflow_id="r")
    spans.exporter.clear()

    with application() as outer:
        await Orchestrator(team_of(), journal=journal).execute_task(PLAN.tasks[0], workflow_id="r", plan=PLAN)
        await Orchestrator(team_of(), journal=journal).execute_workflow(PLAN, workflow_id="r")

    root, task = spans.one("invoke_workflow p"), spans.named("execute_task a")[0]
    assert root.context.trace_id == task.context.trace_id == run_trace_id("default", "r")
    assert [link.context.span_id for link in root.links] == [outer.get_span_context().span_id]
    assert [link.context.span_id for link in task.links] == [outer.get_span_context().span_id]


async def test_a_task_that_was_finished_before_is_a_span_that_says_so(spans, journal):
    await Orchestrator(team_of(), journal=journal).execute_workflow(PLAN, workflow_id="r")
    spans.exporter.clear()

    await Orchestrator(team_of(), journal=journal).execute_workflow(PLAN, workflow_id="r")

    for name in ("execute_task a", "execute_task b"):
        span = spans.one(name)
        assert span.attributes[names.REPLAYED] is True
        assert span.attributes[names.STATE] == "succeeded"
        assert spans.parent(span) is spans.one("invoke_workflow p")
    assert not spans.named("invoke_agent x")


async def test_an_attempt_after_a_lost_process_links_to_what_it_takes_over(spans, journal):
    lost = journal.asked(Intent(), "f", owner="somebody")
    await journal.begin("r", Header("p", PLAN.hash), Intent())
    granted = await journal.claim("r", place_of("a", None), lost, what="a", patience_s=0)
    await journal.hand_back("r", place_of("a", None).pulse, granted.guard)

    await Orchestrator(team_of(), journal=journal).execute_task(PLAN.tasks[0], workflow_id="r", plan=PLAN)

    task = spans.one("execute_task a")
    assert [link.context.span_id for link in task.links] == [work_span_id("default", "r", "a", "r 1")]
    assert task.context.span_id == work_span_id("default", "r", "a", "r 2")
    assert task.attributes[names.WHY] == "unfinished"
    (lap,) = (await view_run(journal, "r")).unit("a").record.laps
    assert (lap.kind, lap.facts["why"]) == ("claim", "unfinished")
    assert lap.facts["after"]


async def test_tasks_of_a_journalled_run_say_their_idempotency_key(spans, journal):
    keys: list[str] = []
    team = Team("t")

    @team.agent("x")
    async def work(task_input: dict[str, Any], ctx: TaskContext) -> None:
        keys.append(ctx.idempotency_key)

    await Orchestrator(team, journal=journal).execute_workflow(Plan("p", [Task("a", "x")]), workflow_id="r")

    assert [spans.one("execute_task a").attributes[names.IDEMPOTENCY_KEY]] == keys


async def test_what_is_undone_is_in_the_trace_of_what_it_undoes_without_a_journal_too(spans):
    plan = Plan("p", [Task("a", "x", compensation=Compensation("x")), Task("b", "x", depends_on=["a"])])

    with application() as begun_in:
        result = await Orchestrator(team_of("b")).execute_workflow(plan, workflow_id="r")

    assert result.status == "failed"
    assert spans.named("execute_task undo-a")
    assert {span.context.trace_id for span in spans.all} == {begun_in.get_span_context().trace_id}
    assert [span.name for span in spans.all if spans.parent(span) is None and span.name != "application"] == []


async def test_who_concludes_a_run_makes_its_span_over_those_of_its_tasks(spans, journal):
    with application() as begun_in:
        orchestrator = Orchestrator(team_of(), journal=journal)
        first = await orchestrator.execute_task(PLAN.tasks[0], workflow_id="r", plan=PLAN)
    upstream = {"a": first}
    second = await orchestrator.execute_task(PLAN.tasks[1], workflow_id="r", plan=PLAN, upstream=upstream)
    result = conclude(PLAN, {**upstream, "b": second}, workflow_id="r")

    await record_run(result, namespace="default", journal=journal)

    root = spans.one("invoke_workflow p")
    assert sorted(spans.under(root)) == ["execute_task b"]
    assert {span.context.trace_id for span in spans.all} == {begun_in.get_span_context().trace_id}
    assert root.attributes[names.STATUS] == "succeeded"
    assert abs(root.start_time - result.started_at * 1e9) < 1e6
    assert abs(root.end_time - root.start_time - result.duration_s * 1e9) < 1e6


async def test_a_run_in_which_nothing_ran_is_of_the_time_when_it_is_concluded(spans):
    result = conclude(PLAN, {"a": TaskResult("a", "skipped"), "b": TaskResult("b", "skipped")}, workflow_id="r")

    before_ns = time.time_ns()
    await record_run(result, namespace="default")

    root = spans.one("invoke_workflow p")
    assert before_ns - 1e6 <= root.start_time <= root.end_time <= time.time_ns()
