"""Progress on a terminal: what agents say is text, whatever it looks like."""

from __future__ import annotations

import io

from rich.console import Console

from coterie import Event
from coterie.cli.progress import LiveProgress
from tests.core.cli.test_board import PLAN


async def test_an_error_that_looks_like_markup_is_shown_as_it_is():
    screen = io.StringIO()
    progress = LiveProgress(PLAN, Console(file=screen, force_terminal=True, width=120))

    async with progress.showing():
        progress.on_event(Event("task.started", "run", "a"))
        progress.on_event(Event("task.finished", "run", "a", {"state": "failed", "error": "KeyError: [/no] [bold]"}))

    assert "KeyError: [/no] [bold]" in screen.getvalue()
