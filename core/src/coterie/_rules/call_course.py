"""What a call went through before its latest attempt: as laps, which its record keeps until whoever waits reads them.

Whoever ends an attempt without a result tells what it went through; of who is not heard of any more nothing is known
but when it began. What lies between attempts follows from the record alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from coterie._rules.call_record import CallRecord
from coterie._rules.lap import Fact, Lap, laps_of, laps_text

__all__ = ["MOST_BEFORE", "UNKNOWN", "Course", "Left", "Why", "after_attempt", "after_loss", "course_of"]

# Why an attempt is over without a result. pool: nobody had a slot for it, which is no more than a wait for one.
Why: TypeAlias = Literal["refused", "pool", "claimed", "failed", "drained"]

# Of the laps before the last attempt so many are kept, which leaves that one some. Of more, those in the middle become
# one: the first tell what went wrong first, the last how things stood.
MOST_BEFORE = 60
_KEPT_FIRST, _KEPT_LAST = 24, 30
# Of a lap that its worker has made a span of. No reader sees it.
_HAS_SPAN = "spanned"


class Left(NamedTuple):
    """An attempt that is over without a result.

    laps: what it went through. spanned: which of them have spans. error: of one that failed. delay_us: for how long
    nobody is to take it up. waits_spanned: whether the waits before it have spans too.
    """

    why: Why
    laps: tuple[Lap, ...] = ()
    spanned: frozenset[int] = frozenset()
    error: str = ""
    delay_us: int = 0
    waits_spanned: bool = False


class Course(NamedTuple):
    """In the order of their ends. spanned: which of them have spans. more: how many are not among them."""

    laps: tuple[Lap, ...]
    spanned: frozenset[int]
    more: int


UNKNOWN = Course((), frozenset(), 0)


def course_of(record: CallRecord) -> Course:
    """All until its latest attempt began: earlier attempts, and the waits before and between them."""
    laps, more = _past(record)
    laps += _waits(record)
    spanned = frozenset(place for place, lap in enumerate(laps) if _HAS_SPAN in lap.facts)
    return Course(tuple(map(_shown, laps)), spanned, more)


def after_attempt(record: CallRecord, now_us: int, left: Left) -> str:
    """What a record keeps once the attempt is over that has it: a text. now_us: since the epoch."""
    laps, more = _past(record)
    told = [_marked(lap) if place in left.spanned else lap for place, lap in enumerate(left.laps)]
    if left.why == "pool" and not told and record.held_for == "pool" and laps and laps[-1].kind == "queue":
        # As before: one wait, however often it asked.
        since = laps.pop()
        return _text([*laps, since._replace(took_us=max(0, now_us - since.at_us))], more)
    waits = _waits(record)
    laps += map(_marked, waits) if left.waits_spanned else waits
    laps += told
    if left.why in ("failed", "drained"):
        laps.append(_lost(record, now_us, left.why, left.error))
    elif left.why == "pool" and not told:
        laps.append(Lap("queue", record.begun_us, max(0, now_us - record.begun_us), _queued(record, "pool")))
    return _text(laps, more)


def after_loss(record: CallRecord, now_us: int) -> str:
    """What a record keeps once it is known that nothing more will come of who has it: a text."""
    laps, more = _past(record)
    return _text([*laps, *_waits(record), _lost(record, now_us, "lost")], more)


def _lost(record: CallRecord, now_us: int, why: str, error: str = "") -> Lap:
    facts: dict[str, Fact] = {"worker": record.worker, "why": why}
    if error:
        facts["error"] = error
    return Lap("lost", record.begun_us, max(0, now_us - record.begun_us), facts)


def _waits(record: CallRecord) -> list[Lap]:
    """How long nobody had it before its latest attempt: first held back, then in the queue."""
    begun_us, free_us = record.begun_us, record.free_us or record.submitted_us
    if not begun_us or begun_us < free_us:
        return []
    held_us, found = min(max(record.held_us, free_us), begun_us), list[Lap]()
    if held_us > free_us:
        found.append(_held(record, free_us, held_us - free_us))
    found.append(Lap("queue", held_us, begun_us - held_us, _queued(record, "worker")))
    return found


def _held(record: CallRecord, at_us: int, took_us: int) -> Lap:
    if record.held_for == "pool":
        return Lap("queue", at_us, took_us, {"priority": record.priority, "place": "pool"})
    if record.held_for == "claimed":
        return Lap("claim", at_us, took_us)
    return Lap("wait", at_us, took_us, {"for": "store" if record.held_for == "failed" else "refusal"})


def _queued(record: CallRecord, place: str) -> Mapping[str, Fact]:
    return {"priority": record.priority, "place": place, "worker": record.worker}


def _past(record: CallRecord) -> tuple[list[Lap], int]:
    """Of a text that is none, as of a record without: nothing. It is told for people, and decides nothing."""
    try:
        laps, more = laps_of(json.loads(record.past) if record.past else None)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return [], 0
    return list(laps), more


def _text(laps: Sequence[Lap], more: int) -> str:
    if len(laps) > MOST_BEFORE:
        between = laps[_KEPT_FIRST:-_KEPT_LAST]
        laps = [*laps[:_KEPT_FIRST], _summed(between), *laps[-_KEPT_LAST:]]
        more += len(between) - 1
    return json.dumps(laps_text(tuple(laps), more), separators=(",", ":"))


def _summed(laps: Sequence[Lap]) -> Lap:
    """One for all of them, of the kind that took the longest."""
    took: Counter[str] = Counter()
    for lap in laps:
        took[lap.kind] += lap.took_us
    kind = took.most_common(1)[0][0]
    longest = max((lap for lap in laps if lap.kind == kind), key=lambda lap: lap.took_us)
    begun_us, ended_us = min(lap.at_us for lap in laps), max(lap.ended_us for lap in laps)
    return Lap(kind, begun_us, ended_us - begun_us, longest.facts)


def _marked(lap: Lap) -> Lap:
    return lap._replace(facts={**lap.facts, _HAS_SPAN: True})


def _shown(lap: Lap) -> Lap:
    if _HAS_SPAN not in lap.facts:
        return lap
    return lap._replace(facts={name: fact for name, fact in lap.facts.items() if name != _HAS_SPAN})
