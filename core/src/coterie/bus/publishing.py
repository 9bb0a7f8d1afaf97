"""From events to messages in their topic, and the wait for room there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import NamedTuple

from coterie._rules.log import Appended, Message, Position
from coterie.bus.event import CloudEvent
from coterie.bus.wire import Wire
from coterie.errors import TopicFull, Unavailable
from coterie.telemetry.recording import is_recording

__all__ = ["MOST_AT_ONCE", "Published", "publish"]

# What a store appends at once.
MOST_AT_ONCE = 1000
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.02, 1.0


class Published(NamedTuple):
    """An event in its place. is_duplicate: one of this id was there already, and nothing was added."""

    event: CloudEvent
    position: Position
    is_duplicate: bool = False


async def publish(wire: Wire, events: Sequence[CloudEvent], *, wait_s: float) -> list[Published]:
    """Append events, at most 1000 at once: those of one call to the store all or none.

    wait_s: how long a topic without room, or a store that does not answer, is waited for. The same event appended
    again is one event.

    Raises:
        MalformedEvent, OversizedMessage: one of them may not be sent; then none is.
        TopicFull: there was no room in time. Unavailable: the store did not answer in time; whether they are there is
            not known.
    """
    if not is_recording():
        return await _published(wire, events, wait_s)
    from coterie.telemetry.bus_spans import publishing

    with publishing(wire.topic, events) as traced:
        return await _published(wire, traced, wait_s)


async def _published(wire: Wire, events: Sequence[CloudEvent], wait_s: float) -> list[Published]:
    # All of them before the first one is sent.
    messages = [wire.message(event) for event in events]
    deadline_s = wire.clock.monotonic() + wait_s if wait_s else None
    if 0 < len(events) <= MOST_AT_ONCE:
        return _sent(events, await _append(wire, events, messages, deadline_s))
    sent: list[Published] = []
    for begin in range(0, len(events), MOST_AT_ONCE):
        some = events[begin : begin + MOST_AT_ONCE]
        sent += _sent(some, await _append(wire, some, messages[begin : begin + MOST_AT_ONCE], deadline_s))
    return sent


def _sent(events: Sequence[CloudEvent], placed: Sequence[Appended]) -> list[Published]:
    return [Published(event, *place) for event, place in zip(events, placed, strict=True)]


async def _append(
    wire: Wire, events: Sequence[CloudEvent], messages: Sequence[Message], deadline_s: float | None
) -> Sequence[Appended]:
    """deadline_s: None: nothing is waited for."""
    pause_s = _FIRST_WAIT_S
    while True:
        try:
            return await wire.log.append(wire.topic, messages, retention=wire.retention)
        except (TopicFull, Unavailable):
            if deadline_s is None or (left_s := deadline_s - wire.clock.monotonic()) <= 0:
                raise
        await asyncio.sleep(min(left_s, pause_s * (0.5 + random.random())))  # noqa: S311  # spreads load, no secret
        pause_s = min(2 * pause_s, _LONGEST_WAIT_S)
        # Signed now, not when the wait began.
        messages = [wire.message(event) for event in events]
