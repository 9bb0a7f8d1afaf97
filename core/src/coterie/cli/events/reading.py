"""`coterie events tail` and `replay`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress

from coterie.bus import Recorded
from coterie.cli.events.documents import event_document, event_line
from coterie.cli.events.notes import Notes, none_of, say
from coterie.cli.events.place import EventPlace, check_reached, moment
from coterie.cli.streams import write_json_line
from coterie.cli.summary import output_console
from coterie.errors import Unavailable

__all__ = ["replay_command", "tail_command"]


def tail_command(
    place: EventPlace,
    patterns: list[str],
    *,
    since: str,
    correlation_id: str | None,
    limit: int | None,
    as_json: bool,
) -> int:
    """Show events as they come, until so many were shown, or SIGINT or SIGTERM."""
    begin, notes = moment(since), Notes(at_once=True)

    async def follow() -> None:
        async with place.opened(begins=True) as log:
            # A store that does not answer now is waited for.
            with suppress(Unavailable):
                topic = await place.status(log)
                check_reached(begin, topic)
                if topic is None or not topic.messages:
                    say(f"{none_of(topic, place.topic, log.url)} yet")
            events = place.bus(log, notes.hear).tail(*patterns, since=begin)
            await _show(events, correlation_id, limit, as_json=as_json)

    try:
        asyncio.run(_until_told(follow()))
    finally:
        notes.tell()
    return 0


def replay_command(
    place: EventPlace,
    patterns: list[str],
    *,
    since: str | None,
    until: str | None,
    correlation_id: str | None,
    limit: int | None,
    as_json: bool,
) -> int:
    """Show events that are there."""
    begin, end, notes = moment(since), moment(until), Notes()

    async def read() -> None:
        async with place.opened() as log:
            topic = await place.status(log)
            check_reached(begin, topic)
            check_reached(end, topic)
            events = place.bus(log, notes.hear).replay(*patterns, since=begin, until=end)
            if not await _show(events, correlation_id, limit, as_json=as_json) and notes.are_none:
                say(none_of(topic, place.topic, log.url))

    try:
        asyncio.run(read())
    finally:
        notes.tell()
    return 0


async def _show(
    events: AsyncIterator[Recorded], correlation_id: str | None, limit: int | None, *, as_json: bool
) -> int:
    """Answers how many were shown. correlation_id: of all of them; None: whatever they belong to."""
    console = output_console()
    shown = 0
    async for recorded in events:
        if correlation_id not in (None, recorded.event.correlation_id):
            continue
        if as_json:
            write_json_line(event_document(recorded))
        else:
            console.print(event_line(recorded), soft_wrap=True)
        shown += 1
        if shown == limit:
            break
    return shown


async def _until_told(work: Coroutine[None, None, None]) -> None:
    """Do it until a signal ends it; whoever sent that has seen enough."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
