"""Columns that fit a width, and rows that fit a height. Pure; measured in terminal cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rich.cells import cell_len
from rich.text import Text

__all__ = ["BLOCKS", "PLAIN", "Column", "Laid", "Signs", "allotted", "bar", "fitted", "laid_out", "told_apart"]

N = TypeVar("N", bound=str)

_GAP = 2
# A letter at each end of what is left out.
_LEAST_HOLED = 3


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
    highest goes first; 0: never. apart: it is cut in the middle, as what tells its cells apart may stand at their ends.
    """

    title: str
    right: bool = False
    least: int | None = None
    drop: int = 0
    apart: bool = False


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
    kept, room = [columns[i] for i in shown], [widths[i] for i in shown]
    head = _line([Text(column.title, style="dim") for column in kept], kept, room)
    cells = [_cut_cells(columns[i], [row[i] for row in rows], widths[i]) for i in shown]
    lines = (_line([column[place] for column in cells], kept, room) for place in range(len(rows)))
    return Laid(fitted(head, width), tuple(fitted(line, width) for line in lines))


def fitted(line: Text, width: int | None) -> Text:
    """The line, cut to the width."""
    if width is not None and line.cell_len > width:
        line = line.copy()
        line.truncate(max(0, width), overflow="ellipsis")
    return line


def told_apart(cells: Sequence[Text], width: int) -> list[Text]:
    """The cells, cut in the middle to the width: where it leaves most of them different, and if that can be before a
    word; else at their halves.
    """
    long = {cell.plain for cell in cells if cell.cell_len > width}
    if not long or width < _LEAST_HOLED:
        return [fitted(cell, width) for cell in cells]
    half = width // 2
    heads = sorted(range(1, width - 1), key=lambda head: abs(head - half))
    best = max(heads, key=lambda head: _apart([_ends(name, head, width - 1 - head) for name in long]))
    return [_holed(cell, best, width - 1 - best) for cell in cells]


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


def _cut_cells(column: Column, cells: Sequence[Text], width: int) -> list[Text]:
    return told_apart(cells, width) if column.apart else [fitted(cell, width) for cell in cells]


def _holed(cell: Text, head: int, tail: int) -> Text:
    """A cell of which so many cells at its beginning and at its end are kept, if it is longer than that."""
    if cell.cell_len <= head + 1 + tail:
        return cell
    first, last = _ends(cell.plain, head, tail)
    last = last.removeprefix("…")
    return Text.assemble(cell[: len(first)], "…", cell[len(cell.plain) - len(last) :])


def _apart(ends: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """How well these tell the names apart that they are of: how many differ, and of how many a word is not cut."""
    return len(set(ends)), sum(not tail[:1].isalnum() for _, tail in ends)


def _ends(text: str, head: int, tail: int) -> tuple[str, str]:
    """What of a text fits into so many cells at its beginning and at its end."""
    if text.isascii():
        return text[:head], text[len(text) - tail :]
    return text[: _fitting(text, head)], text[len(text) - _fitting(text[::-1], tail) :]


def _fitting(text: str, cells: int) -> int:
    """How many characters fit into so many cells."""
    for place, character in enumerate(text):
        cells -= cell_len(character)
        if cells < 0:
            return place
    return len(text)


def _line(cells: Sequence[Text], columns: Sequence[Column], widths: Sequence[int]) -> Text:
    line = Text()
    for place, (cell, column, width) in enumerate(zip(cells, columns, widths, strict=True)):
        shown = fitted(cell, width)
        room = Text(" " * (width - shown.cell_len))
        line.append(" " * _GAP if place else "")
        line.append_text(room + shown if column.right else shown + room)
    line.rstrip()
    return line
