"""The critical path of a run: which chain of work and waits its end had to wait for, and how much the rest could spare.

Walked from the end backwards. Before a span lies what it waited for: of the spans that it links to the one that ended
last; or, where it began much later than that, whoever of the same agent type ended just before it began, and so gave
it his slot. Where nothing is known to link, time tells: what ended last before it began. The pieces of the path follow
one another without a hole, so that their lengths add up to the run's; a wait is a piece of its own.

Source: Kelley and Walker, "Critical-Path Planning and Scheduling" (1959), with observed times in place of planned ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from graphlib import TopologicalSorter
from typing import NamedTuple

from coterie.timeline.idle import Stretch
from coterie.timeline.span import Fact, Span, Time, children_of

__all__ = ["Critical", "Piece", "critical_path"]

# By so much two instants may be apart that are one: records are kept to the millisecond.
_SAME_US = 1_000
# A slot that is handed over is taken within so long.
_HANDED_OVER_US = 20_000
# Of those that go on at the same time: whom the end waits for most surely.
_RANKS = {"running": 2, "asking": 2, "due": 1}


class Piece(NamedTuple):
    """A stretch of the path. span: whose time it is; of a wait, what could have begun, or what waits for its end."""

    span: str
    kind: Time
    begun_us: int
    ended_us: int


class Critical(NamedTuple):
    """pieces: in time order, one following the other. spans: those on the path, their ancestors among them, by begin.

    slack: by how many microseconds tasks and items could have ended later without moving the end.
    """

    pieces: tuple[Piece, ...]
    spans: tuple[str, ...]
    slack: Mapping[str, int]


def critical_path(
    spans: Sequence[Span], now_us: int, *, rest: Time = "closing", idle: Sequence[Stretch] = ()
) -> Critical:
    """The critical path through the spans of a run, of which the first is the run.

    rest: what it waited for after its last span ended. idle: when nobody was at it, in the order of time.
    """
    walk = _Walk(spans, now_us, rest, idle)
    root = spans[0]
    walk.within(root, root.begun_us, root.until_us(now_us))
    pieces = tuple(reversed(walk.pieces))
    slack = _slack(spans, now_us)
    slack.update({name: 0 for name in slack if name in walk.met})
    met = sorted((span for span in spans if span.id in walk.met), key=lambda span: span.begun_us)
    return Critical(pieces, tuple(span.id for span in met), slack)


class _Walk:
    """Goes back in time. pieces: the last one first; met: all spans that it came through."""

    def __init__(self, spans: Sequence[Span], now_us: int, rest: Time, idle: Sequence[Stretch]) -> None:
        self._now_us = now_us
        self._rest = rest
        self._idle = idle
        self._spans = {span.id: span for span in spans}
        self._within = children_of(spans)
        self.pieces: list[Piece] = []
        self.met: set[str] = set()

    def within(self, span: Span, begun_us: int, ended_us: int) -> None:
        """Account for that part of a span, from its end to its beginning."""
        self.met.add(span.id)
        cursor_us, behind = ended_us, None
        lines = _Lines(self._within.get(span.id, ()), self._now_us, self.met)
        child = lines.of_all.last(cursor_us)
        while child is not None and cursor_us > begun_us:
            child_ended_us = max(begun_us, min(child.until_us(self._now_us), cursor_us))
            child_begun_us = max(begun_us, min(child.begun_us, child_ended_us))
            self._wait(span, behind, child_ended_us, cursor_us)
            self.within(child, child_begun_us, child_ended_us)
            cursor_us, behind = child_begun_us, child
            child = self._before(child, cursor_us, lines)
        self._wait(span, behind, begun_us, cursor_us)

    def _before(self, span: Span, cursor_us: int, lines: _Lines) -> Span | None:
        """What a span waited for that began then."""
        agent_type = span.facts.get("agent_type")
        if span.kind != "task" or agent_type is None:
            return lines.of_all.last(cursor_us)
        linked = self._linked(span, cursor_us)
        if linked is not None and linked.until_us(self._now_us) >= cursor_us - _HANDED_OVER_US:
            return linked
        slot = lines.of_type(agent_type).last(cursor_us)
        was_handed_over = slot is not None and slot.until_us(self._now_us) >= cursor_us - _HANDED_OVER_US
        return slot if was_handed_over else linked

    def _linked(self, span: Span, cursor_us: int) -> Span | None:
        """Of its links the one that ended last before it began; of clocks that differ, the last one of all."""
        known = [self._spans[link] for link in span.links if link in self._spans and link not in self.met]
        early = [each for each in known if each.until_us(self._now_us) <= cursor_us + _SAME_US]
        return max(early or known, key=lambda each: each.until_us(self._now_us), default=None)

    def _wait(self, span: Span, behind: Span | None, begun_us: int, ended_us: int) -> None:
        """Note what lies between two of a span's children, or around them. behind: the later one."""
        if ended_us <= begun_us:
            return
        kind, whose = span.time, span.id
        if kind == "ready":
            if behind is not None:
                whose = behind.id
            elif span.parent is None:
                kind = self._rest
            else:
                kind = "open" if span.ended_us is None else "coterie"
            self.pieces += reversed(_split(Piece(whose, kind, begun_us, ended_us), self._idle))
        else:
            self.pieces.append(Piece(whose, kind, begun_us, ended_us))


