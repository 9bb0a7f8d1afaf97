"""The spans of a run in this process: which there are, how they nest, what they say."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from coterie import ForEach, Orchestrator, Plan, Retry, Task, TaskContext, Team
from coterie.telemetry import names
from coterie.telemetry.identity import root_span_id, run_trace_id

team = Team("spans")


@team.agent("linter", version="7")
async def lint(task_input: dict[str, str], ctx: TaskContext) -> str:
    with trace.get_tracer("a library").start_as_current_span("GET /models"):
        ctx.report_usage(input_tokens=3, output_tokens=5, cost_micros=7)
    return "clean"


@team.agent("flaky")
async def flake(task_input: dict[str, str], ctx: TaskContext) -> int:
    if ctx.attempt < 3:
        try:
            raise ConnectionError("the line is down")
        except ConnectionError as error:
            raise ValueError("no answer") from error
    return ctx.attempt


@team.agent("broken")
async def fail(task_input: dict[str, str]) -> None:
    raise ValueError("out of paper")


@team.agent("blocking")
def block(task_input: dict[str, str]) -> int:
    return trace.get_current_span().get_span_context().span_id


CHAIN = Plan("chain", [Task("a", "linter"), Task("b", "linter", depends_on=["a"])])


async def run(plan: Plan, run_id: str = "r1", **more):
    return await Orchestrator(team, **more).execute_workflow(plan, workflow_id=run_id)


async def test_a_run_is_one_trace_of_run_tasks_and_agents(spans):
    await run(CHAIN)

    root = spans.one("invoke_workflow chain")
    assert root.parent is None
    assert {span.context.trace_id for span in spans.all} == {root.context.trace_id}
    assert spans.under(root) == ["execute_task a", "execute_task b"]
    assert spans.under(spans.one("execute_task a")) == ["invoke_agent linter"]


async def test_the_ids_of_a_trace_follow_from_namespace_and_run(spans):
    await run(CHAIN, namespace="eu")

    root = spans.one("invoke_workflow chain").context
    assert (root.trace_id, root.span_id) == (run_trace_id("eu", "r1"), root_span_id("eu", "r1"))


async def test_what_an_agents_libraries_trace_lies_within_its_call(spans):
    await run(Plan("one", [Task("a", "linter")]))

    assert spans.parent(spans.one("GET /models")) is spans.one("invoke_agent linter")


async def test_a_blocking_agent_has_its_span_in_its_thread(spans):
    result = await run(Plan("one", [Task("a", "blocking")]))

    assert result.tasks["a"].output == spans.one("invoke_agent blocking").context.span_id


async def test_spans_say_what_they_are_of_by_the_names_of_the_table(spans):
    await run(Plan("one", [Task("a", "linter")]))

    assert dict(spans.one("invoke_workflow one").attributes) == {
        names.OPERATION: "invoke_workflow",
        names.WORKFLOW_NAME: "one",
        names.RUN_ID: "r1",
        names.NAMESPACE: "default",
        names.STATUS: "succeeded",
    }
    assert dict(spans.one("execute_task a").attributes) == {
        names.RUN_ID: "r1",
        names.TASK_ID: "a",
        names.AGENT_TYPE: "linter",
        names.STATE: "succeeded",
        names.ATTEMPTS: 1,
        names.INPUT_TOKENS: 3,
        names.OUTPUT_TOKENS: 5,
        names.COST: 7,
    }
    assert dict(spans.one("invoke_agent linter").attributes) == {
        names.OPERATION: "invoke_agent",
        names.AGENT_NAME: "linter",
        names.AGENT_VERSION: "7",
        names.AGENT_TYPE: "linter",
        names.ATTEMPT: 1,
        names.INPUT_TOKENS: 3,
        names.OUTPUT_TOKENS: 5,
        names.COST: 7,
    }


async def test_each_attempt_has_a_span_and_so_has_each_back_off(spans):
    task = Task("a", "flaky", retry=Retry(max_attempts=3, base_s=0.001, cap_s=0.001))

    await run(Plan("one", [task]))

    work = spans.one("execute_task a")
    assert work.attributes[names.ATTEMPTS] == 3
    assert sorted(spans.under(work)) == ["backoff"] * 2 + ["invoke_agent flaky"] * 3
    first, second = spans.named("backoff")
    assert first.attributes["coterie.attempt"] == 1
    assert first.attributes["coterie.error"] == "ValueError: no answer"
    assert work.start_time <= first.start_time <= first.end_time <= second.start_time <= work.end_time


async def test_an_error_is_told_with_its_causes_and_without_its_lines(spans):
    await run(Plan("one", [Task("a", "flaky")]))

    for span in (spans.one("execute_task a"), spans.one("invoke_agent flaky")):
        assert span.status.status_code is trace.StatusCode.ERROR
        told = [(event.attributes["exception.type"], event.attributes["exception.message"]) for event in span.events]
        assert told == [("ValueError", "no answer"), ("ConnectionError", "the line is down")]
        assert not any("exception.stacktrace" in event.attributes for event in span.events)


async def test_a_run_in_part_is_no_success(spans):
    await run(Plan("two", [Task("a", "linter"), Task("b", "broken")]))

    root = spans.one("invoke_workflow two")
    assert root.attributes[names.STATUS] == "partial"
    assert root.status.status_code is trace.StatusCode.ERROR


async def test_items_lie_under_their_foreach(spans):
    task = Task("each", "linter", foreach=ForEach(items=["x", "y"]))

    await run(Plan("items", [task]))

    whole = next(span for span in spans.named("execute_task each") if names.ITEM not in span.attributes)
    items = [span for span in spans.named("execute_task each") if names.ITEM in span.attributes]
    assert len(items) == 2
    assert all(spans.parent(item) is whole for item in items)
    assert all(spans.under(item) == ["invoke_agent linter"] for item in items)


async def test_waiting_for_a_slot_of_this_process_is_a_span(spans):
    slow = Team("slow")

    @slow.agent("slow", capacity=1)
    async def work(task_input: dict[str, str]) -> None:
        await asyncio.sleep(0.1)

    await Orchestrator(slow).execute_workflow(Plan("wide", [Task("a", "slow"), Task("b", "slow", priority=-1)]))

    queued = spans.one("queue slow")
    assert spans.parent(queued) is spans.one("execute_task b")
    assert queued.attributes["coterie.place"] == "local"
    assert queued.end_time - queued.start_time >= 15e6


async def test_a_run_within_a_span_belongs_to_its_trace(spans):
    with trace.get_tracer("an application").start_as_current_span("nightly") as outer:
        await run(CHAIN)

    root = spans.one("invoke_workflow chain")
    assert root.context.trace_id == outer.get_span_context().trace_id
    assert root.context.span_id == root_span_id("default", "r1")
    assert spans.parent(root) is spans.one("nightly")


async def test_a_task_alone_belongs_to_the_span_around_it(spans):
    with trace.get_tracer("an application").start_as_current_span("nightly"):
        await Orchestrator(team).execute_task(Task("a", "linter"))

    assert spans.parent(spans.one("execute_task a")) is spans.one("nightly")


async def test_a_task_of_a_run_hangs_on_the_runs_root_and_links_to_the_span_around_it(spans):
    with trace.get_tracer("a scheduler").start_as_current_span("operator") as outer:
        await Orchestrator(team).execute_task(Task("a", "linter"), workflow_id="airflow.dag.1")

    work = spans.one("execute_task a")
    assert work.context.trace_id == run_trace_id("default", "airflow.dag.1")
    assert work.parent.span_id == root_span_id("default", "airflow.dag.1")
    assert [link.context.span_id for link in work.links] == [outer.get_span_context().span_id]


async def test_a_cancelled_run_ends_its_spans(spans):
    begun = asyncio.Event()
    slow = Team("slow")

    @slow.agent("slow")
    async def work(task_input: dict[str, str]) -> None:
        begun.set()
        await asyncio.sleep(60)

    orchestrator = Orchestrator(slow)
    going = asyncio.create_task(orchestrator.execute_workflow(Plan("p", [Task("a", "slow")]), workflow_id="r1"))
    await begun.wait()
    orchestrator.cancel("r1")
    await going

    assert spans.one("invoke_workflow p").attributes[names.STATUS] == "cancelled"
    assert spans.one("invoke_agent slow").attributes[names.ERROR_TYPE] == "CancelledError"
    assert spans.one("execute_task a").status.status_code is trace.StatusCode.UNSET


@pytest.mark.parametrize("namespace", [f"n{i}" for i in range(12)])
async def test_every_process_decides_alike_whether_a_run_is_sampled(spans, monkeypatch, namespace):
    provider = TracerProvider(sampler=TraceIdRatioBased(0.5), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans.exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)

    await run(CHAIN, namespace=namespace)
    as_a_whole = bool(spans.named("execute_task a"))
    spans.exporter.clear()
    await Orchestrator(team, namespace=namespace).execute_task(Task("a", "linter"), workflow_id="r1")
    by_itself = bool(spans.named("execute_task a"))

    bound = TraceIdRatioBased.get_bound_for_rate(0.5)
    expected = run_trace_id(namespace, "r1") & TraceIdRatioBased.TRACE_ID_LIMIT < bound
    assert (as_a_whole, by_itself) == (expected, expected)


async def test_other_spans_of_the_process_keep_their_own_ids(spans):
    before = spans.provider.get_tracer("a library").id_generator
    await run(CHAIN)

    assert spans.provider.id_generator is before
    assert spans.provider.get_tracer("a library").id_generator is before


def test_where_nobody_records_opentelemetry_is_not_even_imported():
    script = (
        "import asyncio, sys\n"
        "from coterie import Orchestrator, Plan, Task, Team\n"
        "team = Team('t')\n"
        "@team.agent('a')\n"
        "async def work(task_input: dict): return 1\n"
        "asyncio.run(Orchestrator(team).execute_workflow(Plan('p', [Task('a', 'a')])))\n"
        "print('opentelemetry.trace' in sys.modules)\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


async def test_whoever_watches_and_fails_ends_nothing_that_is_watched(spans, caplog):
    class Broken(SpanProcessor):
        def on_start(self, span, parent_context=None):
            if "linter" in span.name:
                raise RuntimeError("on start")

        def on_end(self, span):
            if span.instrumentation_scope.name == names.SCOPE:
                raise RuntimeError("on end")

    spans.provider.add_span_processor(Broken())

    result = await run(CHAIN)

    assert result.status == "succeeded"
    assert "tracing.failed" in caplog.text
