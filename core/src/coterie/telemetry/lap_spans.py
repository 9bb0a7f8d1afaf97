"""Spans made afterwards, from the laps of a unit of work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, set_span_in_context

from coterie._rules.lap import Lap
from coterie.telemetry import names
from coterie.telemetry.tracer import Attributes, OurTracer, end

if TYPE_CHECKING:
    from coterie.task import Task

__all__ = ["lap_spans"]

# The fact that is named behind the kind.
_NAMED = {"wait": "for", "lost": "worker", "step": "name", "fallback": "to", "undo": "of"}


def lap_spans(tracer: OurTracer, work: Span, task: Task, laps: Iterable[Lap]) -> None:
    """A child of the work's span for each lap; of a refusal, an event on it. Agents' calls have spans of their own."""
    context = set_span_in_context(work, Context())
    for lap in laps:
        facts: Attributes = {names.FACT.format(fact=name): fact for name, fact in lap.facts.items()}
        if lap.kind == "refused":
            work.add_event("refused", facts, lap.at_us * 1000)
        elif lap.kind != "call":
            span = tracer.start(_name(lap, task), context, SpanKind.INTERNAL, facts, start_ns=lap.at_us * 1000)
            end(span, lap.ended_us * 1000)


def _name(lap: Lap, task: Task) -> str:
    if lap.kind in ("queue", "limit"):
        return f"{lap.kind} {task.agent_type}"
    named = task.id if lap.kind == "claim" else lap.facts.get(_NAMED.get(lap.kind, ""))
    return lap.kind if named is None else f"{lap.kind} {named}"
