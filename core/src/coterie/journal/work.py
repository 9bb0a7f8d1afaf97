"""Of how a unit of work went: for how long somebody worked, and for how long nobody could."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from coterie._rules.journal_text import Record
from coterie._rules.lap import Lap
from coterie._rules.timeline import SECOND

__all__ = ["Effort", "effort_of", "is_of_who_asks"]

_WAITS = frozenset({"claim", "queue", "limit", "refused", "wait", "backoff"})


class Effort(NamedTuple):
    """Seconds of work, and of waiting: for the work itself, a slot, a worker, a limit, a breaker, another attempt."""

    work_s: float
    waited_s: float


class _Stretch(NamedTuple):
    began_us: int
    ended_us: int


def effort_of(record: Record) -> Effort:
    """What a record tells. What went on side by side counts once.

    Somebody worked while an agent was at it, and did not wait itself. Where the laps do not tell when one was, all of
    the unit's time that was no waiting counts as work; none does of a foreach as a whole, which is what its items come
    to.
    """
    if record.result.get("items"):
        return Effort(0.0, 0.0)
    calls = _joined(lap for lap in record.laps if lap.kind == "call")
    waits = _joined(lap for lap in record.laps if lap.kind in _WAITS)
    ended_us = round(record.at * SECOND)
    whole = [_Stretch(ended_us - round(record.result.get("duration_s", 0.0) * SECOND), ended_us)]
    is_told = bool(calls) and not record.more
    own = _joined(lap for lap in record.laps if lap.kind in _WAITS and not is_of_who_asks(lap)) if is_told else waits
    return Effort(_without(calls if is_told else whole, own) / SECOND, _without(waits, calls) / SECOND)


def is_of_who_asks(lap: Lap) -> bool:
    """Whether it is a wait of whoever asked for the work: a worker may be at it meanwhile, for who asked before."""
    return lap.kind == "claim" or (lap.kind == "wait" and lap.facts.get("for") == "store")


def _joined(laps: Iterable[Lap]) -> list[_Stretch]:
    """When any of them went on, in order."""
    found: list[_Stretch] = []
    for lap in sorted(laps, key=lambda lap: lap.at_us):
        if found and lap.at_us <= found[-1].ended_us:
            found[-1] = _Stretch(found[-1].began_us, max(found[-1].ended_us, lap.ended_us))
        else:
            found.append(_Stretch(lap.at_us, lap.ended_us))
    return found


def _without(these: Iterable[_Stretch], others: list[_Stretch]) -> int:
    """How many microseconds these took, while none of the others did."""
    return sum(one.ended_us - one.began_us - sum(_common(one, others)) for one in these)


def _common(one: _Stretch, others: Iterable[_Stretch]) -> Iterator[int]:
    for other in others:
        yield max(0, min(one.ended_us, other.ended_us) - max(one.began_us, other.began_us))
