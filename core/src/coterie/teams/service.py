"""What the examples' services have in common: each says what it listens to and does, and ends when it is told to."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from coterie import EventBus

__all__ = ["Serve", "run", "said"]

# Serves on a bus until the event is set.
Serve: TypeAlias = Callable[[EventBus, asyncio.Event], Awaitable[None]]

_log = logging.getLogger("coterie.teams")


async def run(serve: Serve, bus: EventBus, *, listens: Iterable[str]) -> None:
    """Serve until SIGTERM or Ctrl-C; what is at work then is finished.

    It says on stderr what it listens to and where, and so does the bus when its store is away, and when it is back.
    """
    _speak()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with bus:
        place = f"the topic {bus.topic!r} of {bus.log.url}, namespace {bus.log.namespace!r}"
        _log.info("serves %s on %s, until Ctrl-C or SIGTERM", ", ".join(listens), place)
        await serve(bus, stop)
    _log.info("has ended: it was told to")


def said(what: str, *, event_id: str, run: str | None) -> None:
    """Say what became of an event, in one line. run: its correlation id."""
    _log.info("%s; event %s of %s", what, event_id, run or "no run")


def _speak() -> None:
    """Show what coterie says at its own levels; whoever has set up logging before has said otherwise."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("coterie").setLevel(logging.INFO)
