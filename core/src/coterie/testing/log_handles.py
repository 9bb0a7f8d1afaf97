"""What the contract of log stores is made with: handles, a clock that stands still, and short forms of its calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from coterie._rules.log import Appended, Delivery, GroupStatus, Message, Position, Reading, Retention, Taken, Terms
from coterie.ports import LogStore
from coterie.testing.clock import ManualClock

__all__ = [
    "PATIENCE_S",
    "TOPIC",
    "Bell",
    "LogHandles",
    "append",
    "drain",
    "group_of",
    "ids",
    "message",
    "positions",
    "read_all",
    "take",
    "uses_of_a_group",
]

TOPIC = "events"
# How long a test waits for what must come: far longer than any store takes, so that only a loss fails.
PATIENCE_S = 20.0
KEEP = Retention()
TERMS = Terms()


class LogHandles:
    """How the contract comes by its clock, and by more handles."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The clock by which the stores of one test go: all of its handles, too."""
        return ManualClock()

    async def another(
        self,
        store: LogStore,  # noqa: ARG002  # for those who override it
        clock: ManualClock,  # noqa: ARG002  # for those who override it
        *,
        namespace: str | None = None,  # noqa: ARG002  # for those who override it
    ) -> LogStore | None:
        """A second handle on the same topics, as another process would have it; the contract closes it.

        namespace: the second handle's own; by default that of `store`. None comes back where there can be none.
        """
        return None

    @asynccontextmanager
    async def second(
        self, store: LogStore, clock: ManualClock, *, namespace: str | None = None
    ) -> AsyncIterator[LogStore]:
        """Such a handle, closed at the end; without one, the test is skipped."""
        other = await self.another(store, clock, namespace=namespace)
        if other is None:
            pytest.skip("this store has one handle only")
        try:
            yield other
        finally:
            await other.aclose()

    @asynccontextmanager
    async def several(self, store: LogStore, clock: ManualClock, count: int) -> AsyncIterator[list[LogStore]]:
        """So many handles on the same topics; where there can be but one, it comes several times."""
        async with AsyncExitStack() as opened:
            handles = [store]
            for _ in range(count - 1):
                other = await self.another(store, clock)
                if other is not None:
                    opened.push_async_callback(other.aclose)
                handles.append(other or store)
            yield handles


class Bell:
    """A notice that remembers whether it was called."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def __call__(self, _message: str | None) -> None:
        self._rung.set()

    async def rings(self) -> None:
        """Wait until it was called since the last time."""
        async with asyncio.timeout(PATIENCE_S):
            await self._rung.wait()
        self._rung.clear()

    @property
    def has_rung(self) -> bool:
        """Whether it was called since the last time that was asked or forgotten."""
        return self._rung.is_set()

    def forget(self) -> None:
        """Whether it rang until now is of no account."""
        self._rung.clear()


def message(id: str, *, key: str = "", type: str = "made", text: str | None = None, priority: int = 0) -> Message:  # noqa: A002
    """A message; its text is made of its id."""
    return Message(id, type, f"text of {id}" if text is None else text, key, priority)


async def append(
    store: LogStore, *messages: Message | str, topic: str = TOPIC, retention: Retention = KEEP
) -> Sequence[Appended]:
    """Append messages, or such as have these ids."""
    made = [message(given) if isinstance(given, str) else given for given in messages]
    return await store.append(topic, made, retention=retention)


async def take(
    store: LogStore,
    consumer: str = "one",
    *,
    limit: int = 100,
    group: str = "group",
    topic: str = TOPIC,
    terms: Terms = TERMS,
    done: Sequence[Position] = (),
) -> Taken:
    """Take messages."""
    return await store.take(topic, group, consumer, terms=terms, limit=limit, done=done)


async def drain(store: LogStore, consumer: str = "one", *, limit: int = 100, terms: Terms = TERMS) -> list[str]:
    """Take and acknowledge until nothing comes; the ids in their order."""
    got: list[str] = []
    done: list[Position] = []
    while True:
        taken = await take(store, consumer, limit=limit, terms=terms, done=done)
        if not taken.deliveries:
            return got
        got += ids(taken)
        done = positions(taken)


async def read_all(store: LogStore, *, limit: int = 1000, topic: str = TOPIC, types: Sequence[str] = ()) -> list[str]:
    """The ids of all that a topic keeps, in order."""
    got: list[str] = []
    after = ""
    while True:
        reading = await store.read(topic, after=after, limit=limit, types=types)
        got += ids(reading)
        assert reading.after != after or reading.is_all, "reading does not go on"
        after = reading.after
        if reading.is_all:
            return got


async def group_of(store: LogStore, name: str = "group", *, topic: str = TOPIC) -> GroupStatus:
    """The status of a group that is there."""
    (status,) = [status for status in await store.groups(topic) if status.name == name]
    return status


def ids(got: Taken | Reading | Sequence[Delivery]) -> list[str]:
    """The ids of what came, in order."""
    if isinstance(got, Reading):
        return [logged.message.id for logged in got.messages]
    deliveries = got.deliveries if isinstance(got, Taken) else got
    return [delivery.logged.message.id for delivery in deliveries]


def positions(got: Taken | Sequence[Delivery]) -> list[Position]:
    """The positions of what came, in order."""
    deliveries = got.deliveries if isinstance(got, Taken) else got
    return [delivery.logged.position for delivery in deliveries]


def uses_of_a_group(store: LogStore, topic: str, group: str) -> list[Callable[[], Awaitable[object]]]:
    """All calls that name a group."""
    return [
        lambda: take(store, topic=topic, group=group),
        lambda: store.acknowledge(topic, group, "one", ["1"]),
        lambda: store.give_back(topic, group, "one", "1"),
        lambda: store.beat(topic, group, "one", lease_s=15),
        lambda: store.leave(topic, group, "one"),
        lambda: store.drop_group(topic, group),
        lambda: store.dead_letters(topic, group),
        lambda: store.requeue(topic, group, ["1"]),
        lambda: store.discard(topic, group, ["1"]),
    ]
