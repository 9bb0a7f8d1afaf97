"""The event bus for code that cannot await: the blocking twin of `coterie.EventBus`, under the same names."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from coterie import bus, sync

if TYPE_CHECKING:
    from coterie._json import JsonValue
    from coterie._rules.log import Position, Retention
    from coterie.bus import CloudEvent, DataTypes, DeadEvent, Published, Recorded, Signing
    from coterie.bus.envelope import Extension
    from coterie.bus.reading import Moment
    from coterie.events import Listener
    from coterie.ports import Durability

__all__ = ["EventBus"]

# What a replay brings from the background loop in one go.
_AT_ONCE = 200


class EventBus:
    """`coterie.EventBus`, blocking. wrapped: a bus that nobody else uses; closing this one closes it."""

    def __init__(self, wrapped: bus.EventBus) -> None:
        self._wrapped = wrapped

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
    ) -> Self:
        """See `coterie.EventBus.open`; use it as `with`, or close it."""
        return cls(
            bus.EventBus.open(
                url,
                namespace=namespace,
                durability=durability,
                named_by=named_by,
                topic=topic,
                source=source,
                retention=retention,
                signing=signing,
                data_types=data_types,
                max_bytes=max_bytes,
                on_event=on_event,
            )
        )

    def __repr__(self) -> str:
        return f"sync_bus.{self._wrapped!r}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """See `coterie.EventBus.aclose`."""
        sync.run(self._wrapped.aclose())

    def publish(
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
        """See `coterie.EventBus.publish`."""
        return sync.run(
            self._wrapped.publish(
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
                wait_s=wait_s,
                extensions=extensions,
            )
        )

    def publish_all(self, events: Iterable[CloudEvent], *, wait_s: float = 0.0) -> list[Published]:
        """See `coterie.EventBus.publish_all`."""
        return sync.run(self._wrapped.publish_all(list(events), wait_s=wait_s))

    def replay(self, *patterns: str, since: Moment = None, until: Moment = None) -> Iterator[Recorded]:
        """See `coterie.EventBus.replay`."""
        events = cast("AsyncGenerator[Recorded, None]", self._wrapped.replay(*patterns, since=since, until=until))
        try:
            while some := sync.run(_next(events)):
                yield from some
        finally:
            sync.run(events.aclose())

    def wait_for(
        self,
        *patterns: str,
        where: Callable[[CloudEvent], bool] | None = None,
        since: Moment = "end",
        timeout_s: float | None = None,
    ) -> CloudEvent:
        """See `coterie.EventBus.wait_for`; `where` is called in the background loop, and must not block."""
        return sync.run(self._wrapped.wait_for(*patterns, where=where, since=since, timeout_s=timeout_s))

    def here(self) -> Position:
        """See `coterie.EventBus.here`."""
        return sync.run(self._wrapped.here())

    def request(
        self,
        type_: str,
        data: JsonValue = None,
        *,
        timeout_s: float,
        key: str = "",
        correlation_id: str | None = None,
        priority: int = 0,
    ) -> CloudEvent:
        """See `coterie.EventBus.request`."""
        return sync.run(
            self._wrapped.request(
                type_, data, timeout_s=timeout_s, key=key, correlation_id=correlation_id, priority=priority
            )
        )

    def dead_letters(self, group: str, *, limit: int | None = 100) -> list[DeadEvent]:
        """See `coterie.EventBus.dead_letters`."""
        return sync.run(self._wrapped.dead_letters(group, limit=limit))

    def requeue(self, group: str, positions: Sequence[Position] | None = None) -> list[Position]:
        """See `coterie.EventBus.requeue`."""
        return sync.run(self._wrapped.requeue(group, positions))

    def discard(self, group: str, positions: Sequence[Position] | None = None) -> list[Position]:
        """See `coterie.EventBus.discard`."""
        return sync.run(self._wrapped.discard(group, positions))


async def _next(events: AsyncGenerator[Recorded, None]) -> list[Recorded]:
    some: list[Recorded] = []
    async for recorded in events:
        some.append(recorded)
        if len(some) == _AT_ONCE:
            break
    return some
