"""What a call went through, on the trail of whoever tells of it: earlier attempts at it, and the one at work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from coterie._rules.call_course import Course, Left, Why, course_of
from coterie._rules.call_record import CallRecord
from coterie._rules.lap import Fact, Lap
from coterie._rules.timeline import micros
from coterie.errors import ClaimedElsewhere, PoolBusy, Refused
from coterie.journal.outage import AWAY_US, Stretch
from coterie.journal.place import book_of_call
from coterie.trail import LONGEST_TEXT, Trail

__all__ = ["AtWork", "at_worker", "left_of", "note_course", "note_unheard", "why_refused"]

# What stands before a call; and what is done somewhere, which who reads of several workers wants to know.
_ASKING = frozenset({"claim", "limit", "queue", "refused"})
_AT_A_PLACE = frozenset({"call", "refused", "backoff", "fallback"})
_FOR_STORE: Mapping[str, Fact] = MappingProxyType({"for": "store"})


@dataclass(frozen=True, slots=True)
class AtWork:
    """An attempt of which a worker will tell. trail: what it is noted on. before: how many laps are of earlier ones.

    away: when the store was since the call was asked for, where who asked is to note what came before.
    """

    trail: Trail
    before: int
    away: tuple[Stretch, ...] = ()

    @classmethod
    def begun(
        cls, record: CallRecord, now: Callable[[], float], *, is_recorded: bool, away: Sequence[Stretch] = ()
    ) -> AtWork:
        """The attempt that has just begun. is_recorded: whether the worker records the end, with all before it.

        away: as of `note_course`.
        """
        trail = Trail(now)
        if is_recorded:
            note_course(trail, course_of(record), away)
            return cls(trail, len(trail.laps))
        return cls(trail, 0, tuple(one for one in away if one.ended_us > record.submitted_us))


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


def note_course(trail: Trail, course: Course, away: Sequence[Stretch] = ()) -> None:
    """Note what a call went through until its latest attempt began.

    away: when the store was, as far as this process knows: nobody can take a call then.
    """
    outages = _joined(away)
    for place, lap in enumerate(course.laps):
        is_traced = place in course.spanned
        trail.extend((lap,) if is_traced else _without_outages(lap, outages), is_traced=is_traced)
    trail.more += course.more


def note_unheard(trail: Trail, ended_us: int, away: Sequence[Stretch]) -> None:
    """Note for how long who waited for a call's end could not hear of it. ended_us: when all that is noted had."""
    now_us = trail.now_us()
    began_us = min((one.began_us for one in away if one.ended_us > ended_us), default=now_us)
    began_us = max(began_us, ended_us)
    if now_us - began_us >= AWAY_US:
        trail.note("wait", began_us, now_us - began_us, **_FOR_STORE)


def _joined(away: Sequence[Stretch]) -> list[Stretch]:
    """When any of several knew that the store was away, in order."""
    found: list[Stretch] = []
    for one in sorted(away):
        if found and one.began_us <= found[-1].ended_us:
            found[-1] = Stretch(found[-1].began_us, max(found[-1].ended_us, one.ended_us))
        else:
            found.append(one)
    return found


def _without_outages(lap: Lap, away: Sequence[Stretch]) -> tuple[Lap, ...]:
    """A wait for a worker, cut where it was one for the store; other laps as they are."""
    if lap.kind != "queue" or lap.facts.get("place") != "worker":
        return (lap,)
    found, cursor_us = list[Lap](), lap.at_us
    for one in away:
        began_us, ended_us = max(cursor_us, one.began_us), min(lap.ended_us, one.ended_us)
        if ended_us - began_us < AWAY_US:
            continue
        if began_us > cursor_us:
            found.append(lap._replace(at_us=cursor_us, took_us=began_us - cursor_us))
        found.append(Lap("wait", began_us, ended_us - began_us, _FOR_STORE))
        cursor_us = ended_us
    return (*found, lap._replace(at_us=cursor_us, took_us=lap.ended_us - cursor_us))


def at_worker(laps: Sequence[Lap], worker: str, before: Sequence[Lap] = ()) -> tuple[Lap, ...]:
    """The same, with whose they are: his who tells of them, unless they lie in one of `before` that is lost."""
    lost = [lap for lap in before if lap.kind == "lost"]

    def whose(lap: Lap) -> Fact:
        within = (one for one in lost if one.at_us <= lap.at_us and lap.ended_us <= one.ended_us)
        return next((one.facts["worker"] for one in within if "worker" in one.facts), worker)

    return tuple(
        lap._replace(facts={**lap.facts, "worker": whose(lap)}) if worker and lap.kind in _AT_A_PLACE else lap
        for lap in laps
        if not _is_own_claim(lap)
    )


def _is_own_claim(lap: Lap) -> bool:
    """Whether it was after nobody, or an earlier attempt, which is told anyway: how long the store took to answer."""
    after = str(lap.facts.get("after", ""))
    return lap.kind == "claim" and (not after or after.startswith(book_of_call("")))
