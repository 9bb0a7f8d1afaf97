"""A snapshot as the lines of a frame: no clock, no terminal, no reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from coterie.cli.fleet.times import clock_time, span
from coterie.cli.runs.documents import money
from coterie.cli.top.layout import BLOCKS, Laid, Signs, allotted, fitted, laid_out
from coterie.cli.top.snapshot import SECTIONS, Head, Section, SectionName, Snapshot
from coterie.cli.top.tables import TABLES, summary
from coterie.cli.top.view import View, ordered
from coterie.cli.words import clipped, count_of

__all__ = ["Tree", "deepest", "frame", "page"]

_MICROS = 1_000_000
_HEAD_LINES, _FOOT_LINES = 2, 1
# The runs matter most, and then what the keys move in.
_WEIGHTS: dict[SectionName, int] = {"runs": 3, "agents": 2, "breakers": 1, "limits": 1, "budgets": 1, "queues": 1}
_FOCUSED = 3
_MOST_CHARS = 500
_HELP = """\
q         quit
p         pause, and go on: nothing is read meanwhile
{arrows}    move; so do j, k, page up, page down, home, end
tab       the next section; 1 to 6 choose one, and again: it alone, or all
{enter}     on a run: its tree, as `coterie trace show` draws it; else as space
space     the section alone, or all
escape    back
s         sort the runs: by state, age, cost, failed, name
?         this, and back

ENDED     tasks that succeeded or failed, of all; a foreach is one task
AT WORK   tasks and items that somebody is at, without those in a queue; not
          shown of a run that one process has: only it knows what it is at
