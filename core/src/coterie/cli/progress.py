"""Progress while a run works, on standard error: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from coterie.cli.board import Board, Row
from coterie.cli.words import MARKS, STYLES, count_of, seconds
from coterie.events import Event
from coterie.ids import item_name
from coterie.plan import Plan

__all__ = ["LineProgress", "LiveProgress", "Progress", "progress_for"]

_REFRESH_S = 0.1
# More tasks than this are not told one by one in plain lines.
_LINES_LIMIT = 100
_ITEM_FAILURES_TOLD = 10


class Progress(Protocol):
    """Told of each event of a run; `showing` brackets the run."""

    def on_event(self, event: Event) -> None:
        """Take note; returns at once."""
        ...

    def showing(self) -> AbstractAsyncContextManager[None]:
        """Show progress within."""
        ...

    def say(self, line: str) -> None:
        """A line of its own."""
        ...

    def abandon(self) -> None:
        """Leave the terminal as it was, at once."""
        ...


def progress_for(plan: Plan, *, quiet: bool) -> Progress:
    """What suits standard error."""
    console = Console(stderr=True)
    if quiet:
        return LineProgress(plan, Console(stderr=True, quiet=True), asking=console)
    return LiveProgress(plan, console) if console.is_terminal else LineProgress(plan, console)


class LiveProgress:
    """A table that is drawn again ten times a second, however many events there are."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._board = Board(plan)
        self._console = console
        self._began = time.monotonic()
        self._live = Live(console=console, auto_refresh=False, transient=True, get_renderable=self._drawn, screen=False)

    def on_event(self, event: Event) -> None:
        """Note it for the next drawing."""
        self._board.apply(event)

    @asynccontextmanager
    async def showing(self) -> AsyncIterator[None]:
        """Draw until the run is over, then leave nothing."""
        with self._live:
            drawing = asyncio.create_task(self._draw())
            try:
                yield
            finally:
                drawing.cancel()

    def say(self, line: str) -> None:
        """A line above the table."""
        self._console.print(line, highlight=False, markup=False)

    def abandon(self) -> None:
        """Show the cursor again."""
        self._live.stop()

    async def _draw(self) -> None:
        while True:
            self._live.refresh()
            await asyncio.sleep(_REFRESH_S)

    def _drawn(self) -> RenderableType:
        board, room = self._board, max(self._console.height - 4, 3)
        rows = board.shown(room)
        table = Table.grid(padding=(0, 2))
        for row in rows:
            style = STYLES[row.state]
            told = Text(f"replayed {_told(row)}".rstrip() if row.replayed else _told(row))
            table.add_row(Text(MARKS[row.state], style=style), row.task_id, Text(row.agent_type, style="dim"), told)
        hidden = len(board.rows) - len(rows)
        more = [Text(f"and {count_of(hidden, 'task')} more", style="dim")] if hidden else []
        return Group(self._head(), table, *more)

    def _head(self) -> RenderableType:
        board = self._board
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=len(board.rows), completed=board.done, width=30)
        elapsed = seconds(time.monotonic() - self._began)
        head.add_row(board.plan_name, bar, f"{board.done:,}/{len(board.rows):,}", Text(elapsed, style="dim"))
        return head


class LineProgress:
    """One line for what begins and ends; of a large plan, only what fails, and each tenth of the whole.

    asking: where people are told what they are asked, if elsewhere: without an answer nothing goes on.
    """

    def __init__(self, plan: Plan, console: Console, *, asking: Console | None = None) -> None:
        self._board = Board(plan)
        self._console = console
        self._asking = asking or console
        self._began = time.monotonic()
        self._told_items: Counter[str] = Counter()
        self._brief = len(plan.tasks) > _LINES_LIMIT

    def on_event(self, event: Event) -> None:
        """Write the line that the event deserves, if any."""
        row = self._board.apply(event)
        line = self._line(event, row) if row is not None else None
        if line is not None:
            console = self._asking if event.name == "approval.asked" else self._console
            _print(console, f"[{time.monotonic() - self._began:7.1f} s] {line}")

    @asynccontextmanager
    async def showing(self) -> AsyncIterator[None]:
        """Nothing but the lines."""
        yield

    def say(self, line: str) -> None:
        """One line."""
        _print(self._console, line)

    def abandon(self) -> None:
        """Nothing to do."""

    def _line(self, event: Event, row: Row) -> str | None:
        if event.name == "item.finished":
            return self._item_line(event, row)
        if event.name == "task.retrying":
            return f"{row.task_id}: attempt {event.fields['attempt']} failed: {event.fields['error']}"
        if event.name == "approval.asked":
            return f"{row.task_id}: asks {row.agent_type}: {_told(row)}"
        if event.name == "task.started":
            return None if self._brief else f"{row.task_id}: started ({row.agent_type})"
        return self._end_line(row) if event.name == "task.finished" else None

    def _end_line(self, row: Row) -> str | None:
        if self._brief and row.state in ("succeeded", "skipped"):
            every = max(len(self._board.rows) // 10, 1)
            done = self._board.done
            return f"{done:,} of {len(self._board.rows):,} tasks done" if done % every == 0 else None
        replayed = "replayed, " if row.replayed else ""
        return f"{row.task_id}: {replayed}{row.state} {_told(row)}".rstrip()

    def _item_line(self, event: Event, row: Row) -> str | None:
        if event.fields["state"] == "failed":
            self._told_items[row.task_id] += 1
            if self._told_items[row.task_id] <= _ITEM_FAILURES_TOLD:
                item = item_name(event.fields["key"], event.fields["index"])
                return f"{row.task_id}: item {item} failed: {event.fields['error']}"
        total = row.items_total or 1
        every = max(total // 4, 1)
        told = total >= 20 and row.items_done % every == 0
        return f"{row.task_id}: {row.items_done:,} of {total:,} items" if told else None


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _told(row: Row) -> str:
    if row.state == "asking":
        return f"{row.question} (answer: {row.how})"
    parts = []
    if row.items_total is not None:
        failed = f", {row.items_failed:,} failed" if row.items_failed else ""
        replayed = f", {row.items_replayed:,} replayed" if row.items_replayed and not row.replayed else ""
        parts.append(f"{row.items_done:,}/{row.items_total:,} items{failed}{replayed}")
    if row.attempt > 1:
        parts.append(f"attempt {row.attempt}")
    if row.duration_s and not row.replayed:
        parts.append(f"in {seconds(row.duration_s)}")
    if row.error and row.state == "failed":
        parts.append(row.error if len(row.error) <= 100 else row.error[:99] + "…")
    return ", ".join(parts)
