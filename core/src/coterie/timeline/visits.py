"""The visits of a state machine as spans, each with the task that its state's action was."""

from __future__ import annotations

from collections.abc import Sequence

from coterie._rules.machine_record import Visit
from coterie.ids import TaskId
from coterie.machine_run.file import action_task_id
from coterie.timeline.source import Source
from coterie.timeline.span import ROOT, Fact, Span, time_of
from coterie.timeline.units import hull

__all__ = ["actions_of", "visit_id", "visit_spans"]


def actions_of(source: Source) -> dict[TaskId, Visit]:
    """The visits, by what their actions are called as tasks of the run."""
    return {action_task_id(visit.state, visit.number): visit for visit in source.visits}


def visit_id(visit: Visit) -> str:
    """The id of its span."""
    return f"visit/{visit.number}"


def visit_spans(source: Source, within: Sequence[Span]) -> list[Span]:
    """One span a visit, which spans its action. within: those of the actions."""
    actions: dict[str, list[Span]] = {}
    for span in within:
        if span.parent is not None:
            actions.setdefault(span.parent, []).append(span)
    return [hull(_span(visit, source), actions.get(visit_id(visit), [])) for visit in source.visits]


def _span(visit: Visit, source: Source) -> Span:
    told: dict[str, Fact | None] = {"trigger": visit.trigger, "to": visit.to, "who": visit.who or None}
    facts: dict[str, Fact] = {"number": visit.number}
    facts |= {name: value for name, value in told.items() if value is not None}
    state = None if source.head is None or visit.left is not None else str(source.head.phase)
    if visit.error is not None:
        facts |= {"error_type": visit.error.type, "error_message": visit.error.message}
        state = state or "failed"
    links = (f"visit/{visit.number - 1}",) if visit.number > 1 else ()
    return Span(
        visit_id(visit), ROOT, visit.state, "visit", visit.entered, visit.left, state, time_of("visit"), facts, links
    )  # fmt: skip
