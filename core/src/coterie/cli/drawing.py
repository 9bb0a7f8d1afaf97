"""Draw a plan in text, one row a task, earlier tasks above later ones.

A vertical line stands for one *set* of tasks that others wait for: its members feed it, and whoever waits for
exactly that set reads it. So a fan-out of ten thousand and the task that gathers them need two lines, not
twenty thousand, and nothing is lost: what a task waits for is what feeds the line that it reads.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from coterie.plan import Plan
from coterie.task import Task

__all__ = ["LEGEND", "Line", "draw"]

LEGEND = "● others wait for it   ├ ╰ waits for all ● above on this line   ◆ both   ○ neither"

_MAX_LANES = 24
_LABEL_CHARS = 48
_NAMED_UPSTREAM = 3
# Of neighbours that are alike, so many are drawn when there is not room for all.
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One row: the lines of the graph, the task's id, its type, what else is to say."""

    lanes: str
    label: str
    agent_type: str = ""
    note: str = ""


@dataclass(slots=True)
class _Row:
    """One task, or several alike. `reads` is a set of tasks, `feeds` those sets that it is in."""

    tasks: list[int]
    reads: tuple[int, ...]
    feeds: list[tuple[int, ...]] = field(default_factory=list)


@dataclass(slots=True)
class _Lanes:
    """Which set lies in which column, now; `ends` is the row that reads a set last."""

    ends: dict[tuple[int, ...], int]
    column: dict[tuple[int, ...], int] = field(default_factory=dict)
    free: list[int] = field(default_factory=lambda: list(range(_MAX_LANES)))
    undrawn: set[tuple[int, ...]] = field(default_factory=set)

    def open(self, lane: tuple[int, ...]) -> int | None:
        """The column of a set, a free one at its first member; None, then and for ever, if all are taken."""
        if lane not in self.column and lane not in self.undrawn:
            if not self.free:
                self.undrawn.add(lane)
                return None
            self.column[lane] = heapq.heappop(self.free)
        return self.column.get(lane)

    def close(self, lane: tuple[int, ...]) -> None:
        heapq.heappush(self.free, self.column.pop(lane))


def draw(plan: Plan, *, max_rows: int = 100) -> list[Line]:
    """At most about `max_rows` lines: equal neighbours share a row above that, then the rest is counted."""
    rows = _rows(plan)
    if len(rows) > max_rows:
        rows = _folded(plan, rows)
    lanes = _Lanes({row.reads: number for number, row in enumerate(rows)})
    drawn = [_drawn(plan, row, lanes, number) for number, row in enumerate(rows[:max_rows])]
    width = max((len(line.lanes) for line in drawn), default=0)
    lines = [Line(line.lanes.ljust(width), line.label, line.agent_type, line.note) for line in drawn]
    hidden = sum(len(row.tasks) for row in rows[max_rows:])
    if hidden:
        lines.append(Line("⋮".ljust(width), f"{hidden:,} more", note="raise --limit, or use --mermaid"))
    return lines


def _rows(plan: Plan) -> list[_Row]:
    graph = plan.graph
    level = [0] * len(plan.tasks)
    for position in graph.order:
        for after in graph.dependents[position]:
            level[after] = max(level[after], level[position] + 1)
    reads = [tuple(sorted(before)) for before in graph.upstream]
    feeds: list[dict[tuple[int, ...], None]] = [{} for _ in plan.tasks]
    for lane in dict.fromkeys(reads):
        for member in lane:
            feeds[member][lane] = None
    order = sorted(range(len(plan.tasks)), key=lambda i: (level[i], reads[i], tuple(feeds[i]), i))
    return [_Row([i], reads[i], list(feeds[i])) for i in order]


def _folded(plan: Plan, rows: list[_Row]) -> list[_Row]:
    folded: list[_Row] = []
    alike: list[_Row] = []
    for row in rows:
        if alike and not _are_alike(plan, alike[0], row):
            folded += _fold(alike)
            alike = []
        alike.append(row)
    return folded + _fold(alike)


def _are_alike(plan: Plan, one: _Row, other: _Row) -> bool:
    same_place = (one.reads, one.feeds) == (other.reads, other.feeds)
    first, second = plan.tasks[one.tasks[0]], plan.tasks[other.tasks[0]]
    return same_place and (first.agent_type, _policy(first)) == (second.agent_type, _policy(second))


def _fold(alike: list[_Row]) -> list[_Row]:
    if len(alike) <= _EXAMPLES + 1:
        return alike
    rest = [task for row in alike[_EXAMPLES:] for task in row.tasks]
    return [*alike[:_EXAMPLES], _Row(rest, alike[0].reads, alike[0].feeds)]


def _drawn(plan: Plan, row: _Row, lanes: _Lanes, number: int) -> Line:
    cells = dict.fromkeys(lanes.column.values(), "│")
    task = plan.tasks[row.tasks[0]]
    notes = [_policy(task)]
    own: list[int] = []
    read = lanes.column.get(row.reads) if row.reads else None
    if read is not None:
        ends = lanes.ends[row.reads] == number
        cells[read] = "╰" if ends else "├"
        own.append(read)
        if ends:
            lanes.close(row.reads)
    elif row.reads:
        notes.append(_after(plan, row.reads))
    for lane in row.feeds:
        column = lanes.open(lane)
        if column is not None:
            cells[column] = "◆" if column == read else "●"
            own.append(column)
    if not row.reads and not row.feeds:
        cells[min(lanes.free, default=0)] = "○"
    label = _label(task.id) if len(row.tasks) == 1 else f"… {len(row.tasks):,} more like these"
    return Line(_joined(cells, own), label, task.agent_type, ", ".join(filter(None, notes)))


def _joined(cells: dict[int, str], own: Iterable[int]) -> str:
    """The cells with a space between, joined by a line from the row's first column to its last."""
    columns = sorted(own)
    first, last = (columns[0], columns[-1]) if columns else (0, -1)
    text = ""
    for column in range(max(cells, default=-1) + 1):
        inside = first <= column <= last
        cell = cells.get(column, "─" if inside else " ")
        # Where the row's line begins further left, what waits is a crossing.
        if inside and column > first:
            cell = {"├": "┼", "╰": "┴"}.get(cell, cell)
        text += cell + ("─" if first <= column < last else " ")
    return text.rstrip()


def _policy(task: Task) -> str:
    notes: list[str] = [] if task.trigger_rule == "all_success" else [task.trigger_rule]
    if task.foreach is not None:
        listed = task.foreach.items
        where = f"{task.foreach.task}{task.foreach.pointer}" if listed is None else f"{len(listed):,} items"
        notes.append(f"for each of {where}")
    if task.when is not None:
        notes.append(f"when {task.when.task}{task.when.pointer} {task.when.op}")
    return ", ".join(notes)


def _after(plan: Plan, reads: tuple[int, ...]) -> str:
    names = [_label(plan.tasks[i].id) for i in reads[:_NAMED_UPSTREAM]]
    more = [f"{len(reads) - len(names):,} more"] if len(reads) > len(names) else []
    return f"after {', '.join([*names, *more])}"


def _label(task_id: str) -> str:
    return task_id if len(task_id) <= _LABEL_CHARS else task_id[: _LABEL_CHARS - 1] + "…"
