"""What a group has given up: events that failed too often, and messages that are none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from coterie._rules.log import Delivery, Failure, Message, Position
from coterie._rules.timeline import SECOND
from coterie.bus.event import CloudEvent
from coterie.bus.wire import UNREADABLE, Wire

__all__ = ["DeadEvent", "dead_event", "in_parts", "letters"]

_PAGE = 500


@dataclass(frozen=True, slots=True)
class DeadEvent:
    """A dead letter of a group.

    event: None where the message is none; `message.text` is what was found. at: when it was appended, in seconds since
    the epoch. number: of its last delivery. failures: why each came to nothing.
    """

    position: Position
    at: float
    message: Message
    event: CloudEvent | None
    number: int
    failures: tuple[Failure, ...] = ()

    @property
    def reason(self) -> str:
        """Why it was given up: its last failure."""
        return self.failures[-1].reason if self.failures else ""


def dead_event(wire: Wire, letter: Delivery) -> DeadEvent:
    """As people are shown it."""
    logged = letter.logged
    try:
        event = wire.event(logged)
    except UNREADABLE:
        event = None
    return DeadEvent(logged.position, logged.at / SECOND, logged.message, event, letter.number, letter.failures)


async def letters(wire: Wire, group: str, *, limit: int | None) -> AsyncIterator[Delivery]:
    """The dead letters of a group, the oldest first; at most so many.

    Raises:
        Unavailable: the store did not answer.
    """
    after: str | None = None
    left = limit
    while left is None or left > 0:
        page = await wire.log.dead_letters(
            wire.topic, group, limit=_PAGE if left is None else min(left, _PAGE), after=after
        )
        for letter in page.letters:
            yield letter
        left = None if left is None else left - len(page.letters)
        after = page.after
        if after is None:
            return


async def in_parts(
    act: Callable[[str, str, Sequence[Position]], Awaitable[Sequence[Position]]],
    wire: Wire,
    group: str,
    positions: Sequence[Position] | None,
) -> list[Position]:
    """Do it with those that are given, or with all that are there, as many at once as stores take; answers which."""
    if positions is None:
        positions = [letter.logged.position async for letter in letters(wire, group, limit=None)]
    found: list[Position] = []
    for begin in range(0, len(positions), _PAGE):
        found += await act(wire.topic, group, positions[begin : begin + _PAGE])
    return found
