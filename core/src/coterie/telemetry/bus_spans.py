"""Spans of the bus: events being published, and being handled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.trace import Link, SpanKind

from coterie.telemetry import names
from coterie.telemetry.identity import parsed_parent, traceparent_text
from coterie.telemetry.spans import context_of, live, parent_of, within
from coterie.telemetry.tracer import Attributes, tracer_here

if TYPE_CHECKING:
    from coterie.bus.event import CloudEvent
    from coterie.bus.received import Received

__all__ = ["processing", "publishing"]

_SYSTEM = "coterie"


@contextmanager
def publishing(topic: str, events: Sequence[CloudEvent]) -> Iterator[Sequence[CloudEvent]]:
    """Publish these events within the block: the same, and those without a context have that of the span."""
    tracer = tracer_here()
    if tracer is None or not events or all(_is_own(event) for event in events):
        yield events
        return
    first = events[0]
    one_type = all(event.type == first.type for event in events)
    attributes = _about("send", topic, first if len(events) == 1 else None)
    if len(events) > 1:
        attributes[names.MESSAGE_COUNT] = len(events)
    given = parsed_parent(first.traceparent)
    here = trace.get_current_span().get_span_context()
    above = get_current() if given is None or here.is_valid else within(given)
    span = tracer.start(f"publish {first.name if one_type else topic}", above, SpanKind.PRODUCER, attributes)
    with live(span):
        # One that could not be started has no context to hand on.
        made = span.get_span_context()
        traceparent = traceparent_text(parent_of(made)) if made.is_valid else None
        yield [event if event.traceparent else replace(event, traceparent=traceparent) for event in events]


@contextmanager
def processing(received: Received, topic: str, group: str) -> Iterator[None]:
    """Handle an event within the block; its span links to that of its publisher."""
    tracer = tracer_here()
    if tracer is None:
        yield
        return
    event = received.event
    attributes = _about("process", topic, event)
    attributes |= {names.MESSAGING_GROUP: group, names.DELIVERY: received.number}
    published = parsed_parent(event.traceparent)
    links = [Link(context_of(published))] if published is not None else []
    span = tracer.start(f"process {event.name}", get_current(), SpanKind.CONSUMER, attributes, links)
    with live(span):
        yield


def _is_own(event: CloudEvent) -> bool:
    """Whether a worker tells of itself, which is of no run: its heart would beat a trace each half a minute."""
    return event.traceparent is None and event.name.startswith("agent.")


def _about(operation: str, topic: str, event: CloudEvent | None) -> Attributes:
    about: Attributes = {
        names.MESSAGING_SYSTEM: _SYSTEM,
        names.MESSAGING_OPERATION: operation,
        names.MESSAGING_DESTINATION: topic,
    }
    if event is not None:
        about[names.MESSAGE_ID] = event.id
        if event.correlation_id is not None:
            about[names.MESSAGE_CONVERSATION] = event.correlation_id
    return about
