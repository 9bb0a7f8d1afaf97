"""Spans of the bus: an event is published in its publisher's trace, handled in another, and the two are linked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry import trace

from coterie import CloudEvent, EventBus, Orchestrator, Plan, Task, TaskContext, Team
from coterie.stores.log_memory import MemoryLogStore
from coterie.telemetry import names
from coterie.telemetry.identity import parsed_parent


@pytest.fixture
async def bus() -> AsyncIterator[EventBus]:
    made = EventBus(MemoryLogStore())
    yield made
    await made.aclose()


async def handled(bus: EventBus, handler: Any, **more: Any) -> None:
    """Serve until the handler has said that it is enough."""
    enough = asyncio.Event()

    async def work(event: CloudEvent) -> Any:
        try:
            return await handler(event)
        finally:
            enough.set()

    async with asyncio.timeout(20):
        await bus.serve(work, group="g", begin="begin", stop=enough, **more)


async def nothing(event: CloudEvent) -> None:
    return None


async def test_an_event_carries_the_context_of_its_publishing(spans, bus):
    with trace.get_tracer("an application").start_as_current_span("outer"):
        published = await bus.publish("order.placed", {"n": 1}, correlation_id="c1")

    span = spans.one("publish order.placed")
    assert spans.parent(span) is spans.one("outer")
    assert parsed_parent(published.event.traceparent) == (span.context.trace_id, span.context.span_id, True)
    assert span.kind is trace.SpanKind.PRODUCER
    assert dict(span.attributes) == {
        names.MESSAGING_SYSTEM: "coterie",
        names.MESSAGING_OPERATION: "send",
        names.MESSAGING_DESTINATION: bus.topic,
        names.MESSAGE_ID: published.event.id,
        names.MESSAGE_CONVERSATION: "c1",
    }


async def test_a_context_that_is_given_stays(spans, bus):
    given = f"00-{'a' * 32}-{'b' * 16}-01"

    published = await bus.publish("order.placed", traceparent=given)

    span = spans.one("publish order.placed")
    assert published.event.traceparent == given
    assert (span.parent.trace_id, span.parent.span_id) == parsed_parent(given)[:2]


async def test_what_is_handled_links_to_its_publishing(spans, bus):
    await bus.publish("order.placed")

    async def handle(event: CloudEvent) -> None:
        trace.get_tracer("a library").start_span("SELECT").end()

    await handled(bus, handle)

    sent, done = spans.one("publish order.placed"), spans.one("process order.placed")
    assert [link.context.span_id for link in done.links] == [sent.context.span_id]
    assert done.parent is None
    assert done.kind is trace.SpanKind.CONSUMER
    assert spans.parent(spans.one("SELECT")) is done
    assert done.attributes[names.MESSAGING_GROUP] == "g"
    assert done.attributes[names.DELIVERY] == 1


async def test_a_handler_that_fails_has_a_span_that_says_so(spans, bus):
    await bus.publish("order.placed")

    async def handle(event: CloudEvent) -> None:
        raise ValueError("no paper")

    await handled(bus, handle)

    assert spans.one("process order.placed").status.description == "ValueError: no paper"


async def test_an_answer_is_published_in_the_trace_of_who_answers(spans, bus):
    async def handle(event: CloudEvent) -> int:
        return 42

    asking = asyncio.create_task(bus.request("sum.wanted", timeout_s=20))
    await handled(bus, handle)
    answer = await asking

    replied = spans.one("publish events.replied")
    assert spans.parent(replied) is spans.one("process sum.wanted")
    assert parsed_parent(answer.traceparent).span_id == replied.context.span_id


async def test_many_events_at_once_are_one_span(spans, bus):
    published = await bus.publish_all([CloudEvent("a.b", n) for n in range(3)])

    span = spans.one("publish a.b")
    assert span.attributes[names.MESSAGE_COUNT] == 3
    assert {one.event.traceparent for one in published} == {published[0].event.traceparent}


async def test_what_a_task_publishes_is_in_its_trace(spans, bus):
    team = Team("t")

    @team.agent("x")
    async def work(task_input: dict[str, Any], ctx: TaskContext) -> None:
        await ctx.publish("order.placed")

    await Orchestrator(team, bus=bus).execute_workflow(Plan("p", [Task("a", "x")]))

    assert spans.parent(spans.one("publish order.placed")) is spans.one("invoke_agent x")


async def test_without_spans_an_event_has_no_context(bus):
    assert (await bus.publish("order.placed")).event.traceparent is None


async def test_what_a_worker_tells_of_itself_has_no_span_and_what_of_a_call_has_one(spans, bus):
    await bus.publish("agent.heartbeat", {"worker": "w"})
    await bus.publish("com.example.agent.sold", {"n": 1})
    await bus.publish("task.assigned", {"worker": "w"})

    assert [span.name for span in spans.all] == ["publish com.example.agent.sold", "publish task.assigned"]
