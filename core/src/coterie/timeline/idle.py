"""When nobody was at a run that was taken over: its process was gone, or what it did left nothing behind.

The journal keeps what ended, and not when a process died. Where it knows that another went on, a stretch in which
nothing at all that it tells of went on is nobody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from coterie.timeline.source import Source
from coterie.timeline.span import Span

__all__ = ["GAP", "Stretch", "gap_spans", "idle_stretches"]

# The kind of a span in a unit of work that was taken over: between what was noted before, and whoever went on.
GAP = "gap"
# Schedulers take their time too.
_SHORTEST_US = 1_000_000
_SHORTEST_GAP_US = 10_000
_UNITS = ("task", "item", "undo", "person", "visit")


class Stretch(NamedTuple):
    """From one instant to another."""

    begun_us: int
    ended_us: int


def idle_stretches(source: Source, spans: Sequence[Span]) -> tuple[Stretch, ...]:
    """When nobody was at the run of these spans, of which the first is the run; in the order of time."""
    root = spans[0]
    over = set(_taken_over(spans))
    # Of a run that one process has as a whole, the claim tells; of single tasks, what was noted when they were claimed.
    was_whole = source.view.held.token > 1
    if not (was_whole or over):
        return ()
    around = {span.parent for span in spans if span.kind in _UNITS}
    busy = sorted(
        (span.begun_us, span.until_us(source.now_us), span.id)
        for span in spans
        if span.kind in _UNITS and span.id not in around
    )
    found, cursor_us = list[Stretch](), root.begun_us
    # Of one that goes on, what comes after all that is known of is not over.
    last = [] if root.ended_us is None else [(root.ended_us, root.ended_us, "")]
    for begun_us, ended_us, name in [*busy, *last]:
        if begun_us - cursor_us >= _SHORTEST_US and (was_whole or name in over):
            found.append(Stretch(cursor_us, begun_us))
        cursor_us = max(cursor_us, ended_us)
    return tuple(found)


def gap_spans(laps: Iterable[Span], unit: str) -> list[Span]:
    """Of one unit of work: from the last that was noted of it until it was taken over."""
    known = [lap for lap in laps if lap.parent == unit]
    found: list[Span] = []
    for claim in known:
        if claim.kind != "claim" or claim.facts.get("why") != "unfinished":
            continue
        before = [min(lap.until_us(0), claim.begun_us) for lap in known if lap.begun_us < claim.begun_us]
        begun_us = max(before, default=claim.begun_us)
        if claim.begun_us - begun_us >= _SHORTEST_GAP_US:
            name = f"{claim.id}~gap"
            found.append(Span(name, unit, "nobody at it", GAP, begun_us, claim.begun_us, None, "nobody"))
    return found


def _taken_over(spans: Iterable[Span]) -> Iterator[str]:
    """The units of work that begin with being taken over."""
    begun = {span.id: span.begun_us for span in spans if span.kind in _UNITS}
    for span in spans:
        unit = span.parent or ""
        is_taking = span.kind == "claim" and span.facts.get("why") == "unfinished" and unit in begun
        if is_taking and span.begun_us - begun[unit] < _SHORTEST_US:
            yield unit
