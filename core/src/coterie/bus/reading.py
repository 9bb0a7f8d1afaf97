"""Read a topic for oneself: what was, what comes, and what one waits for. Nothing is taken from anybody."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from functools import partial
from typing import Literal, NamedTuple, TypeAlias, TypeVar

from coterie._rules.log import Logged, Position, Reading
from coterie._rules.timeline import SECOND
from coterie.bus.event import CloudEvent
from coterie.bus.names import matcher, short_type
from coterie.bus.outage import Outage
from coterie.bus.wire import UNREADABLE, Wire
from coterie.errors import CoterieError, EventsLost, Misuse, NoReply, Unavailable
from coterie.journal.bell import until_rung

__all__ = ["Moment", "Recorded", "replayed", "start_of", "tailed", "waited_for"]

T = TypeVar("T")

# A place in a topic: a position, "begin", "end", a time, or seconds since the epoch; None: the begin, or the end.
Moment: TypeAlias = Position | Literal["begin", "end"] | datetime | float | None

_AT_ONCE = 500
_FIRST_LOOK_S, _LONGEST_LOOK_S = 1.0, 5.0


class Recorded(NamedTuple):
    """An event in its place. at: when it was appended, in seconds since the epoch by the store's clock."""

    event: CloudEvent
    position: Position
    at: float


async def start_of(wire: Wire, since: Moment) -> Position:
    """The position behind which that begins which is asked for.

    Raises:
        Unavailable: the store did not answer. Misuse: there is no such time.
    """
    if since is None or since == "begin":
        return ""
    if since == "end":
        return await wire.log.locate(wire.topic, None)
    if isinstance(since, str):
        return since
    return await wire.log.locate(wire.topic, _micros(since))


async def replayed(wire: Wire, types: Sequence[str], *, since: Moment, until: Moment) -> AsyncGenerator[Recorded, None]:
    """Events that are there, as `EventBus.replay` has them."""
    end = await _end_of(wire, until)
    matches = matcher(types)
    after, is_all = await start_of(wire, since), False
    while not is_all:
        # Of all types where it ends at a message, which might be passed over else.
        reading = await wire.log.read(wire.topic, after=after, limit=_AT_ONCE, types=() if end.position else types)
        after, is_all = reading.after, reading.is_all
        _tell_lost(wire, reading)
        for logged in reading.messages:
            if end.is_before(logged):
                return
            recorded = _recorded(wire, logged) if not end.position or matches(logged.message.type) else None
            if recorded is not None:
                yield recorded
            if logged.position == end.position:
                return


async def tailed(wire: Wire, types: Sequence[str], *, since: Moment) -> AsyncGenerator[Recorded, None]:
    """Events as they come, as `EventBus.tail` has them."""
    rung = asyncio.Event()

    def notice(_: str | None) -> None:
        rung.set()

    patient = _Patient(wire)
    try:
        await patient.ask(lambda: wire.log.watch(wire.topic, notice))
        after = await patient.ask(lambda: start_of(wire, since))
        look_s = _FIRST_LOOK_S
        while True:
            rung.clear()
            reading = await patient.ask(partial(wire.log.read, wire.topic, after=after, limit=_AT_ONCE, types=types))
            after = reading.after
            _tell_lost(wire, reading)
            for logged in reading.messages:
                recorded = _recorded(wire, logged)
                if recorded is not None:
                    yield recorded
            if reading.is_all:
                look_s = _FIRST_LOOK_S if reading.messages else min(2 * look_s, _LONGEST_LOOK_S)
                await until_rung(rung, look_s)
    finally:
        # A store that fails now has nobody left to tell.
        with suppress(CoterieError):
            await wire.log.unwatch(wire.topic, notice)


async def waited_for(
    wire: Wire,
    types: Sequence[str],
    *,
    where: Callable[[CloudEvent], bool] | None,
    since: Moment,
    timeout_s: float | None,
) -> CloudEvent:
    """See `EventBus.wait_for`."""
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit, aclosing(tailed(wire, types, since=since)) as events:
            async for recorded in events:
                if where is None or where(recorded.event):
                    return recorded.event
    except TimeoutError:
        if not limit.expired() or timeout_s is None:
            raise
        names = ", ".join(map(short_type, types)) or "any event"
        raise NoReply(f"a wait for {names}", timeout_s) from None
    raise AssertionError("a tail has no end")


class _End(NamedTuple):
    """Where a replay ends: with the message at a position, before the first one behind that, and before an instant."""

    position: Position = ""
    behind: Logged | None = None
    at: int | None = None

    def is_before(self, logged: Logged) -> bool:
        if self.at is not None:
            return logged.at >= self.at
        # Only the store can compare positions; later ones were never appended earlier.
        return self.behind is not None and (logged.position == self.behind.position or logged.at > self.behind.at)


async def _end_of(wire: Wire, until: Moment) -> _End:
    """What `until` stands for; the message there may have gone."""
    if until is None or until == "end":
        return _End()
    at = 0 if until == "begin" else _micros(until)
    if at is not None or not isinstance(until, str):
        return _End(at=at)
    behind = await wire.log.read(wire.topic, after=until, limit=1)
    return _End(until, behind.messages[0] if behind.messages else None)


class _Patient:
    """Asks a store until it answers."""

    def __init__(self, wire: Wire) -> None:
        self._outage = Outage(wire, "a reader")

    async def ask(self, work: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                answer = await work()
            except Unavailable as error:
                await asyncio.sleep(self._outage.failed(error))
            else:
                self._outage.answered()
                return answer


def _recorded(wire: Wire, logged: Logged) -> Recorded | None:
    """None: it is no event, which is told."""
    try:
        return Recorded(wire.event(logged), logged.position, logged.at / SECOND)
    except UNREADABLE as error:
        said = f"what lies at {logged.position} is passed over: {error}"
        kind = type(error).__name__
        wire.tell(logging.WARNING, "events.unreadable", said, position=logged.position, kind=kind, error=str(error))
        return None


def _tell_lost(wire: Wire, reading: Reading) -> None:
    if reading.lost:
        error = EventsLost(wire.topic, "", reading.lost)
        wire.tell(logging.WARNING, "events.lost", str(error), group="", lost=reading.lost)


def _micros(moment: Moment) -> int | None:
    """A time in microseconds since the epoch; None: it is a position."""
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise Misuse(f"the time {moment.isoformat()} has no time zone; give one, such as datetime.UTC")
        return round(moment.timestamp() * SECOND)
    if isinstance(moment, (int, float)) and not isinstance(moment, bool) and not _is_endless(moment):
        return round(moment * SECOND)
    if isinstance(moment, str):
        return None
    raise Misuse(f"{moment!r} is no place in a topic; give a position, a time, or seconds since the epoch")


def _is_endless(moment: float) -> bool:
    return isinstance(moment, float) and not math.isfinite(moment)
