"""What a trigger sees through after Airflow has let go of it.

Airflow cancels a trigger whose task a person has ended, and again with every second that it is not gone: what `on_kill`
awaits is cut off after a second, long before `[triggerer] on_kill_timeout`. What is begun here goes on, for as long as
the triggerer runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

__all__ = ["begin", "see_through"]

_log = logging.getLogger(__name__)

# An event loop does not keep its tasks from being collected.
_going: set[asyncio.Task[None]] = set()


def begin(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begin what nobody need await; what it raises is logged."""
    task = asyncio.create_task(work)
    _going.add(task)
    task.add_done_callback(_over)
    return task


async def see_through(work: Coroutine[Any, Any, None]) -> None:
    """Await the work; who is cancelled meanwhile leaves it going."""
    await asyncio.shield(begin(work))


def _over(task: asyncio.Task[None]) -> None:
    _going.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.warning("trigger.unfinished: %s: %s", type(error).__name__, error)
