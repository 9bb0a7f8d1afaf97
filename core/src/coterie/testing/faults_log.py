"""A log store for tests that counts what it is asked, and fails, or lets a test act, at the n-th call that writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypeAlias, TypeVar

from coterie._rules.log import (
    Appended,
    DeadPage,
    Delivery,
    GroupStatus,
    Message,
    Position,
    Reading,
    Retention,
    Taken,
    Terms,
    TopicStatus,
)
from coterie.errors import Unavailable
from coterie.ports import LogStore, Notice
from coterie.ports.around import DurableAround

__all__ = ["FaultyLogStore", "When"]

T = TypeVar("T")

When: TypeAlias = Literal["before", "after"]


class FaultyLogStore(DurableAround[LogStore]):
    """A `LogStore` around another. Its calls that write are numbered from 1 as they begin.

    script: by number and when, the exception that such a call raises: "before" anything is written, or "after" it is,
        as when an answer is lost. By name instead of number, every call of that name raises it: ("take", "before").
    on_write: called before and after each call that writes, with its number; it may end the process. It is called
        first: what it raises is raised, too. A call that fails has no "after".

    calls: what was asked, as (what, topic). writes: how many calls that write have begun.
    down: "refusing" fails every call; "mute" carries each out, but loses the answer, as a broken connection would.
    gate: while it is not set, calls wait before anything is done, and before they are numbered.
    """

    def __init__(
        self,
        wrapped: LogStore,
        script: Mapping[tuple[int | str, When], Exception] | None = None,
        *,
        on_write: Callable[[int, When], None] | None = None,
    ) -> None:
        super().__init__(wrapped)
        self._on_write = on_write
        self.script = dict(script or {})
        self.calls: list[tuple[str, str]] = []
        self.writes = 0
        self.down: Literal["refusing", "mute"] | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, topic: str, messages: Sequence[Message], *, retention: Retention) -> Sequence[Appended]:
        """As the wrapped store, or as the script says."""
        return await self._write("append", topic, lambda: self._wrapped.append(topic, messages, retention=retention))

    async def read(self, topic: str, *, after: Position = "", limit: int = 100, types: Sequence[str] = ()) -> Reading:
        """As the wrapped store, or as the script says of this name."""
        return await self._ask("read", topic, lambda: self._wrapped.read(topic, after=after, limit=limit, types=types))

    async def locate(self, topic: str, at: int | None) -> Position:
        """As the wrapped store, or as the script says of this name."""
        return await self._ask("locate", topic, lambda: self._wrapped.locate(topic, at))

    async def take(
        self, topic: str, group: str, consumer: str, *, terms: Terms, limit: int, done: Sequence[Position] = ()
    ) -> Taken:
        """As the wrapped store, or as the script says."""
        return await self._write(
            "take", topic, lambda: self._wrapped.take(topic, group, consumer, terms=terms, limit=limit, done=done)
        )

    async def acknowledge(
        self, topic: str, group: str, consumer: str, positions: Sequence[Position]
    ) -> Sequence[Position]:
        """As the wrapped store, or as the script says."""
        return await self._write(
            "acknowledge", topic, lambda: self._wrapped.acknowledge(topic, group, consumer, positions)
        )

    async def give_back(
        self,
        topic: str,
        group: str,
        consumer: str,
        position: Position,
        *,
        delay_s: float = 0.0,
        reason: str | None = None,
        max_deliveries: int | None = None,
    ) -> Delivery | None:
        """As the wrapped store, or as the script says."""
        return await self._write(
            "give_back",
            topic,
            lambda: self._wrapped.give_back(
                topic, group, consumer, position, delay_s=delay_s, reason=reason, max_deliveries=max_deliveries
            ),
        )

    async def beat(self, topic: str, group: str, consumer: str, *, lease_s: float) -> bool:
        """As the wrapped store, or as the script says."""
        return await self._write("beat", topic, lambda: self._wrapped.beat(topic, group, consumer, lease_s=lease_s))

    async def leave(self, topic: str, group: str, consumer: str, *, died: bool = False) -> int:
        """As the wrapped store, or as the script says."""
        return await self._write("leave", topic, lambda: self._wrapped.leave(topic, group, consumer, died=died))

    async def groups(self, topic: str) -> Sequence[GroupStatus]:
        """As the wrapped store, or as the script says of this name."""
        return await self._ask("groups", topic, lambda: self._wrapped.groups(topic))

    async def drop_group(self, topic: str, group: str) -> bool:
        """As the wrapped store, or as the script says."""
        return await self._write("drop_group", topic, lambda: self._wrapped.drop_group(topic, group))

    async def topics(self) -> Sequence[TopicStatus]:
        """As the wrapped store, or as the script says of this name."""
        return await self._ask("topics", "", self._wrapped.topics)

    async def drop_topic(self, topic: str) -> bool:
        """As the wrapped store, or as the script says."""
        return await self._write("drop_topic", topic, lambda: self._wrapped.drop_topic(topic))

    async def dead_letters(self, topic: str, group: str, *, limit: int = 100, after: str | None = None) -> DeadPage:
        """As the wrapped store, or as the script says of this name."""
        return await self._ask(
            "dead_letters", topic, lambda: self._wrapped.dead_letters(topic, group, limit=limit, after=after)
        )

    async def requeue(self, topic: str, group: str, positions: Sequence[Position]) -> Sequence[Position]:
        """As the wrapped store, or as the script says."""
        return await self._write("requeue", topic, lambda: self._wrapped.requeue(topic, group, positions))

    async def discard(self, topic: str, group: str, positions: Sequence[Position]) -> Sequence[Position]:
        """As the wrapped store, or as the script says."""
        return await self._write("discard", topic, lambda: self._wrapped.discard(topic, group, positions))

    async def watch(self, topic: str, notice: Notice) -> None:
        """As the wrapped store, or as the script says of this name."""
        await self._ask("watch", topic, lambda: self._wrapped.watch(topic, notice))

    async def unwatch(self, topic: str, notice: Notice) -> None:
        """As the wrapped store."""
        await self._wrapped.unwatch(topic, notice)

    async def aclose(self) -> None:
        """As the wrapped store."""
        await self._wrapped.aclose()

    async def _ask(self, what: str, topic: str, call: Callable[[], Awaitable[T]]) -> T:
        await self._begin(what, topic)
        self._raise((what, "before"))
        result = await call()
        self._raise((what, "after"))
        return self._end(result)

    async def _write(self, what: str, topic: str, call: Callable[[], Awaitable[T]]) -> T:
        await self._begin(what, topic)
        self.writes += 1
        number = self.writes
        self._meet(what, number, "before")
        result = await call()
        self._meet(what, number, "after")
        return self._end(result)

    async def _begin(self, what: str, topic: str) -> None:
        self.calls.append((what, topic))
        await self.gate.wait()
        if self.down == "refusing":
            raise Unavailable("the log store is down; wait for it") from ConnectionRefusedError("down")

    def _end(self, result: T) -> T:
        if self.down == "mute":
            raise Unavailable("the log store's answer is lost; wait for it") from ConnectionResetError("mute")
        return result

    def _meet(self, what: str, number: int, when: When) -> None:
        if self._on_write is not None:
            self._on_write(number, when)
        self._raise((number, when))
        self._raise((what, when))

    def _raise(self, place: tuple[int | str, When]) -> None:
        fault = self.script.get(place)
        if fault is not None:
            raise fault
