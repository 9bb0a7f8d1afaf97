"""Questions and their answers: an event that names where its answer goes, and the answer that names its question."""

from __future__ import annotations

import asyncio
import contextlib
import os
from contextlib import aclosing
from dataclasses import replace

from coterie._json import JsonValue
from coterie._rules.log import Retention
from coterie.bus.event import CloudEvent
from coterie.bus.names import REPLIES
from coterie.bus.publishing import publish
from coterie.bus.reading import tailed
from coterie.bus.wire import Wire
from coterie.errors import CoterieError, Misuse, NoReply
from coterie.telemetry.recording import traceparent_here
from coterie.work import Work, tell_of_forks

__all__ = ["Asking", "send_reply"]

_ANSWERS = Retention(max_messages=1000, idle_s=3600.0)
_END_S = 2.0


async def send_reply(wire: Wire, event: CloudEvent, data: JsonValue) -> None:
    """Answer an event, where it asks for an answer.

    Raises:
        MalformedEvent, OversizedMessage: the answer may not be sent. Unavailable: the store did not answer.
    """
    if event.reply_to is None:
        return
    answer = CloudEvent(
        "events.replied",
        data,
        source=wire.source,
        correlation_id=event.correlation_id or event.id,
        causation_id=event.id,
        # Of who answers, where that is recorded; else of who asked.
        traceparent=None if traceparent_here() else event.traceparent,
    )
    await publish(replace(wire, topic=event.reply_to, retention=_ANSWERS), [answer], wait_s=0.0)


class Asking:
    """The questions of one bus that wait for answers, which come by a topic of its own."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._is_closed = False
        self.forked()
        tell_of_forks(self)

    def forked(self) -> None:
        """Begin anew: a forked process asks for itself, and leaves its parent's answers to that."""
        self._wire = replace(self._wire, topic=f"{REPLIES}{os.urandom(12).hex()}", retention=_ANSWERS)
        self._waiting: dict[str, asyncio.Future[CloudEvent]] = {}
        self._work = Work()
        self._reader: asyncio.Task[None] | None = None

    @property
    def reply_to(self) -> str:
        """Where answers go."""
        return self._wire.topic

    async def ask(self, wire: Wire, event: CloudEvent, timeout_s: float) -> CloudEvent:
        """Publish a question, and wait for its answer; both at most so long.

        Raises:
            NoReply: there was none in time. Others: as of `publish`.
        """
        if self._is_closed:
            raise Misuse("this bus is closed; make a new one")
        if self._reader is None or self._reader.done():
            self._reader = self._work.start(self._read())
        answer: asyncio.Future[CloudEvent] = asyncio.get_running_loop().create_future()
        self._waiting[event.id] = answer
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                await publish(wire, [event], wait_s=timeout_s)
                return await answer
        except TimeoutError:
            if not limit.expired():
                raise
            raise NoReply(repr(event.name), timeout_s) from None
        finally:
            del self._waiting[event.id]
            # An error that nobody waits for any more is nobody's.
            if answer.done() and not answer.cancelled():
                answer.exception()

    async def aclose(self) -> None:
        """Wait for no answer any more."""
        self._is_closed = True
        self._give_up(Misuse("this bus was closed while it waited for an answer; close it when all have come"))
        if self._reader is not None:
            self._reader.cancel()
            await self._work.aclose(_END_S)
            # It is dropped some time after its last message, if not now.
            with contextlib.suppress(CoterieError):
                await self._wire.log.drop_topic(self._wire.topic)

    def _give_up(self, error: Exception) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)

    async def _read(self) -> None:
        try:
            await self._answered()
        # Handled by whoever waits for an answer, and is raised it; the next question begins anew.
        except Exception as error:  # noqa: BLE001
            self._give_up(error)

    async def _answered(self) -> None:
        async with aclosing(tailed(self._wire, (), since=None)) as answers:
            async for recorded in answers:
                answer = self._waiting.get(recorded.event.causation_id or "")
                if answer is not None and not answer.done():
                    answer.set_result(recorded.event)
