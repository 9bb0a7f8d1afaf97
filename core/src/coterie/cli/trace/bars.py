"""A span as a bar on the scale that all rows share: when somebody worked, when it waited, whether it goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from coterie.timeline.span import Span

__all__ = ["ASCII", "BLOCKS", "Scale", "Signs", "bar"]

_WAITS = frozenset({"queue", "limit", "backoff", "wait", "store", "claim", "person", "ready", "event", "nobody"})
_NOTHING, _READY, _OPEN, _WAITING, _WORK = range(5)


class Signs(NamedTuple):
    """work: somebody is at it. waiting: nobody can be. ready: it could have begun. open: one of these, nobody knows
    which, as it has not ended. goes_on: it has not ended.
    """

    nothing: str
    ready: str
    open: str
    waiting: str
    work: str
    goes_on: str


BLOCKS = Signs(" ", "·", "▒", "░", "█", "▶")
ASCII = Signs(" ", ".", "~", "-", "#", ">")


@dataclass(frozen=True, slots=True)
class Scale:
    """width: characters from `begun_us` to `ended_us`."""

    begun_us: int
    ended_us: int
    width: int

    def cells(self, begun_us: int, ended_us: int) -> range:
        """The characters of a stretch of time, at least one; none of what lies outside."""
        if ended_us < self.begun_us or begun_us > self.ended_us:
            return range(0)
        length_us = max(1, self.ended_us - self.begun_us)
        first = min(self.width - 1, max(0, (begun_us - self.begun_us) * self.width // length_us))
        last = min(self.width, -(-(ended_us - self.begun_us) * self.width // length_us))
        return range(first, max(first + 1, last))


def bar(
    spans: Iterable[Span],
    within: Mapping[str | None, Sequence[Span]],
    scale: Scale,
    now_us: int,
    *,
    ready_us: int | None = None,
    signs: Signs = BLOCKS,
) -> str:
    """One row for all of the spans. ready_us: since when the first could have begun."""
    cells = [_NOTHING] * scale.width
    goes_on = False
    for span in spans:
        goes_on = goes_on or span.ended_us is None
        if ready_us is not None and ready_us < span.begun_us:
            _paint(cells, scale.cells(ready_us, span.begun_us), _READY)
            ready_us = None
        for place, sign in _cells_of(span, within, scale, now_us).items():
            cells[place] = max(cells[place], sign)
    drawn = [signs[cell] for cell in cells]
    if goes_on:
        last = max((place for place, cell in enumerate(cells) if cell), default=0)
        drawn[last] = signs.goes_on
    return "".join(drawn)


def _cells_of(span: Span, within: Mapping[str | None, Sequence[Span]], scale: Scale, now_us: int) -> dict[int, int]:
    """What of the scale a span takes, by what went on in it: the deepest has the say."""
    sign = _WAITING if span.time in _WAITS else _OPEN if span.time == "open" else _WORK
    cells = dict.fromkeys(scale.cells(span.begun_us, span.until_us(now_us)), sign)
    inner: dict[int, int] = {}
    for child in within.get(span.id, ()):
        for place, each in _cells_of(child, within, scale, now_us).items():
            inner[place] = max(inner.get(place, _NOTHING), each)
    return cells | inner


def _paint(cells: list[int], places: range, sign: int) -> None:
    for place in places:
        cells[place] = max(cells[place], sign)
