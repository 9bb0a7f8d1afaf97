"""What is said when a run is over: a table of its tasks, what failed, what came out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from coterie._json import JsonValue
from coterie.cli.words import MARKS, STYLES, count_of, seconds
from coterie.ids import item_name
from coterie.plan import Plan
from coterie.ref import Ref
from coterie.result import TaskResult, WorkflowResult
from coterie.saga import SagaResult
from coterie.saga.telling import undo_summary

__all__ = ["output_console", "print_listing", "print_outputs", "print_run"]

_ROWS = 40
_WIDEST = 10_000
_OUTPUT_LINES = 20
_LINE_CHARS = 100
_FAILED_ITEMS = 5
_BAD = ("failed", "upstream_failed", "cancelled")


def output_console() -> Console:
    """Standard output; wide enough for a table where it is no terminal."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 120
    return console


def print_listing(console: Console, table: Table) -> None:
    """A table of which the columns that do not wrap can be copied, and found by other programs.

    On a terminal the other columns give way first; where there is none, the lines are as wide as they need to be.
    """
    if not console.is_terminal:
        room = console.options.update(max_width=_WIDEST)
        console.width = max(console.width, Measurement.get(console, room, table).minimum)
    console.print(table)


def print_run(console: Console, plan: Plan, result: WorkflowResult, *, notes: bool = True) -> None:
    """The table of tasks, failed items, a line on the whole, one on what was undone. notes: why tasks failed."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "task", "agent", "state", "items", "attempts", "time", *(("note",) if notes else ())):
        table.add_column(name, justify="right" if name in ("items", "attempts", "time") else "left")
    shown = _shown(list(result))
    for each in shown:
        table.add_row(*list(_cells(each, plan))[: len(table.columns)])
    console.print(table)
    if len(shown) < len(result.tasks):
        console.print(f"and {count_of(len(result.tasks) - len(shown), 'task')} more", style="dim")
    _print_failed_items(console, shown)
    # Whole, however narrow it is: the id is there to be copied.
    console.print(_headline(result), soft_wrap=True)
    if isinstance(result, SagaResult) and result.went_back:
        style = "red" if result.dead_letters else "dim"
        console.print(undo_summary(result), style=style, markup=False, soft_wrap=True)


def print_outputs(console: Console, outputs: Mapping[str, JsonValue | Ref]) -> None:
    """What the plan's outputs hold; of long ones, the beginning or the place."""
    for name, value in outputs.items():
        console.print(Text.assemble(("output ", "dim"), (name, "bold")))
        if isinstance(value, Ref):
            console.print(f"  {value.size_bytes:,} bytes at {value.uri}", markup=False, soft_wrap=True)
            continue
        line = json.dumps(value, ensure_ascii=False)
        lines = [line] if len(line) <= _LINE_CHARS else json.dumps(value, indent=2, ensure_ascii=False).splitlines()
        more = ["…"] if len(lines) > _OUTPUT_LINES else []
        for line in [*lines[:_OUTPUT_LINES], *more]:
            console.print(f"  {line}", markup=False, soft_wrap=True)


def _shown(results: list[TaskResult]) -> list[TaskResult]:
    if len(results) <= _ROWS:
        return results
    bad = [each for each in results if each.state in _BAD]
    kept = {id(each) for each in [*bad, *results][:_ROWS]}
    return [each for each in results if id(each) in kept]


def _cells(each: TaskResult, plan: Plan) -> Iterable[Text | str]:
    style = STYLES[each.state]
    items = f"{each.items.total - each.items.failed:,}/{each.items.total:,}" if each.items else ""
    return (
        Text(MARKS[each.state], style=style),
        Text(each.task_id),
        Text(each.agent_id or plan.task(each.task_id).agent_type, style="dim"),
        Text(each.state, style=style),
        items,
        str(each.attempts) if each.attempts else "",
        seconds(each.duration_s) if each.attempts or each.items else "",
        Text(str(each.error) if each.error else ""),
    )


def _print_failed_items(console: Console, results: Iterable[TaskResult]) -> None:
    for each in results:
        for item in each.failed_items[:_FAILED_ITEMS]:
            line = f"{each.task_id}: item {item_name(item.key, item.index)} failed: {item.error}"
            console.print(line, style="red", markup=False, soft_wrap=True)
        hidden = len(each.failed_items) - _FAILED_ITEMS
        if hidden > 0:
            console.print(f"{each.task_id}: and {count_of(hidden, 'failed item')} more", style="red", markup=False)


def _headline(result: WorkflowResult) -> Text:
    succeeded = sum(each.state == "succeeded" for each in result)
    return Text.assemble(
        (f"{MARKS[result.status]} {result.status}", STYLES[result.status]),
        f": {succeeded:,} of {count_of(len(result.tasks), 'task')} succeeded in {seconds(result.duration_s)}",
        (f"  (run {result.workflow_id})", "dim"),
    )
