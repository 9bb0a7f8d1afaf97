"""`coterie events tail` and `replay`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress

from coterie.bus import Recorded
from coterie.cli.events.documents import event_document, event_line
from coterie.cli.events.place import EventPlace, moment
from coterie.cli.streams import write_json_line
from coterie.cli.summary import output_console

__all__ = ["replay_command", "tail_command"]


def tail_command(place: EventPlace, patterns: list[str], *, since: str, limit: int | None, as_json: bool) -> int:
    """Show events as they come, until so many were shown, or SIGINT or SIGTERM."""
    begin = moment(since)

    async def follow() -> None:
        async with place.opened(begins=True) as log:
            await _show(place.bus(log).tail(*patterns, since=begin), limit, as_json=as_json)

    asyncio.run(_until_told(follow()))
    return 0


def replay_command(
    place: EventPlace,
    patterns: list[str],
    *,
    since: str | None,
    until: str | None,
    limit: int | None,
    as_json: bool,
) -> int:
    """Show events that are there."""
    begin, end = moment(since), moment(until)

    async def read() -> None:
        async with place.opened() as log:
            await _show(place.bus(log).replay(*patterns, since=begin, until=end), limit, as_json=as_json)

    asyncio.run(read())
    return 0


async def _show(events: AsyncIterator[Recorded], limit: int | None, *, as_json: bool) -> None:
    console = output_console()
    shown = 0
    async for recorded in events:
        if as_json:
            write_json_line(event_document(recorded))
        else:
            console.print(event_line(recorded), soft_wrap=True)
        shown += 1
        if shown == limit:
            return


async def _until_told(work: Coroutine[None, None, None]) -> None:
    """Do it until a signal ends it; whoever sent that has seen enough."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
