"""What a call went through, on the trail of whoever tells of it: earlier attempts at it, and the one at work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coterie._rules.call_course import Course, Left, Why, course_of
from coterie._rules.call_record import CallRecord
from coterie._rules.lap import Lap
from coterie._rules.timeline import micros
from coterie.errors import ClaimedElsewhere, PoolBusy, Refused
from coterie.journal.place import book_of_call
from coterie.trail import LONGEST_TEXT, Trail

__all__ = ["AtWork", "at_worker", "left_of", "note_course", "why_refused"]

# What stands before a call; and what is done somewhere, which who reads of several workers wants to know.
_ASKING = frozenset({"claim", "limit", "queue", "refused"})
_AT_A_PLACE = frozenset({"call", "refused", "backoff", "fallback"})


@dataclass(frozen=True, slots=True)
class AtWork:
    """An attempt of which a worker will tell. trail: what it is noted on. before: how many laps are of earlier ones."""

    trail: Trail
    before: int

    @classmethod
    def begun(cls, record: CallRecord, now: Callable[[], float], *, is_recorded: bool) -> AtWork:
        """The attempt that has just begun. is_recorded: whether the worker records the end, with all before it."""
        trail = Trail(now)
        if is_recorded:
            note_course(trail, course_of(record))
        return cls(trail, len(trail.laps))


def left_of(course: AtWork | None, why: Why, worker: str, *, error: str, delay_s: float) -> Left:
    """What to tell of an attempt that is over without a result. course: None where it had not come so far."""
    left = Left(why, error=error[:LONGEST_TEXT], delay_us=micros(delay_s))
    if course is None:
        return left
    trail, before = course.trail, course.before
    kept = [place for place in range(before, len(trail.laps)) if not _is_own_claim(trail.laps[place])]
    if why == "pool" and all(trail.laps[place].kind in _ASKING for place in kept):
        # It is asked again so soon that the work might as well stand in its queue.
        kept = []
    elif kept and _is_implied(trail.laps[kept[-1]], why):
        kept.pop()
    return left._replace(
        laps=at_worker([trail.laps[place] for place in kept], worker),
        spanned=frozenset(number for number, place in enumerate(kept) if place in trail.traced),
        waits_spanned=before > 0 and before - 1 in trail.traced,
    )


def _is_implied(lap: Lap, why: Why) -> bool:
    """Whether it goes without saying, as the attempt's last lap."""
    if why == "pool":
        return lap.kind == "refused"
    return why == "drained" and str(lap.facts.get("error", "")).startswith("CancelledError")


def why_refused(refusal: Refused) -> Why:
    """Who it is that said not now: a pool without a free slot, whoever has claimed the work, or a policy."""
    if isinstance(refusal, PoolBusy):
        return "pool"
    return "claimed" if isinstance(refusal, ClaimedElsewhere) else "refused"


def note_course(trail: Trail, course: Course) -> None:
    """Note what a call went through until its latest attempt began."""
    for place, lap in enumerate(course.laps):
        trail.extend((lap,), is_traced=place in course.spanned)
    trail.more += course.more


def at_worker(laps: Sequence[Lap], worker: str) -> tuple[Lap, ...]:
    """The same, with whose they are."""
    return tuple(
        lap._replace(facts={**lap.facts, "worker": worker}) if worker and lap.kind in _AT_A_PLACE else lap
        for lap in laps
        if not _is_own_claim(lap)
    )


def _is_own_claim(lap: Lap) -> bool:
    """Whether it was after nobody, or an earlier attempt, which is told anyway: how long the store took to answer."""
    after = str(lap.facts.get("after", ""))
    return lap.kind == "claim" and (not after or after.startswith(book_of_call("")))
