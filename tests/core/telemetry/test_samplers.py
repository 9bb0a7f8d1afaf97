"""Samplers are the user's: they are asked once for each run, and what they do wrong ends nothing."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult

from coterie import CloudEvent, Orchestrator, Plan, Task, Team
from coterie.telemetry import names
from coterie.telemetry.bus_spans import publishing

PLAN = Plan("p", [Task("a", "linter")])
WHOLE = ["invoke_agent linter", "execute_task a", "invoke_workflow p"]

team = Team("sampled")


@team.agent("linter")
async def lint(task_input: dict[str, Any]) -> str:
    return "clean"


class AtMost(Sampler):
    """So many traces, as samplers that limit a rate let through within a second. notes: what it puts on their spans."""

    def __init__(self, most: int, **notes: str) -> None:
        self.left = most
        self.notes = notes
        self.asked: list[str] = []

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        *_: Any,
        **__: Any,
    ) -> SamplingResult:
        self.asked.append(name)
        self.left -= 1
        decision = Decision.RECORD_AND_SAMPLE if self.left >= 0 else Decision.DROP
        return SamplingResult(decision, {**(attributes or {}), **self.notes})

    def get_description(self) -> str:
        return "at most so many"


class Broken(AtMost):
    """One whose strategy could not be loaded."""

    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        raise RuntimeError("no strategy")


@pytest.fixture
def sampled_by(spans, monkeypatch):
    def use(sampler: Sampler) -> None:
        provider = TracerProvider(sampler=ParentBased(sampler), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(spans.exporter))
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)

    return use


async def test_a_sampler_that_counts_is_asked_once_for_each_run(spans, sampled_by):
    sampled_by(sampler := AtMost(1))

    await Orchestrator(team).execute_workflow(PLAN)
    first = [span.name for span in spans.all]
    await Orchestrator(team).execute_workflow(PLAN)

    assert first == WHOLE
    assert [span.name for span in spans.all] == WHOLE, "the second run is one too many"
    assert sampler.asked == ["invoke_workflow", "invoke_workflow"]


async def test_what_a_sampler_notes_is_on_the_run_s_span_alone(spans, sampled_by):
    sampled_by(AtMost(1, **{names.AGENT_TYPE: "noted"}))

    await Orchestrator(team).execute_workflow(PLAN)

    noted = {span.name: span.attributes.get(names.AGENT_TYPE) for span in spans.all}
    spans.exporter.clear()
    assert noted == {"invoke_workflow p": "noted", "execute_task a": "linter", "invoke_agent linter": "linter"}


async def test_spans_of_others_are_decided_upon_as_ever(spans, sampled_by):
    sampled_by(sampler := AtMost(1))

    await Orchestrator(team).execute_workflow(PLAN)
    with trace.get_tracer("a library").start_as_current_span("GET /models"):
        pass

    assert sampler.asked[-1] == "GET /models"
    assert spans.named("GET /models") == []


async def test_a_sampler_that_fails_leaves_out_the_trace_and_nothing_else(spans, sampled_by, caplog):
    sampled_by(Broken(1))

    with caplog.at_level(logging.ERROR, "coterie.telemetry"):
        result = await Orchestrator(team).execute_workflow(PLAN)

    assert result.status == "succeeded"
    assert spans.all == []
    assert "tracing.failed" in caplog.text


def test_an_event_whose_publishing_could_not_be_traced_carries_no_context(sampled_by):
    sampled_by(Broken(1))

    with publishing("events", [CloudEvent("order.placed", source="shop")]) as (sent,):
        assert sent.traceparent is None


@pytest.mark.parametrize("most", [0, 1])
async def test_a_task_that_a_scheduler_has_performed_is_decided_upon_once_too(spans, sampled_by, most: int):
    sampled_by(sampler := AtMost(most))

    await Orchestrator(team).execute_task(PLAN.task("a"), workflow_id="r", plan=PLAN)

    assert len(sampler.asked) == 1
    assert len(spans.all) == 2 * most