def _split(piece: Piece, idle: Iterable[Stretch]) -> list[Piece]:
    """A wait in the order of time, with what of it was nobody's apart."""
    found, cursor_us = list[Piece](), piece.begun_us
    for stretch in idle:
        begun_us, ended_us = max(cursor_us, stretch.begun_us), min(piece.ended_us, stretch.ended_us)
        if ended_us > begun_us:
            if begun_us > cursor_us:
                found.append(piece._replace(begun_us=cursor_us, ended_us=begun_us))
            found.append(piece._replace(kind="nobody", begun_us=begun_us, ended_us=ended_us))
            cursor_us = ended_us
    return [*found, piece._replace(begun_us=cursor_us)] if cursor_us < piece.ended_us else found


class _Line:
    """Spans in the order of their ends, walked from the last to the first."""

    def __init__(self, spans: Iterable[Span], now_us: int, met: AbstractSet[str]) -> None:
        self._now_us = now_us
        self._met = met
        self._spans = sorted(spans, key=self._order)

    def last(self, cursor_us: int) -> Span | None:
        """Who ended last by then and was not met before; asked for earlier and earlier instants."""
        while self._spans:
            span = self._spans[-1]
            ended_us = span.until_us(self._now_us)
            ends = ended_us <= cursor_us or (ended_us <= cursor_us + _SAME_US and span.begun_us < cursor_us)
            if ends and span.id not in self._met:
                return span
            self._spans.pop()
        return None

    def _order(self, span: Span) -> tuple[int, int, int]:
        return span.until_us(self._now_us), _RANKS.get(span.state or "", 0), -span.begun_us


class _Lines:
    """The children of one span, together and by the type of agent."""

    def __init__(self, spans: Sequence[Span], now_us: int, met: AbstractSet[str]) -> None:
        self._children = spans
        self._now_us = now_us
        self._met = met
        self.of_all = _Line(spans, now_us, met)
        self._by_type: dict[Fact, _Line] = {}

    def of_type(self, agent_type: Fact) -> _Line:
        """Those of one type."""
        if agent_type not in self._by_type:
            alike = (span for span in self._children if span.facts.get("agent_type") == agent_type)
            self._by_type[agent_type] = _Line(alike, self._now_us, self._met)
        return self._by_type[agent_type]


def _slack(spans: Sequence[Span], now_us: int) -> dict[str, int]:
    """Of the plan's tasks, and of the items in them."""
    tasks = {span.id: span for span in spans if span.kind == "task" and span.parent == spans[0].id}
    links = {name: [link for link in span.links if link in tasks] for name, span in tasks.items()}
    if not any(links.values()):
        return {}
    ends = {name: span.until_us(now_us) for name, span in tasks.items()}
    ready = {name: max((ends[link] for link in before), default=0) for name, before in links.items()}
    last_us = max(ends.values())
    slack = {name: last_us - ended_us for name, ended_us in ends.items()}
    for name in reversed(list(TopologicalSorter(links).static_order())):
        for link in links[name]:
            slack[link] = min(slack[link], slack[name] + max(0, ready[name] - ends[link]))
    for span in spans:
        if span.kind == "item" and span.parent in slack:
            slack[span.id] = slack[span.parent] + max(0, ends[span.parent] - span.until_us(now_us))
    return slack
