"""How the tree of a run shares a terminal's width: notes give way first, then names and bars. Pure; in cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.text import Text

from coterie.cli.top.layout import fitted, told_apart

__all__ = ["WIDEST_BAR", "Cells", "Widths", "lines_of_row", "names_apart", "widths_for"]

WIDEST_BAR = 48
_STAR, _GAP, _COLUMNS_BEFORE_BAR = 1, 2, 4
_NAME, _LONGEST_NAME, _BAR = 16, 48, 20
# Of names, more for their indents; of both, less on terminals where even that has no room.
_MOST_INDENT = 8
_LEAST = 8
# A note is cut where so much of it is shown; where there is less room, it stands below, unless it is short.
_NOTE, _SHORT_NOTE = 48, 24
# Further in than the name.
_BELOW = 2


@dataclass(frozen=True, slots=True)
class Cells:
    """What a row shows beside its bar. indent: how far its name is set in."""

    star: Text
    name: Text
    state: Text
    took: Text
    note: Text
    indent: int = 0


@dataclass(frozen=True, slots=True)
class Widths:
    """Of the columns. note: 0: there is none. is_cut: longer notes are cut; else they stand below their rows."""

    name: int
    state: int
    took: int
    bar: int = _BAR
    note: int = 0
    is_cut: bool = False


def widths_for(rows: Sequence[Cells], width: int) -> Widths:
    """Columns that together are no wider than `width`, if that is 60 or more.

    Stars, states and times are whole. Names have 16 cells at least, and bars 20; a few less below some 70.
    """
    longest = max(row.indent + min(_LONGEST_NAME, row.name.cell_len) for row in rows)
    state, took = max(row.state.cell_len for row in rows), max(row.took.cell_len for row in rows)
    room = width - _STAR - state - took - _GAP * _COLUMNS_BEFORE_BAR
    least = min(longest, _NAME + min(_MOST_INDENT, max(row.indent for row in rows)))
    name = max(least, min(longest, width // 3, room - _BAR))
    if name + _BAR <= room:
        return _with_notes(Widths(name, state, took), rows, room - name - _BAR)
    name = max(min(name, _LEAST), name - (name + _BAR - room) // 2)
    return Widths(name, state, took, max(_LEAST, room - name))


def names_apart(rows: Sequence[Cells], width: int) -> list[Text]:
    """The names, each set in, and cut where that leaves those of one level different."""
    found: dict[int, Text] = {}
    for indent in {row.indent for row in rows}:
        places = [place for place, row in enumerate(rows) if row.indent == indent]
        names = [rows[place].name for place in places]
        least = min(_LEAST, max(name.cell_len for name in names))
        shown = min(indent, max(0, width - least))
        names = told_apart(names, width - shown)
        found |= {place: Text(" " * shown) + name for place, name in zip(places, names, strict=True)}
    return [found[place] for place in range(len(rows))]


def lines_of_row(row: Cells, name: Text, bar: Text, widths: Widths, width: int) -> list[Text]:
    """The row, and below it its note, if there is no room beside it; none wider than `width`."""
    is_below = row.note.cell_len > widths.note and not widths.is_cut
    before = Text(" " * (widths.took - row.took.cell_len))
    columns = [(row.star, _STAR), (name, widths.name), (row.state, widths.state), (before + row.took, widths.took)]
    columns += [(bar, widths.bar), (Text() if is_below else row.note, widths.note)]
    line = Text(" " * _GAP).join(_filled(cell, cells) for cell, cells in columns)
    line.rstrip()
    below = Text(" " * (_STAR + _GAP + row.indent + _BELOW)) + row.note
    return [fitted(each, width) for each in ([line, below] if is_below else [line])]


def _with_notes(widths: Widths, rows: Sequence[Cells], left: int) -> Widths:
    """Share what is left between the bars and a column of notes."""
    notes = [row.note.cell_len for row in rows]
    longest, room = max(notes), left - _GAP
    is_cut = min(longest, _NOTE) <= room
    least = (
        min(longest, _NOTE) if is_cut else max((each for each in notes if each <= min(_SHORT_NOTE, room)), default=0)
    )
    if not least:
        return replace(widths, bar=min(WIDEST_BAR, _BAR + left))
    bar = min(WIDEST_BAR, _BAR + room - least)
    note = min(longest, room - (bar - _BAR)) if is_cut else least
    return replace(widths, bar=bar, note=note, is_cut=is_cut)


def _filled(cell: Text, width: int) -> Text:
    shown = fitted(cell, width)
    return shown + Text(" " * (width - shown.cell_len))
