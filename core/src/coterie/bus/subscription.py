"""One consumer of a group: events as they come, and what becomes of each."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Literal, Self

from coterie._json import JsonValue
from coterie._rules.log import Delivery, Position, Terms
from coterie.bus.asking import send_reply
from coterie.bus.event import CloudEvent
from coterie.bus.intake import Intake
from coterie.bus.received import Received, backoff_s, said
from coterie.bus.wire import UNREADABLE, Wire
from coterie.errors import Misuse, PolicyError, Unavailable
from coterie.task import Retry

__all__ = ["Subscription"]

_MOST_HELD = 1000


class Subscription:
    """What one consumer of a group receives: `async with ... as events`, then `async for received in events`.

    Each event is held until it is acknowledged, has failed or is rejected; no more than `prefetch` are at once. Leaving
    the block gives back what is held then, which counts as no delivery. Messages that are no events are made dead
    letters on the way. While the store does not answer it is waited for, which is told once.

    Raises, where the block begins:
        Unavailable: the store did not answer. Misuse: a name that cannot be.
    """

    def __init__(
        self,
        wire: Wire,
        types: tuple[str, ...],
        *,
        group: str,
        consumer: str | None,
        begin: Literal["begin", "end"] | Position,
        prefetch: int,
        lease_s: float,
        max_deliveries: int,
        by_priority: bool,
        retry: Retry | None,
    ) -> None:
        if type(prefetch) is not int or not 1 <= prefetch <= _MOST_HELD:
            raise PolicyError(f"prefetch is {prefetch!r}; give a whole number from 1 to {_MOST_HELD}")
        terms = Terms(types=types, lease_s=lease_s, max_deliveries=max_deliveries, by_priority=by_priority, begin=begin)
        self.group = group
        self._wire = wire
        self._max_deliveries = max_deliveries
        self._retry = retry or Retry()
        self._intake = Intake(wire, group, consumer, terms, prefetch)
        self._is_begun = False

    @property
    def topic(self) -> str:
        """Whose events they are."""
        return self._wire.topic

    @property
    def consumer(self) -> str:
        """By which name the group knows it now."""
        return self._intake.consumer

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._intake.is_stopped

    async def __aenter__(self) -> Self:
        if self._is_begun:
            raise Misuse(f"this subscription of {self.group!r} was used before; make a new one")
        await self._intake.begin()
        self._is_begun = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._intake.end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Received:
        received = self.ready() or await self.next()
        if received is None:
            raise StopAsyncIteration
        return received

    def ready(self) -> Received | None:
        """The next event, if it is here, and nothing is to be waited for; else ask `next`."""
        intake = self._intake
        buffer = intake.buffer
        if not buffer or len(buffer) == intake.low or intake.is_stopped:
            return None
        try:
            event = self._wire.event(buffer[0].logged)
        except UNREADABLE:
            return None
        if event.expires_at is not None:
            return None
        return Received(event, buffer.popleft(), self, intake.consumer)

    async def next(self) -> Received | None:
        """The next event, waiting for it; None once `stop` was called. Giving up the wait loses nothing."""
        intake = self._intake
        while True:
            if not intake.buffer:
                await intake.more()
            elif len(intake.buffer) == intake.low:
                await intake.ask_ahead()
            if intake.is_stopped:
                return None
            if not intake.buffer:
                continue
            delivery = intake.buffer.popleft()
            try:
                event = self._wire.event(delivery.logged)
            except UNREADABLE as error:
                await self._refuse(delivery, said(error))
                continue
            if event.expires_at is None or event.expires_at > self._wire.clock.now():
                return Received(event, delivery, self, intake.consumer)
            intake.done(delivery)

    def stop(self) -> None:
        """End the iteration, also where it waits; what is in hand may still be acknowledged."""
        self._intake.stop()

    async def wait_for_store(self, error: Unavailable) -> None:
        """Wait a while before the store is asked again; it is told once that it does not answer."""
        await self._intake.wait_for_store(error)

    def settle_done(self, received: Received) -> None:
        """See `Received.ack`."""
        if not received.is_settled:
            received.is_settled = True
            self._intake.done(received.delivery)

    async def give_back(self, received: Received, reason: str | None, delay_s: float | None) -> bool:
        """See `Received.fail` and `Received.release`; False: it is a dead letter now."""
        if delay_s is None:
            delay_s = backoff_s(received.number, self._retry.base_s, self._retry.cap_s)
        dead = await self._settle(received, reason, delay_s, self._max_deliveries if reason is not None else None)
        return dead is None

    async def reject(self, received: Received, reason: str) -> None:
        """See `Received.reject`."""
        await self._settle(received, reason, 0.0, 0)

    async def reply(self, event: CloudEvent, data: JsonValue) -> None:
        """See `Received.reply`."""
        await send_reply(self._wire, event, data)

    async def _settle(
        self, received: Received, reason: str | None, delay_s: float, max_deliveries: int | None
    ) -> Delivery | None:
        if received.is_settled:
            raise Misuse(f"{received!r} is settled already; say once what became of an event")
        dead = None
        # Else it was given back before, by a call whose answer was lost, and maybe delivered here again; or it is with
        # others.
        if self._intake.holds(received.delivery):
            dead = await self._give_back(received.consumer, received.position, reason, delay_s, max_deliveries)
            self._intake.settled(received.delivery)
        received.is_settled = True
        return dead

    async def _refuse(self, delivery: Delivery, reason: str) -> None:
        """Make a message that is no event a dead letter, however long the store takes to answer."""
        position, consumer = delivery.logged.position, self._intake.consumer
        try:
            while not self._intake.is_stopped and self._intake.holds(delivery):
                try:
                    await self._give_back(consumer, position, reason, 0.0, 0)
                except Unavailable as error:
                    await self.wait_for_store(error)
                else:
                    self._intake.settled(delivery)
        except asyncio.CancelledError:
            # Whoever asks next refuses it: else it would be held, and its key closed, for as long as this consumer is.
            if self._intake.holds(delivery):
                self._intake.buffer.appendleft(delivery)
            raise

    async def _give_back(
        self, consumer: str, position: Position, reason: str | None, delay_s: float, max_deliveries: int | None
    ) -> Delivery | None:
        dead = await self._wire.log.give_back(
            self._wire.topic,
            self.group,
            consumer,
            position,
            delay_s=delay_s,
            reason=reason,
            max_deliveries=max_deliveries,
        )
        if dead is not None:
            self._intake.tell_dead(dead)
        return dead
