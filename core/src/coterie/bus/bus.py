"""One topic of events: who publishes to it, and how it is read."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from coterie._json import JsonValue
from coterie._rules.log import Position, Retention
from coterie.bus.asking import Asking
from coterie.bus.data import DataTypes
from coterie.bus.envelope import Extension, time_of
from coterie.bus.event import CloudEvent
from coterie.bus.letters import DeadEvent, dead_event, in_parts, letters
from coterie.bus.names import full_patterns
from coterie.bus.publishing import Published, publish
from coterie.bus.reading import Moment, Recorded, replayed, start_of, tailed, waited_for
from coterie.bus.serving import Handler, serve
from coterie.bus.signing import Signing
from coterie.bus.subscription import Subscription
from coterie.bus.wire import Wire
from coterie.clock import Clock, SystemClock
from coterie.errors import PolicyError
from coterie.events import Listener
from coterie.ids import new_workflow_id
from coterie.ports import Durability, LogStore
from coterie.task import Retry

__all__ = ["EventBus"]

_MOST_BYTES = 2**20


class EventBus:
    """A topic of a log store, as a bus: what is published is kept, and reaches every group that subscribes.

    topic: 1 to 200 letters, digits and `._-/`. source: who publishes: a URI reference.
    retention: what the topic keeps, and whether it refuses what no longer fits.
    signing: sign what is published, and hand out nothing else. data_types: what the data of some types must be.
    max_bytes: of one event as JSON, at most 1 MiB. on_event: told of `events.lost`, `events.dead`,
    `events.store_failed`, `events.store_recovered` and `events.expelled`.

    The store stays its opener's; `open` makes a bus that owns one.
    """

    def __init__(
        self,
        log: LogStore,
        *,
        topic: str = "events",
        source: str = "coterie",
        retention: Retention | None = None,
        signing: Signing | None = None,
        data_types: DataTypes | Mapping[str, Any] | None = None,
        max_bytes: int = 256 * 1024,
        on_event: Listener | None = None,
        clock: Clock | None = None,
    ) -> None:
        if type(max_bytes) is not int or not 1 <= max_bytes <= _MOST_BYTES:
            raise PolicyError(f"max_bytes is {max_bytes!r}; give 1 to {_MOST_BYTES}: put what is larger in an artifact")
        types = data_types if data_types is None or isinstance(data_types, DataTypes) else DataTypes(data_types)
        self.source = source
        self.clock = clock or SystemClock()
        self._wire = Wire(log, topic, source, retention or Retention(), signing, types, max_bytes, self.clock, on_event)
        self._asking = Asking(self._wire)
        self._owns_log = False

    @classmethod
    def open(
        cls,
        url: str | None = None,
        *,
        namespace: str | None = None,
        durability: Durability | None = None,
        named_by: str | None = None,
        topic: str = "events",
        source: str = "coterie",
        retention: Retention | None = None,
        signing: Signing | None | Literal["environment"] = "environment",
        data_types: DataTypes | Mapping[str, Any] | None = None,
        max_bytes: int = 256 * 1024,
        on_event: Listener | None = None,
        clock: Clock | None = None,
    ) -> EventBus:
        """A bus with a store of its own; use it as `async with`, or close it.

        url: as of `coterie.stores.opening.open_log_store`: by default what `COTERIE_STORE` says, else this machine's
            own file. namespace: by default `COTERIE_NAMESPACE`, else `default`.
        signing: by default as `COTERIE_SIGNING_KEYS` says: `id:secret,...`.
        """
        from coterie.stores.opening import open_log_store

        name = namespace or os.environ.get("COTERIE_NAMESPACE") or "default"
        bus = cls(
            open_log_store(url, name, durability=durability, named_by=named_by),
            topic=topic,
            source=source,
            retention=retention,
            signing=Signing.from_environment() if signing == "environment" else signing,
            data_types=data_types,
            max_bytes=max_bytes,
            on_event=on_event,
            clock=clock,
        )
        bus._owns_log = True
        return bus

    def __repr__(self) -> str:
        return f"EventBus({self.log.url!r}, topic={self.topic!r})"

    @property
    def log(self) -> LogStore:
        """Where the events lie."""
        return self._wire.log

    @property
    def topic(self) -> str:
        """Which topic of the store's it is."""
        return self._wire.topic

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End what waits for answers, and the store where it is the bus's own; safe to call twice."""
        await self._asking.aclose()
        if self._owns_log:
            await self.log.aclose()

    def event(
        self,
        type_: str,
        data: JsonValue = None,
        *,
        key: str = "",
        subject: str | None = None,
        id: str | None = None,  # noqa: A002  # the attribute's name
        correlation_id: str | None = None,
        causation_id: str | None = None,
        traceparent: str | None = None,
        priority: int = 0,
        expires_in_s: float | None = None,
        reply_to: str | None = None,
        extensions: Mapping[str, Extension] | None = None,
    ) -> CloudEvent:
        """An event of this bus's source, at this time; see `CloudEvent`. expires_in_s: it is handed out no later."""
        now_s = self.clock.now()
        return CloudEvent(
            type_,
            data,
            source=self.source,
            id=id or new_workflow_id(int(now_s * 1000)),
            time=time_of(now_s),
            subject=subject,
            key=key,
            correlation_id=correlation_id,
            causation_id=causation_id,
            traceparent=traceparent,
            priority=priority,
            reply_to=reply_to,
            expires_at=None if expires_in_s is None else now_s + expires_in_s,
            extensions=extensions or {},
        )

    async def publish(
        self,
        type_: str,
        data: JsonValue = None,
        *,
        key: str = "",
        subject: str | None = None,
        id: str | None = None,  # noqa: A002  # the attribute's name
        correlation_id: str | None = None,
        causation_id: str | None = None,
        traceparent: str | None = None,
        priority: int = 0,
        expires_in_s: float | None = None,
        wait_s: float = 0.0,
        extensions: Mapping[str, Extension] | None = None,
    ) -> Published:
        """Publish one event, made of this; once it returns, the event is as durable as the store.

        id: whatever the same source publishes again under the same one, within `Retention.dedup_s`, is the same event.
        wait_s: how long a topic without room, or a store that does not answer, is waited for.

        Raises:
            MalformedEvent, OversizedMessage: it may not be sent.
            TopicFull: there was no room in time. Unavailable: the store did not answer in time; whether the event is
                there is not known: publish it again under its id.
        """
        event = self.event(
            type_,
            data,
            key=key,
            subject=subject,
            id=id,
            correlation_id=correlation_id,
            causation_id=causation_id,
            traceparent=traceparent,
            priority=priority,
            expires_in_s=expires_in_s,
            extensions=extensions,
        )
        (published,) = await publish(self._wire, [event], wait_s=wait_s)
        return published

    async def publish_all(self, events: Iterable[CloudEvent], *, wait_s: float = 0.0) -> list[Published]:
        """Publish events in their order, a thousand in one trip, all or none of each thousand; see `publish`."""
        return await publish(self._wire, list(events), wait_s=wait_s)

    def subscribe(
        self,
        *patterns: str,
        group: str,
        consumer: str | None = None,
        begin: Literal["begin", "end"] | Position = "end",
        prefetch: int = 16,
        lease_s: float = 15.0,
        max_deliveries: int = 5,
        by_priority: bool = False,
        retry: Retry | None = None,
    ) -> Subscription:
        """Take part in a group, which hands each event to one of its consumers.

        patterns: types, in which `*` stands for any characters; none: all. All of a group ought to give the same.
        consumer: a name that nobody else has, or will have; by default one of this process.
        begin: where the group begins if it is new: with what is published from now on ("end"), with all that is there
            ("begin"), or behind a position.
        prefetch: how many events are held at most that are not acknowledged; 1 where it must be the most urgent one.
        lease_s: a consumer that is not heard of for so long is taken for dead; what it held goes to others.
        max_deliveries: after so many an event is a dead letter. retry: how long is waited between them.
        """
        return Subscription(
            self._wire,
            full_patterns(patterns),
            group=group,
            consumer=consumer,
            begin=begin,
            prefetch=prefetch,
            lease_s=lease_s,
            max_deliveries=max_deliveries,
            by_priority=by_priority,
            retry=retry,
        )

    async def serve(
        self,
        handler: Handler,
        *patterns: str,
        group: str,
        concurrency: int = 1,
        timeout_s: float | None = None,
        retry: Retry | None = None,
        stop: asyncio.Event | None = None,
        ready: asyncio.Event | None = None,
        consumer: str | None = None,
        begin: Literal["begin", "end"] | Position = "end",
        prefetch: int = 16,
        lease_s: float = 15.0,
        max_deliveries: int | None = None,
        by_priority: bool = False,
    ) -> None:
        """Handle events until `stop` is set, or this is cancelled: what is not begun then goes to others; what is, is
        finished in the one case, and goes to others in the other.

        handler: called with the event, and with the `Received` where it takes two; a coroutine function, or a plain
            one, which gets a thread of its own. Returns: the event is done, and what it returns is the answer where one
            is asked for. Raises: it is delivered again, later, and in the end is a dead letter with that error; at once
            where the error is a `MalformedEvent`, `UntrustedEvent` or `OversizedMessage`; a `Refused` is no failure:
            the event comes again after its `retry_after_s`, at least 0.05 s and at most a day.
        concurrency: how many are handled at once; those of one key one after the other, in order.
        timeout_s: how long one may take; longer ones are cancelled, and have failed.
        retry: its `max_attempts` and waits; by default 5 deliveries.
        ready: set once the group receives what is published from then on.
        others: as of `subscribe`.

        A store that does not answer is waited for, and that is told once. Messages that are no events, or not signed as
        they should be, are dead letters at once.

        Raises:
            Misuse: what cannot work, such as a group's name that is none.
        """
        subscription = self.subscribe(
            *patterns,
            group=group,
            consumer=consumer,
            begin=begin,
            prefetch=max(prefetch, concurrency),
            lease_s=lease_s,
            max_deliveries=max_deliveries or (retry.max_attempts if retry else 5),
            by_priority=by_priority,
            retry=retry,
        )
        await serve(subscription, handler, concurrency=concurrency, timeout_s=timeout_s, stop=stop, ready=ready)

    def replay(self, *patterns: str, since: Moment = None, until: Moment = None) -> AsyncIterator[Recorded]:
        """Events that are there, in order, for this reader alone; it ends when there are no more.

        since: a position (what lies behind it), a time, or seconds since the epoch; None: all that are kept.
        until: up to and with a position, which may be gone, or before a time; None: to the end.

        What is no event is passed over. What was dropped before it was read is told (`events.lost`).

        Raises:
            Unavailable: the store did not answer.
        """
        return replayed(self._wire, full_patterns(patterns), since=since, until=until)

    def tail(self, *patterns: str, since: Moment = "end") -> AsyncIterator[Recorded]:
        """Events as they come, for this reader alone, without end; a store that does not answer is waited for."""
        return tailed(self._wire, full_patterns(patterns), since=since)

    async def wait_for(
        self,
        *patterns: str,
        where: Callable[[CloudEvent], bool] | None = None,
        since: Moment = "end",
        timeout_s: float | None = None,
    ) -> CloudEvent:
        """The first event of these types for which `where` holds.

        since: as of `replay`; by default what is published from now on.

        Raises:
            NoReply: there was none in time.
        """
        return await waited_for(self._wire, full_patterns(patterns), where=where, since=since, timeout_s=timeout_s)

    async def here(self) -> Position:
        """The position of the last event: `since` of what comes from now on."""
        return await start_of(self._wire, "end")

    async def request(
        self,
        type_: str,
        data: JsonValue = None,
        *,
        timeout_s: float,
        key: str = "",
        correlation_id: str | None = None,
        priority: int = 0,
    ) -> CloudEvent:
        """Publish a question, and wait for the answer: what the handler of whoever serves it returned.

        Nobody is handed the question when its time is over.

        Raises:
            NoReply: there was no answer in time. Misuse: the bus was closed meanwhile. Others: as of `publish`.
        """
        event = self.event(
            type_,
            data,
            key=key,
            correlation_id=correlation_id,
            priority=priority,
            reply_to=self._asking.reply_to,
            expires_in_s=timeout_s,
        )
        return await self._asking.ask(self._wire, event, timeout_s)

    async def dead_letters(self, group: str, *, limit: int | None = 100) -> list[DeadEvent]:
        """What a group has given up, the oldest first; kept until it is requeued or discarded. limit: None: all."""
        return [dead_event(self._wire, letter) async for letter in letters(self._wire, group, limit=limit)]

    async def requeue(self, group: str, positions: Sequence[Position] | None = None) -> list[Position]:
        """Have dead letters delivered to their group again; None: all. Answers those that were there."""
        return await in_parts(self.log.requeue, self._wire, group, positions)

    async def discard(self, group: str, positions: Sequence[Position] | None = None) -> list[Position]:
        """Remove dead letters; None: all. Answers those that were there."""
        return await in_parts(self.log.discard, self._wire, group, positions)
