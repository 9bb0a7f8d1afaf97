"""The laps of one unit of work as spans: what was noted within something else lies in it."""

from __future__ import annotations

from collections.abc import Sequence

from coterie._rules.lap import Lap
from coterie.journal.work import is_of_who_asks
from coterie.timeline.span import Span, time_of

__all__ = ["lap_spans"]

# What other laps may lie in.
_HOLDS_OTHERS = frozenset({"call", "lost", "step", "fallback", "undo"})
# What a call of a worker goes through, while who joins it may still wait.
_OF_CALLS = frozenset({"queue", "call"})
# Instants are rounded to whole microseconds one by one.
_ROUNDING_US = 2


def lap_spans(laps: Sequence[Lap], parent: str) -> list[Span]:
    """One span a lap, in the order of their beginnings; the id has the lap's place among all that were noted.

    Calls that ran side by side may hold the same instant: a lap is put into the one that began last. Who
    joins a call that another had asked for may wait while that goes on: his wait is what lies beside it, perhaps in
    several spans.
    """
    others = sorted((lap for lap in laps if lap.kind in _OF_CALLS), key=lambda lap: lap.at_us)
    known: list[tuple[str, Lap]] = []
    for place, lap in enumerate(laps):
        pieces = _beside(lap, others) if is_of_who_asks(lap) else [lap]
        known += [(f"{parent}!{place}" + f"~{n}" * (n > 0), piece) for n, piece in enumerate(pieces)]
    known.sort(key=lambda one: (one[1].at_us, -one[1].took_us))
    around: list[Span] = []
    found: list[Span] = []
    for name, lap in known:
        while around and not _holds(around[-1], lap):
            around.pop()
        holder = around[-1] if around else None
        span = _span(lap, name, parent, holder)
        found.append(span)
        if lap.kind in _HOLDS_OTHERS:
            around.append(span)
    return found


def _holds(span: Span, lap: Lap) -> bool:
    assert span.ended_us is not None
    return span.begun_us <= lap.at_us <= span.ended_us and lap.ended_us <= span.ended_us + _ROUNDING_US


def _beside(lap: Lap, others: Sequence[Lap]) -> list[Lap]:
    """The parts of a wait in which none of the others went on; if there are none, that it was."""
    parts, cursor_us = list[Lap](), lap.at_us
    for other in others:
        if not other.took_us or other.ended_us <= cursor_us or other.at_us >= lap.ended_us:
            continue
        if other.at_us > cursor_us:
            parts.append(lap._replace(at_us=cursor_us, took_us=other.at_us - cursor_us))
        cursor_us = other.ended_us
    if cursor_us < lap.ended_us:
        parts.append(lap._replace(at_us=cursor_us, took_us=lap.ended_us - cursor_us))
    return parts or [lap._replace(took_us=0)]


def _span(lap: Lap, name: str, unit: str, holder: Span | None) -> Span:
    ended_us = lap.ended_us
    if holder is not None and holder.ended_us is not None:
        ended_us = min(ended_us, holder.ended_us)
    parent = unit if holder is None else holder.id
    begun_us = min(lap.at_us, ended_us)
    return Span(
        name,
        parent,
        _name(lap),
        lap.kind,
        begun_us,
        ended_us,
        _state(lap),
        time_of(lap.kind, lap.facts),
        lap.facts,
    )


def _name(lap: Lap) -> str:
    name = lap.facts.get("name")
    return name if isinstance(name, str) and name else lap.kind


def _state(lap: Lap) -> str | None:
    if lap.kind != "call":
        return None
    return "failed" if "error" in lap.facts else "succeeded"
