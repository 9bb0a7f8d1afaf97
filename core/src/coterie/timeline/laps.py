"""The laps of one unit of work as spans: what was noted within something else lies in it."""

from __future__ import annotations

from collections.abc import Sequence

from coterie._rules.lap import Lap
from coterie.timeline.span import Span, time_of

__all__ = ["lap_spans"]

# What other laps may lie in.
_HOLDS_OTHERS = frozenset({"call", "lost", "step", "fallback", "undo"})
# Instants are rounded to whole microseconds one by one.
_ROUNDING_US = 2


def lap_spans(laps: Sequence[Lap], parent: str) -> list[Span]:
    """One span a lap, in the order of their beginnings; the id has the lap's place among all that were noted.

    Calls that ran side by side may hold the same instant: a lap is put into the one that began last.
    """
    order = sorted(range(len(laps)), key=lambda i: (laps[i].at_us, -laps[i].took_us, i))
    around: list[Span] = []
    found: list[Span] = []
    for place in order:
        lap = laps[place]
        while around and not _holds(around[-1], lap):
            around.pop()
        holder = around[-1] if around else None
        span = _span(lap, place, parent, holder)
        found.append(span)
        if lap.kind in _HOLDS_OTHERS:
            around.append(span)
    return found


def _holds(span: Span, lap: Lap) -> bool:
    assert span.ended_us is not None
    return span.begun_us <= lap.at_us <= span.ended_us and lap.ended_us <= span.ended_us + _ROUNDING_US


def _span(lap: Lap, place: int, unit: str, holder: Span | None) -> Span:
    ended_us = lap.ended_us
    if holder is not None and holder.ended_us is not None:
        ended_us = min(ended_us, holder.ended_us)
    parent = unit if holder is None else holder.id
    begun_us = min(lap.at_us, ended_us)
    return Span(
        f"{unit}!{place}",
        parent,
        _name(lap),
        lap.kind,
        begun_us,
        ended_us,
        _state(lap),
        time_of(lap.kind),
        lap.facts,
    )


def _name(lap: Lap) -> str:
    name = lap.facts.get("name")
    return name if isinstance(name, str) and name else lap.kind


def _state(lap: Lap) -> str | None:
    if lap.kind != "call":
        return None
    return "failed" if "error" in lap.facts else "succeeded"
