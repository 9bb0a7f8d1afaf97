"""One task, or one item of a foreach, as spans: itself, its question to a person, and its laps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from coterie._rules.approval import Sheet
from coterie._rules.approval_answer import Expired
from coterie._rules.journal_text import LOCAL
from coterie.approval import Decision
from coterie.journal.view import UnitView
from coterie.timeline.idle import gap_spans
from coterie.timeline.laps import lap_spans
from coterie.timeline.span import Fact, Span, Time

__all__ = ["ANEW", "Place", "hull", "micros", "unit_spans"]

# Behind the id of work that is done anew while how it ended before is still recorded.
ANEW = "~anew"
_LONGEST_TEXT = 500


@dataclass(frozen=True, slots=True)
class Place:
    """Where a unit of work lies in the tree, and what is known of it beside its record.

    name: what people call it. ready_us: when what it waits for had ended, as far as that is known. agent_type, sheet:
    None where there is none. is_held: whether a process has the whole run, and so may be at it.
    """

    id: str
    parent: str
    name: str
    kind: str
    ready_us: int
    agent_type: str | None = None
    sheet: Sheet | None = None
    links: tuple[str, ...] = ()
    is_held: bool = False


def unit_spans(unit: UnitView, place: Place, now_us: int) -> list[Span]:
    """The spans of a unit: first its own, which spans all that it went through; and of who is at it anew.

    Of one that has not ended, the journal does not tell when it was begun: it was not before it was ready.
    """
    if unit.told is None:
        return _open_spans(unit, place, now_us)
    ended_us = micros(unit.told.at)
    begun_us = ended_us - micros(unit.duration_s)
    laps = lap_spans(unit.laps, place.id)
    laps += gap_spans(laps, place.id)
    asked = _question_spans(place, unit)
    own = Span(
        place.id,
        place.parent,
        place.name,
        place.kind,
        begun_us,
        ended_us,
        unit.state or "refused",
        _time(unit, place, laps),
        _facts(unit, place),
        place.links,
    )
    found = [hull(own, [*asked, *laps]), *asked, *laps]
    if unit.claim is not None and unit.claim.alive:
        facts: dict[str, Fact] = {"owner": unit.claim.owner, "anew": True}
        again = f"{place.id}{ANEW}"
        found.append(Span(again, place.parent, place.name, place.kind, ended_us, None, "running", "open", facts))
    return found


def hull(span: Span, within: Sequence[Span]) -> Span:
    """The span, as long as all within it; what goes on in it keeps it open."""
    if not within:
        return span
    begun_us = min(span.begun_us, *(each.begun_us for each in within))
    ended_us = span.ended_us
    for each in within:
        ended_us = None if ended_us is None or each.ended_us is None else max(ended_us, each.ended_us)
    if begun_us == span.begun_us and ended_us == span.ended_us:
        return span
    return replace(span, begun_us=begun_us, ended_us=ended_us)


def micros(seconds: float) -> int:
    """Whole microseconds."""
    return round(seconds * 1_000_000)


def _open_spans(unit: UnitView, place: Place, now_us: int) -> list[Span]:
    asked = _question_spans(place, unit)
    claim = unit.claim
    facts: dict[str, Fact] = {} if place.agent_type is None else {"agent_type": place.agent_type}
    if claim is not None:
        facts["owner"] = claim.owner
    begun_us, ended_us = min(place.ready_us, now_us), None
    if asked and asked[0].ended_us is None:
        state = "asking"
    elif claim is not None and claim.alive:
        state = "running"
    elif place.is_held:
        state = "due"
    else:
        # At the latest: when its claim was over.
        state, ended_us = "interrupted", begun_us if claim is None else max(begun_us, min(now_us, claim.until_us))
    # Claimed, it may lie in a queue, or wait for a breaker: of that nothing is written before it ends.
    time: Time = "person" if asked else "open"
    own = Span(place.id, place.parent, place.name, place.kind, begun_us, ended_us, state, time, facts, place.links)
    return [hull(own, asked), *asked]


def _question_spans(place: Place, unit: UnitView) -> list[Span]:
    sheet = place.sheet
    if sheet is None:
        return []
    asked, end = sheet.asked, sheet.end
    begun_us = micros(asked.at)
    facts: dict[str, Fact] = {"question": asked.approval.question[:_LONGEST_TEXT], "role": asked.role}
    state, ended_us = "open", None
    if isinstance(end, Decision):
        facts |= {"by": end.by, "choice": end.choice}
        state, ended_us = end.choice, max(begun_us, micros(end.at))
    elif isinstance(end, Expired):
        state, ended_us = "expired", max(begun_us, micros(end.at))
    elif unit.record is not None:
        # Answered where its scheduler asks, and nowhere else.
        state, ended_us = str(unit.state), max(begun_us, micros(unit.record.at))
    if ended_us is None and asked.until is not None:
        facts["until_us"] = micros(asked.until)
    return [Span(f"{place.id}?", place.id, "question", "person", begun_us, ended_us, state, "person", facts)]


def _time(unit: UnitView, place: Place, laps: Sequence[Span]) -> Time:
    """What the unit's own time counts as: an agent was at it, unless the laps tell when one was."""
    if place.sheet is not None:
        return "person"
    if place.kind == "undo":
        return "undo"
    if unit.refused is not None:
        return "coterie"
    told = unit.told is not None and not unit.told.more and any(lap.kind == "call" for lap in laps)
    return "coterie" if told else "agent"


def _facts(unit: UnitView, place: Place) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    if place.agent_type is not None:
        facts["agent_type"] = place.agent_type
    if unit.agent_id is not None:
        facts["agent_id"] = unit.agent_id
    facts["attempts"] = unit.attempts
    if unit.epoch:
        facts["epoch"] = unit.epoch
    if unit.by is not None and unit.by != LOCAL:
        facts["by"] = unit.by
    worker = next((lap.facts["worker"] for lap in reversed(unit.laps) if lap.facts.get("worker")), None)
    if worker is not None:
        facts["worker"] = worker
    if unit.error is not None:
        facts["error_type"], facts["error_message"] = unit.error.type, unit.error.message
    record = unit.told
    if record is not None:
        facts.update(record.usage)
        counts = record.result.get("items")
        if counts:
            facts["items"], facts["failed_items"] = counts["total"], counts["failed"]
        if record.more:
            facts["more"] = record.more
    return facts
