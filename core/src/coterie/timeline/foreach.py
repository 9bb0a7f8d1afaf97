"""A foreach as spans: the task, which takes as long as its items together, and each item in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coterie._rules.foreach import tolerated
from coterie.ids import TaskId, TaskState
from coterie.journal.view import UnitView
from coterie.plan import Plan
from coterie.timeline.source import Source
from coterie.timeline.span import Fact, Span
from coterie.timeline.units import Place, hull, unit_spans

__all__ = ["foreach_spans", "foreach_state"]


def foreach_state(source: Source, units: Sequence[UnitView], listed: int | None) -> TaskState | None:
    """How a foreach ended, by its items; None if it has not, as far as that can be told.

    listed: how many items it has; None where its list could not be read: then it ended with its run.
    """
    items = [unit for unit in units if unit.name != unit.task_id]
    ended = [unit for unit in items if unit.state is not None]
    total = len(items) if listed is None else listed
    if len(ended) < total or (listed is None and not source.is_over):
        return None
    failed = sum(unit.state != "succeeded" for unit in ended)
    return "succeeded" if _is_good(source.plan, units[0].task_id, failed, total) else "failed"


def foreach_spans(
    source: Source, units: Sequence[UnitView], place: Place, *, state: TaskState | None, listed: int | None
) -> list[Span]:
    """The task's own span, and then those of its items. state: as of `foreach_state`, or as a scheduler recorded it."""
    items: list[Span] = []
    own: Span | None = None
    for unit in units:
        if unit.name == unit.task_id:
            own = unit_spans(unit, place, source.now_us)[0]
            continue
        items += unit_spans(unit, _item_place(source, unit, place), source.now_us)
    if own is None or own.ended_us is None:
        own = _gathered(source, units, place, items, state)
    facts: dict[str, Fact] = {**_counts(units, listed), **own.facts}
    whole = hull(own, items)
    own = Span(
        whole.id, whole.parent, whole.name, whole.kind, whole.begun_us, whole.ended_us, whole.state, "ready", facts,
        whole.links,
    )  # fmt: skip
    return [own, *items]


def _item_place(source: Source, unit: UnitView, place: Place) -> Place:
    item = source.items.get(unit.name)
    shown = item.shown if item is not None else unit.name
    name = shown[len(unit.task_id) + 1 :]
    return Place(
        f"item/{unit.name}", place.id, name, "item", place.ready_us, place.agent_type, is_held=place.is_held
    )  # fmt: skip


def _gathered(
    source: Source, units: Sequence[UnitView], place: Place, items: Sequence[Span], state: TaskState | None
) -> Span:
    begun_us = min(span.begun_us for span in items)
    last_us = max(span.until_us(source.now_us) for span in items)
    shown: str | None = state
    ended_us: int | None = last_us
    if state is None:
        at_work = any(unit.claim is not None and unit.claim.alive for unit in units)
        left = "refused" if any(unit.refused is not None and unit.state is None for unit in units) else "interrupted"
        shown = "running" if at_work else "due" if source.is_at_work else left
        ended_us = last_us if shown == left else None
    facts: Mapping[str, Fact] = {} if place.agent_type is None else {"agent_type": place.agent_type}
    return Span(
        place.id, place.parent, place.name, place.kind, begun_us, ended_us, shown, "ready", facts, place.links
    )  # fmt: skip


def _counts(units: Sequence[UnitView], listed: int | None) -> dict[str, Fact]:
    items = [unit for unit in units if unit.name != unit.task_id]
    failed = sum(unit.state == "failed" for unit in items)
    counts: dict[str, Fact] = {"items": len(items) if listed is None else listed, "failed_items": failed}
    ended = sum(unit.state is not None for unit in items)
    return counts if ended == counts["items"] else {**counts, "ended_items": ended}


def _is_good(plan: Plan | None, task_id: TaskId, failed: int, total: int) -> bool:
    foreach = None
    if plan is not None and task_id in plan.graph.position:
        foreach = plan.task(task_id).foreach
    return failed == 0 if foreach is None else tolerated(foreach, failed, total)
