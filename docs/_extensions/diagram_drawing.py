"""Draws a diagram as SVG, in the colours of the page around it.

A flowchart is laid in rows, each box below all that lead to it. A state diagram is one column: what goes to the next
box runs straight, what goes further down passes on the right, what goes back on the left.
"""

from __future__ import annotations

import html
import textwrap
from dataclasses import dataclass
from itertools import pairwise

from diagram_text import Diagram, Edge, Node

__all__ = ["draw"]

_LETTER = 7.4
_LINE = 18
_PADDING = 14
_GAP_ACROSS = 36
_GAP_DOWN = 56
_MARGIN = 8
_WIDEST = 27
_WIDEST_LABEL = 18
_POINTS = ("start", "end")


@dataclass(slots=True)
class _Box:
    """Where a node lies: its middle, and its size."""

    node: Node
    x: float = 0
    y: float = 0

    @property
    def lines(self) -> list[str]:
        return _wrapped(self.node.lines)

    @property
    def width(self) -> float:
        if self.node.shape in _POINTS:
            return 18
        return max(len(line) for line in self.lines) * _LETTER + 2 * _PADDING

    @property
    def height(self) -> float:
        return 18 if self.node.shape in _POINTS else len(self.lines) * _LINE + _PADDING

    @property
    def top(self) -> float:
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height / 2


def draw(diagram: Diagram) -> str:
    """The SVG."""
    boxes = {node.id: _Box(node) for node in diagram.nodes.values()}
    shapes = _states(diagram, boxes) if diagram.is_states else _flow(diagram, boxes)
    shapes += [part for box in boxes.values() for part in _box(box)]
    left, right = _extent(boxes, shapes)
    height = max(box.bottom for box in boxes.values()) + _MARGIN
    told = html.escape("; ".join(_told(diagram, edge) for edge in diagram.edges))
    width = right - left
    size = f'viewBox="{left:.0f} 0 {width:.0f} {height:.0f}" width="{width:.0f}" style="min-width: {width * 0.8:.0f}px"'
    drawn = "\n".join(shape.svg for shape in shapes)
    return f'<svg class="diagram" role="img" aria-label="{told}" {size}>\n{drawn}\n</svg>'


@dataclass(frozen=True, slots=True)
class _Shape:
    """A piece of the drawing, and how far it reaches to either side."""

    svg: str
    left: float
    right: float


def _extent(boxes: dict[str, _Box], shapes: list[_Shape]) -> tuple[float, float]:
    left = min([box.x - box.width / 2 for box in boxes.values()] + [shape.left for shape in shapes])
    right = max([box.x + box.width / 2 for box in boxes.values()] + [shape.right for shape in shapes])
    return left - _MARGIN, right + _MARGIN


def _told(diagram: Diagram, edge: Edge) -> str:
    """An arrow in words, for those who hear the page."""
    source, target = (" ".join(diagram.nodes[name].lines) for name in (edge.source, edge.target))
    return f"{source} to {target}" + (f": {', '.join(edge.lines)}" if edge.lines else "")


# Flowcharts: rows.


def _flow(diagram: Diagram, boxes: dict[str, _Box]) -> list[_Shape]:
    y = float(_MARGIN)
    for row in _rows(diagram):
        members = [boxes[name] for name in row]
        height = max(box.height for box in members)
        x = -(sum(box.width for box in members) + _GAP_ACROSS * (len(members) - 1)) / 2
        for box in members:
            box.x, box.y = x + box.width / 2, y + height / 2
            x += box.width + _GAP_ACROSS
        y += height + _GAP_DOWN
    return [shape for edge in diagram.edges for shape in _between(boxes[edge.source], boxes[edge.target], edge)]


def _rows(diagram: Diagram) -> list[list[str]]:
    """Each box in the row after the last of those that lead to it."""
    row = dict.fromkeys(diagram.nodes, 0)
    for _ in diagram.nodes:
        for edge in diagram.edges:
            row[edge.target] = max(row[edge.target], row[edge.source] + 1)
    if diagram.nodes and max(row.values()) >= len(diagram.nodes):
        raise ValueError("a flowchart with a way back cannot be drawn here")
    return [[name for name in diagram.nodes if row[name] == at] for at in range(max(row.values()) + 1)]


def _between(source: _Box, target: _Box, edge: Edge) -> list[_Shape]:
    half = (target.top - source.bottom) / 2
    path = (
        f"M {source.x:.0f} {source.bottom:.0f} C {source.x:.0f} {source.bottom + half:.0f},"
        f" {target.x:.0f} {target.top - half:.0f}, {target.x:.0f} {target.top - 1:.0f}"
    )
    # Beside other boxes there is no room: where the arrow passes a row, the text stands before that.
    passes = 2 * half > _GAP_DOWN + _LINE
    place = (source.x, source.bottom + _GAP_DOWN * 0.6) if passes else ((source.x + target.x) / 2, source.bottom + half)
    return [*_arrow(path, target.x, target.top, "down"), *_text(list(edge.lines), *place, "middle")]


# State diagrams: one column.