NOW       what could have begun, and what keeps it; what failed first
BY        workers that serve the queue, or consumers of the group
?         is told by the policies of the team: name it with --team"""


@dataclass(frozen=True, slots=True)
class Tree:
    """The open run, drawn. error: why there is nothing newer."""

    lines: tuple[Text, ...] = ()
    error: str | None = None


def frame(
    snapshot: Snapshot,
    view: View,
    width: int,
    height: int,
    *,
    tree: Tree | None = None,
    signs: Signs = BLOCKS,
    note: str = "",
) -> list[Text]:
    """The lines of a frame: at most `height`, none wider than `width`. note: what is said at the top besides."""
    lines = _head(snapshot.head, view, note)
    room = max(0, height - _HEAD_LINES - _FOOT_LINES)
    if view.help:
        lines += [Text(line) for line in _help(signs)][:room]
    elif view.opened is not None:
        lines += _opened(view, tree or Tree(), room)
    else:
        lines += _sections(snapshot, view, width, room, signs)
    lines = lines[: max(0, height - _FOOT_LINES)]
    lines += [Text()] * (height - _FOOT_LINES - len(lines))
    return [fitted(line, width) for line in [*lines, _foot(view, signs)][:height]]


def page(snapshot: Snapshot, view: View, width: int | None, signs: Signs = BLOCKS) -> list[Text]:
    """All rows of all sections, for where nothing can be scrolled."""
    lines = _head(snapshot.head, view, "")
    for name in SECTIONS:
        section = snapshot.sections[name]
        laid = _laid(name, snapshot, view, width, signs)
        lines += [Text(), _title(name, section, None, "")]
        lines += [*([laid.head] if laid.lines else []), *laid.lines, *_remarks(section)]
    return [fitted(line, width) for line in lines]


def deepest(tree: Tree | None, height: int) -> int:
    """How far an open tree can be scrolled."""
    lines = 0 if tree is None else len(tree.lines) + (tree.error is not None)
    return max(0, lines - max(1, height - _HEAD_LINES - _FOOT_LINES))


def _head(head: Head, view: View, note: str) -> list[Text]:
    first = Text.assemble(("coterie top", "bold"), f"  {head.namespace}  ", (head.store, "dim"))
    if head.trip_s is not None:
        first.append(f"  {head.trip_s * 1000:.1f} ms")
    if head.clock_us is not None:
        first.append(f"  {clock_time(head.clock_us)}", style="dim")
    if head.error is not None:
        away = f"the store is away, for {span(round(head.away_s * _MICROS))}, and asked again: "
        return [first, Text(f"{away}{clipped(head.error, _MOST_CHARS)}", style="bold red")]
    parts = [
        f"workers {_told(head.workers, ',')}",
        f"calls {_told(head.calls_per_s, '.1f')}/s",
        f"cost {'?' if head.cost_per_hour is None else money(head.cost_per_hour) if head.cost_per_hour else '0'}/h",
    ]
    second = Text("   ".join(parts))
    if view.paused:
        second.append("   paused", style="bold yellow")
    if note:
        second.append(f"   {note}", style="yellow")
    return [first, second]


def _told(number: float | None, form: str) -> str:
    return "?" if number is None else format(number, form)


def _foot(view: View, signs: Signs) -> Text:
    if view.help:
        return Text("? back  q quit", style="dim")
    if view.opened is not None:
        return Text(f"escape back  {signs.arrows} scroll  p pause  q quit", style="dim")
    return Text(
        f"q quit  p pause  {signs.arrows} move  tab 1-6 section  {signs.enter} open  s sort: {view.sort.value}  ? help",
        style="dim",
    )


def _help(signs: Signs) -> list[str]:
    return _HELP.format(arrows=signs.arrows.ljust(6), enter=signs.enter.ljust(5)).splitlines()


def _opened(view: View, tree: Tree, room: int) -> list[Text]:
    lines = [*([Text(clipped(tree.error, _MOST_CHARS), style="bold red")] if tree.error else []), *tree.lines]
    if not lines:
        return [Text(f"reading {view.opened} …", style="dim")]
    first = min(view.scroll, max(0, len(lines) - room))
    return lines[first : first + room]


def _sections(snapshot: Snapshot, view: View, width: int, room: int, signs: Signs) -> list[Text]:
    names = [view.focus] if view.whole else list(SECTIONS)
    laid = {name: _laid(name, snapshot, view, width, signs) for name in names}
    wants = {name: _wanted(snapshot.sections[name], laid[name]) for name in names}
    weights = {name: _WEIGHTS[name] * (_FOCUSED if name == view.focus else 1) for name in names}
    given = allotted(wants, weights, room - len(names))
    lines: list[Text] = []
    for name in names:
        section = snapshot.sections[name]
        mark = f"{signs.chosen if view.focus == name else ' '}{SECTIONS.index(name) + 1} "
        told, shown, window = _window(name, section, view, laid[name], given[name])
        lines += [_title(name, section, window, mark), *told, *([laid[name].head, *shown] if shown else [])]
    return lines


def _wanted(section: Section[Any], laid: Laid) -> int:
    return len(_remarks(section)) + (len(laid.lines) + 1 if laid.lines else 0)


def _window(
    name: SectionName, section: Section[Any], view: View, laid: Laid, room: int
) -> tuple[Sequence[Text], Sequence[Text], tuple[int, int] | None]:
    """Of a section, what there is room for: what went wrong, rows, and which rows these are if they are not all."""
    remarks = _remarks(section)
    # Rows without a reason help less than a reason without rows; but each is to have its part.
    told = remarks[: max(1, room // 3) if laid.lines else room] if room else []
    rows = max(0, room - len(told) - 1)
    first = _first(name, section, view, rows)
    shown = list(laid.lines[first : first + rows])
    place = _cursor(section, view) - first if name == "runs" and view.focus == "runs" else -1
    if 0 <= place < len(shown):
        shown[place] = shown[place].copy()
        shown[place].stylize("reverse")
    return told, shown, (first, len(shown)) if len(shown) < len(laid.lines) else None


def _first(name: SectionName, section: Section[Any], view: View, rows: int) -> int:
    """The first row that is shown."""
    last = max(0, len(section.rows) - rows)
    if name != "runs":
        return min(view.places.get(name, 0), last)
    return min(max(0, _cursor(section, view) - rows + 1), last)


def _cursor(section: Section[Any], view: View) -> int:
    names = [row.run for row in ordered(section.rows, view.sort)]
    return names.index(view.chosen) if view.chosen in names else 0


def _laid(name: SectionName, snapshot: Snapshot, view: View, width: int | None, signs: Signs) -> Laid:
    rows = snapshot.sections[name].rows
    shown = ordered(rows, view.sort) if name == "runs" else rows
    table = TABLES[name]
    return laid_out(table.columns, [table.cells(row, snapshot.head.clock_us, signs) for row in shown], width)


def _title(name: SectionName, section: Section[Any], window: tuple[int, int] | None, mark: str) -> Text:
    title = Text.assemble((mark, "bold cyan"), (name.upper(), "bold"))
    count = len(section.rows)
    said = summary(name, section.rows)
    title.append(f"  {said or (f'{count:,}' if count else 'none')}", style="dim")
    if section.reach:
        title.append(f"  {section.reach}", style="dim")
    if section.hidden:
        title.append(f"  {section.hidden:,} more not read", style="yellow")
    if window is not None:
        first, shown = window
        what = f"{first + 1:,}-{first + shown:,} of {count:,}" if shown else f"{count_of(count, 'row')} hidden"
        title.append(f"  {what}", style="dim")
    return title


def _remarks(section: Section[Any]) -> list[Text]:
    """What went wrong, and what could not be told."""
    lines = [Text(clipped(note, _MOST_CHARS), style="yellow") for note in section.notes]
    if section.error is None:
        return lines
    before = f"; this was {span(round(section.old_s * _MICROS))} ago" if section.rows else ""
    return [Text(f"{clipped(section.error, _MOST_CHARS)}{before}", style="bold red"), *lines]
