"""Which spans are worth a row: what failed, is going on or was waited for, then what took longest; others are folded.

Decides only; nothing is drawn here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from coterie.timeline.span import Span, children_of

__all__ = ["Choice", "Row", "chosen_rows"]

# Of what lies in one span, so many rows beside the folded ones.
_WITHIN = 5
_LEAST_TOPS = 10
_UNITS = frozenset({"task", "item", "undo", "visit"})
_BAD = frozenset({"failed", "interrupted", "cancelled"})


@dataclass(frozen=True, slots=True)
class Choice:
    """What is asked for. depth: levels below the top; None: the second one only where it matters. most: rows in all.

    since_us: only what went on after that instant. slowest: the longest first, not the earliest.
    """

    depth: int | None = None
    most: int = 40
    since_us: int | None = None
    slowest: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One span, or several alike that are folded. level: from 0. critical: whether one is on the critical path."""

    level: int
    spans: tuple[Span, ...]
    critical: bool = False

    @property
    def span(self) -> Span:
        """The span; of several, the first."""
        return self.spans[0]

    @property
    def is_folded(self) -> bool:
        """Whether it stands for several."""
        return len(self.spans) > 1


@dataclass(slots=True)
class _Chooser:
    choice: Choice
    critical: AbstractSet[str]
    now_us: int
    within: Mapping[str | None, Sequence[Span]]
    open: dict[str, list[Row]] = field(default_factory=dict)

    def rows(self, top: str) -> list[Row]:
        """The rows below a span."""
        tops = self._tops(self._kept(self.within.get(top, ())))
        left = self.choice.most - len(tops)
        for row in sorted(tops, key=self._interest, reverse=True):
            left -= self._unfold(row, left)
        return [each for row in tops for each in self._with_inner(row)]

    def _tops(self, spans: Sequence[Span]) -> list[Row]:
        most = self.choice.most
        if len(spans) <= most:
            return self._sorted([self._row(0, [span]) for span in spans])
        if spans[0].kind not in _UNITS:
            return self._by_name(spans, 0)
        room = max(_LEAST_TOPS, most * 2 // 3) - 1
        return self._folded(spans, 0, room)

    def _unfold(self, row: Row, left: int) -> int:
        """Show what lies in a span, if that is wanted and there is room; how many rows that takes."""
        deepest = 2 if self.choice.depth is None else self.choice.depth
        if row.is_folded or row.level + 1 >= deepest or left <= 0:
            return 0
        if self.choice.depth is None and not self._matters(row):
            return 0
        spans = self._kept(self.within.get(row.span.id, ()))
        if not spans or self._is_plain(row.span, spans):
            return 0
        inner = self._inner(spans, row.level + 1)
        if len(inner) > left:
            return 0
        self.open[row.span.id] = inner
        taken = len(inner)
        for each in sorted(inner, key=self._interest, reverse=True):
            taken += self._unfold(each, left - taken)
        return taken

    def _inner(self, spans: Sequence[Span], level: int) -> list[Row]:
        if len(spans) <= _WITHIN + 1:
            return self._sorted([self._row(level, [span]) for span in spans])
        if spans[0].kind in _UNITS:
            return self._folded(spans, level, _WITHIN)
        return self._by_name(spans, level)

    def _folded(self, spans: Sequence[Span], level: int, room: int) -> list[Row]:
        """So many of them, and one row for all others."""
        ranked = sorted(spans, key=lambda span: self._interest(self._row(level, [span])), reverse=True)
        shown = self._sorted([self._row(level, [span]) for span in ranked[:room]])
        return [*shown, self._row(level, sorted(ranked[room:], key=lambda span: span.begun_us))]

    def _by_name(self, spans: Sequence[Span], level: int) -> list[Row]:
        """Laps of one name together."""
        groups: dict[tuple[str, str], list[Span]] = {}
        for span in spans:
            groups.setdefault((span.kind, span.name), []).append(span)
        rows = [self._row(level, group) for group in groups.values()]
        if len(rows) <= 2 * _WITHIN:
            return self._sorted(rows)
        ranked = sorted(rows, key=self._interest, reverse=True)
        rest = [span for row in ranked[_WITHIN:] for span in row.spans]
        return [*self._sorted(ranked[:_WITHIN]), self._row(level, sorted(rest, key=lambda span: span.begun_us))]

    def _with_inner(self, row: Row) -> Iterable[Row]:
        yield row
        if not row.is_folded:
            for each in self.open.get(row.span.id, ()):
                yield from self._with_inner(each)

    def _row(self, level: int, spans: Sequence[Span]) -> Row:
        return Row(level, tuple(spans), any(span.id in self.critical for span in spans))

    def _kept(self, spans: Sequence[Span]) -> Sequence[Span]:
        since_us = self.choice.since_us
        return spans if since_us is None else [span for span in spans if span.until_us(self.now_us) >= since_us]

    def _is_plain(self, span: Span, within: Sequence[Span]) -> bool:
        """Whether what lies in it says no more than itself: one call that went well."""
        return self.choice.depth is None and len(within) == 1 and within[0].kind == "call" and span.state == "succeeded"

    def _matters(self, row: Row) -> bool:
        return row.critical or row.span.state in _BAD or row.span.ended_us is None

    def _interest(self, row: Row) -> tuple[int, int, int]:
        spans = row.spans
        trouble = 2 * any(span.state in _BAD for span in spans) + any(span.ended_us is None for span in spans)
        return trouble, int(row.critical), self._took_us(row)

    def _took_us(self, row: Row) -> int:
        return sum(span.until_us(self.now_us) - span.begun_us for span in row.spans)

    def _sorted(self, rows: list[Row]) -> list[Row]:
        if self.choice.slowest:
            return sorted(rows, key=self._took_us, reverse=True)
        return sorted(rows, key=lambda row: (row.span.begun_us, row.span.id))


def chosen_rows(
    spans: Sequence[Span], top: str, choice: Choice, *, critical: AbstractSet[str], now_us: int
) -> list[Row]:
    """The rows below the span `top`, each followed by those of what lies in it."""
    return _Chooser(choice, critical, now_us, children_of(spans)).rows(top)