def _states(diagram: Diagram, boxes: dict[str, _Box]) -> list[_Shape]:
    order = [*(name for name in boxes if name != "end"), *(name for name in boxes if name == "end")]
    edges = _merged(diagram.edges)
    y = float(_MARGIN)
    for at, name in enumerate(order):
        box = boxes[name]
        box.y = y + box.height / 2
        straight = [edge for edge in edges if edge.source == name and order[at + 1 : at + 2] == [edge.target]]
        y += box.height + max([_GAP_DOWN * 0.7, *[len(edge.lines) * _LINE + 22 for edge in straight]])
    shapes, lanes = [], {1: _half(boxes), -1: -_half(boxes)}
    for edge in sorted(edges, key=lambda edge: abs(order.index(edge.source) - order.index(edge.target))):
        steps = order.index(edge.target) - order.index(edge.source)
        if steps == 1:
            shapes += _down(boxes[edge.source], boxes[edge.target], edge)
        else:
            side = 1 if steps > 0 else -1
            ends = boxes[edge.source], boxes[edge.target]
            drawn, lanes[side] = _around(*ends, edge, side=side, lane=lanes[side], gaps=_gaps(boxes, order))
            shapes += drawn
    return shapes


def _gaps(boxes: dict[str, _Box], order: list[str]) -> list[float]:
    """The heights between boxes, where no arrow leaves or arrives: there texts are in nobody's way."""
    return [(boxes[above].bottom + boxes[below].top) / 2 for above, below in pairwise(order)]


def _half(boxes: dict[str, _Box]) -> float:
    return max(box.width for box in boxes.values()) / 2


def _merged(edges: list[Edge]) -> list[Edge]:
    """One arrow for all that go the same way, with the texts of each."""
    lines: dict[tuple[str, str], list[str]] = {}
    for edge in edges:
        lines.setdefault((edge.source, edge.target), []).extend(_wrapped(edge.lines, _WIDEST_LABEL))
    return [Edge(source, target, tuple(texts)) for (source, target), texts in lines.items()]


def _down(source: _Box, target: _Box, edge: Edge) -> list[_Shape]:
    path = f"M {source.x:.0f} {source.bottom:.0f} L {target.x:.0f} {target.top - 1:.0f}"
    middle = (source.bottom + target.top) / 2 - 2
    return [*_arrow(path, target.x, target.top, "down"), *_text(list(edge.lines), 8, middle, "start")]


def _around(
    source: _Box, target: _Box, edge: Edge, *, side: int, lane: float, gaps: list[float]
) -> tuple[list[_Shape], float]:
    """An arrow that passes boxes on one side, in a lane of its own; and where the next lane begins."""
    lane += side * 24
    start, end = source.y + side * source.height / 5, target.y - side * target.height / 5
    out, into = source.x + side * source.width / 2, target.x + side * target.width / 2
    path = (
        f"M {out:.0f} {start:.0f} L {lane - side * 10:.0f} {start:.0f} Q {lane:.0f} {start:.0f} {lane:.0f}"
        f" {start + _toward(start, end):.0f} L {lane:.0f} {end - _toward(start, end):.0f}"
        f" Q {lane:.0f} {end:.0f} {lane - side * 10:.0f} {end:.0f} L {into + side:.0f} {end:.0f}"
    )
    beside = lane + side * 8
    middle = (start + end) / 2
    height = middle if source is target else min(gaps, key=lambda gap: abs(gap - middle))
    words = _text(list(edge.lines), beside, height, "start" if side > 0 else "end")
    reach = max([len(line) for line in edge.lines], default=0) * _LETTER
    return [*_arrow(path, into, end, "left" if side > 0 else "right"), *words], beside + side * reach


def _toward(start: float, end: float) -> float:
    reach = min(10.0, abs(end - start) / 2)
    return reach if end >= start else -reach


# Pieces.


def _wrapped(lines: tuple[str, ...], width: int = _WIDEST) -> list[str]:
    return [part for line in lines for part in textwrap.wrap(line, width)]


def _arrow(path: str, x: float, y: float, way: str) -> list[_Shape]:
    head = {"down": "-4,-8 4,-8", "left": "8,-4 8,4", "right": "-8,-4 -8,4"}[way]
    return [
        _Shape(f'<path class="edge" d="{path}"/>', x, x),
        _Shape(f'<polygon class="head" transform="translate({x:.0f} {y:.0f})" points="0,0 {head}"/>', x, x),
    ]


def _box(box: _Box) -> list[_Shape]:
    left, right = box.x - box.width / 2, box.x + box.width / 2
    if box.node.shape in _POINTS:
        return [_Shape(f'<circle class="{box.node.shape}" cx="{box.x:.0f}" cy="{box.y:.0f}" r="7"/>', left, right)]
    size = f'y="{box.top:.0f}" height="{box.height:.0f}"'
    shapes = [f'<rect class="box {box.node.shape}" x="{left:.0f}" {size} width="{box.width:.0f}" rx="6"/>']
    if box.node.shape == "repeated":
        shapes.append(f'<rect class="inner" x="{left + 5:.0f}" {size} width="{box.width - 10:.0f}"/>')
    return [
        *[_Shape(shape, left, right) for shape in shapes],
        *_text(box.lines, box.x, box.y, "middle", first=len(_wrapped(box.node.lines[:1]))),
    ]


def _text(lines: list[str], x: float, y: float, anchor: str, *, first: int | None = None) -> list[_Shape]:
    """Lines around a height: a label; or a name of `first` lines, with what is said of it more quietly below."""
    shapes = []
    for at, line in enumerate(lines):
        height = y + (at - (len(lines) - 1) / 2) * _LINE + 4.5
        width = len(line) * _LETTER
        left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
        kind = "label" if first is None else "name" if at < first else "name later"
        place = f'x="{x:.0f}" y="{height:.0f}" text-anchor="{anchor}"'
        shapes.append(_Shape(f'<text class="{kind}" {place}>{html.escape(line)}</text>', left, left + width))
    return shapes
