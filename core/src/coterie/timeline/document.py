"""A run's timeline as a JSON document: what `coterie trace show --json` prints and its HTML page is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coterie.timeline.span import Span, Time
from coterie.timeline.sums import first_failure, spending, time_of_path, time_of_work, tried_again
from coterie.timeline.tree import Timeline
from coterie.usage import Usage

__all__ = ["SCHEMA", "document_of", "span_document"]

# Grows when a reader of an older one would misunderstand a document.
SCHEMA = 1
_MOST_ERRORS = 20


def document_of(timeline: Timeline) -> dict[str, Any]:
    """The document, whose fields `docs/reference/runs.md` describes."""
    spans, now_us = timeline.spans, timeline.now_us
    critical = timeline.critical_path()
    again, used = tried_again(spans), spending(spans)
    return {
        "schema": SCHEMA,
        "run": _run(timeline),
        "spans": [span_document(span) for span in spans],
        "critical": list(critical.spans),
        "path": [piece._asdict() for piece in critical.pieces],
        "slack": dict(critical.slack),
        "where": _seconds(time_of_path(critical.pieces)),
        "work": _seconds(time_of_work(spans, now_us)),
        "usage": {
            "total": used.total.to_dict(),
            "by_task": _usages(used.by_task),
            "by_agent_type": _usages(used.by_agent_type),
        },
        "first_failure": _failure(timeline),
        "tried_again": {
            "attempts": again.attempts,
            "given_up": again.given_up,
            "refusals": sum(again.refusals.values()),
            "by": dict(again.refusals),
            "lost": dict(again.lost),
            "errors": dict(list(again.errors.items())[:_MOST_ERRORS]),
        },
        "now": [
            {
                "span": span.id,
                "owner": span.facts.get("owner"),
                "since_us": span.begun_us,
                "held_by": timeline.held.get(span.id),
            }
            for span in timeline.going_on
        ],
        "ahead": [
            {
                "task": one.task_id,
                "agent_type": one.agent_type,
                "for": list(one.waits_for),
                "because": one.because,
            }
            for one in timeline.ahead
        ],
        "notes": list(timeline.notes),
    }


def span_document(span: Span) -> dict[str, Any]:
    """One span; without facts and links where it has none."""
    document: dict[str, Any] = {
        "id": span.id,
        "parent": span.parent,
        "name": span.name,
        "kind": span.kind,
        "begun_us": span.begun_us,
        "ended_us": span.ended_us,
        "state": span.state,
        "time": span.time,
    }
    if span.facts:
        document["facts"] = dict(span.facts)
    if span.links:
        document["links"] = list(span.links)
    return document


def _run(timeline: Timeline) -> dict[str, Any]:
    root, counts = timeline.root, timeline.counts
    plan = None
    if timeline.plan_hash is not None:
        plan = {"name": timeline.plan_name, "hash": timeline.plan_hash}
    return {
        "id": timeline.run,
        "state": timeline.state,
        "plan": plan,
        "begun_by": timeline.begun_by,
        "scheduler": timeline.scheduler,
        "trace_id": timeline.trace_id,
        "begun_us": root.begun_us,
        "ended_us": root.ended_us,
        "now_us": timeline.now_us,
        "tasks": counts._asdict(),
    }


def _failure(timeline: Timeline) -> dict[str, Any] | None:
    found = first_failure(timeline.spans, timeline.plan)
    if found is None:
        return None
    return {
        "span": found.span.id,
        "task": found.task_id,
        "at_us": found.span.ended_us,
        "type": found.type,
        "message": found.message,
        "blocked": found.blocked,
        "cause": found.cause,
    }


def _seconds(times: Mapping[Time, int]) -> dict[str, float]:
    return {kind: took_us / 1_000_000 for kind, took_us in times.items()}


def _usages(usages: Mapping[str, Usage]) -> dict[str, dict[str, int]]:
    return {name: usage.to_dict() for name, usage in usages.items()}
