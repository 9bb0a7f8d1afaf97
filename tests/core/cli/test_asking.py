"""What is shown of a task that asks a person while its run goes on: what it asks, and the line that answers."""

from __future__ import annotations

import io

from rich.console import Console

from coterie import Approval, Event, Plan, Task
from coterie.cli.board import Board
from coterie.cli.progress import LineProgress, LiveProgress

PLAN = Plan("p", [Task("ask", "editor", approval=Approval("[bold]Go?"))])
ASKED = Event("approval.asked", "r1", "ask", {"question": "[bold]Go?", "place": "process"})


def test_on_the_board_a_task_that_asks_is_neither_waiting_nor_done():
    board = Board(PLAN)
    board.apply(Event("task.started", "r1", "ask", {"agent_type": "editor"}))

    board.apply(ASKED)

    row = board.rows["ask"]
    assert (row.state, row.question, row.how) == ("asking", "[bold]Go?", "coterie approve r1 ask")
    assert board.done == 0
    board.apply(Event("task.finished", "r1", "ask", {"state": "succeeded", "duration_s": 1.0}))
    assert (row.state, board.done) == ("succeeded", 1)


async def test_on_a_terminal_and_in_lines_the_line_to_type_is_shown():
    for kind, terminal in ((LiveProgress, True), (LineProgress, False)):
        screen = io.StringIO()
        progress = kind(PLAN, Console(file=screen, force_terminal=terminal, width=120))

        async with progress.showing():
            progress.on_event(Event("task.started", "r1", "ask", {"agent_type": "editor"}))
            progress.on_event(ASKED)

        assert "[bold]Go? (answer: coterie approve r1 ask)" in screen.getvalue()
