"""Columns that fit a width, and rows that fit a height. Pure; measured in terminal cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rich.text import Text

__all__ = ["BLOCKS", "PLAIN", "Column", "Laid", "Signs", "allotted", "bar", "fitted", "laid_out"]

N = TypeVar("N", bound=str)

_GAP = 2


@dataclass(frozen=True, slots=True)
class Signs:
    """What is drawn that is no letter; and the keys' names."""

    full: str
    empty: str
    chosen: str
    arrows: str
    enter: str


BLOCKS = Signs("█", "░", "▸", "↑↓", "⏎")
PLAIN = Signs("#", "-", ">", "arrows", "enter")


@dataclass(frozen=True, slots=True)
class Column:
    """One column. least: cells that it may be cut down to; None: it is never cut. drop: of columns that do not fit, the
    highest goes first; 0: never.
    """

    title: str
    right: bool = False
    least: int | None = None
    drop: int = 0


@dataclass(frozen=True, slots=True)
class Laid:
    """Rows in columns, the titles apart."""

    head: Text = field(default_factory=Text)
    lines: tuple[Text, ...] = ()


def laid_out(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int | None) -> Laid:
    """The rows in columns, no line wider than `width`; None: as wide as they need to be.

    A column that may be dropped is not shown where all its cells are empty.
    """
    widths = [max([len(column.title), *(row[i].cell_len for row in rows)]) for i, column in enumerate(columns)]
    shown = [i for i, column in enumerate(columns) if not column.drop or any(row[i].cell_len for row in rows)]
    if width is not None:
        shown = _kept(columns, widths, shown, width)
        _cut(columns, widths, shown, width)
    head = _line([Text(columns[i].title, style="dim") for i in shown], [columns[i] for i in shown], widths, shown)
    lines = (_line([row[i] for i in shown], [columns[i] for i in shown], widths, shown) for row in rows)
    return Laid(fitted(head, width), tuple(fitted(line, width) for line in lines))


def fitted(line: Text, width: int | None) -> Text:
    """The line, cut to the width."""
    if width is not None and line.cell_len > width:
        line = line.copy()
        line.truncate(max(0, width), overflow="ellipsis")
    return line


def bar(used: float, width: int, signs: Signs, *, style: str = "") -> Text:
    """A bar of so many cells, filled from the left; anything at all shows, and only what is full looks so."""
    used = min(max(used, 0.0), 1.0)
    cells = round(used * width)
    if 0 < used < 1:
        cells = min(max(cells, 1), width - 1)
    return Text.assemble((signs.full * cells, style), (signs.empty * (width - cells), "dim"))


def allotted(wants: Mapping[N, int], weights: Mapping[N, int], room: int) -> dict[N, int]:
    """How many lines each gets of those that it wants, all together at most `room`.

    A title of columns without a row is no use, so none gets a single line if it wants more: first each gets two, in
    order, then the rest goes round by weight.
    """
    given: dict[N, int] = dict.fromkeys(wants, 0)
    for name, wanted in wants.items():
        first = min(wanted, 2)
        if first <= room:
            given[name] = first
            room -= first
    while room > 0:
        hungry = [name for name, wanted in wants.items() if 0 < given[name] < wanted]
        if not hungry:
            break
        for name in hungry:
            more = min(weights[name], wants[name] - given[name], room)
            given[name] += more
            room -= more
    return given


def _kept(columns: Sequence[Column], widths: Sequence[int], shown: list[int], width: int) -> list[int]:
    """Which columns fit, where those that can be cut are."""
    while sum(_least(columns[i], widths[i]) for i in shown) + _GAP * (len(shown) - 1) > width:
        droppable = [i for i in shown if columns[i].drop]
        if not droppable:
            break
        shown.remove(max(droppable, key=lambda i: columns[i].drop))
    return shown


def _cut(columns: Sequence[Column], widths: list[int], shown: Sequence[int], width: int) -> None:
    """Cut the widest of those that can be cut, until all fit."""
    over = sum(widths[i] for i in shown) + _GAP * (len(shown) - 1) - width
    while over > 0:
        able = [i for i in shown if widths[i] > _least(columns[i], widths[i])]
        if not able:
            break
        widest = max(able, key=lambda i: widths[i])
        widths[widest] -= 1
        over -= 1


def _least(column: Column, width: int) -> int:
    return width if column.least is None else min(width, max(column.least, len(column.title)))


def _line(cells: Sequence[Text], columns: Sequence[Column], widths: Sequence[int], shown: Sequence[int]) -> Text:
    line = Text()
    for place, (cell, column) in enumerate(zip(cells, columns, strict=True)):
        width = widths[shown[place]]
        shown_cell = fitted(cell, width)
        room = Text(" " * (width - shown_cell.cell_len))
        line.append(" " * _GAP if place else "")
        line.append_text(room + shown_cell if column.right else shown_cell + room)
    line.rstrip()
    return line
