"""Topics of one machine, in a SQLite file: the default, as every task of a scheduler is a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

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
from coterie.clock import Clock
from coterie.ports import Durability, Notice
from coterie.stores import log_sqlite_dead, log_sqlite_groups, log_sqlite_topics
from coterie.stores.log_sqlite_tables import LogTables
from coterie.stores.log_sqlite_take import take
from coterie.stores.log_sqlite_transaction import LogTransaction
from coterie.stores.log_sqlite_upkeep import clear
from coterie.stores.logs import (
    check_begin,
    check_consumer,
    check_delay,
    check_group,
    check_instant,
    check_lease,
    check_limit,
    check_max_deliveries,
    check_messages,
    check_number,
    check_positions,
    check_reason,
    check_topic,
    check_types,
)
from coterie.stores.sqlite_access import Access, clock_us
from coterie.stores.sqlite_signals import HeardStore

__all__ = ["SqliteLogStore"]


class SqliteLogStore(HeardStore[LogTransaction]):
    """A `LogStore` for all processes of one machine and one user.

    path: an absolute path, best with a folder of its own; files appear beside it (`-wal`, `-shm`, `.wake/`).
    durability: "strict", what was acknowledged survives a power cut (`synchronous=FULL`: one sync of the disk for all
        who wait at the same time); or "relaxed", it survives the end of any process, and a power cut may lose the
        last moments (`synchronous=NORMAL`).
    clock: the wall clock of the machine, if not given.
    patience_s: after that long without an answer a call raises `Unavailable`.

    Positions are numbers, from 1 in each topic. Readers wait for nobody's lock. What a group holds, or has waiting,
    keeps its text whatever retention does. A forked child may go on using the store: it opens its own connection, and
    watches nothing. With `Terms.by_priority` the order is that of the 10,000 messages which a group has read ahead.
    """

    def __init__(
        self,
        path: str | Path,
        namespace: str = "default",
        *,
        durability: Durability = "strict",
        clock: Clock | None = None,
        patience_s: float = 10.0,
    ) -> None:
        super().__init__(path, namespace)
        self._durability = durability
        self._tables = LogTables(self._path, namespace, durability, clock_us(clock))
        self._file = Access(self._path, self._tables, patience_s=patience_s)

    def __repr__(self) -> str:
        return f"SqliteLogStore({str(self._path)!r}, {self._namespace!r}, durability={self._durability!r})"

    @property
    def durability(self) -> Durability:
        """As it was given."""
        return self._durability

    # Topics

    async def append(self, topic: str, messages: Sequence[Message], *, retention: Retention) -> Sequence[Appended]:
        """Add messages, in one transaction with others that wait; see `LogStore.append`."""
        self._file.check_open()
        work = partial(log_sqlite_topics.append, check_topic(topic), check_messages(messages), retention)
        return await self._file.done(work, writes=True) if messages else []

    async def read(self, topic: str, *, after: Position = "", limit: int = 100, types: Sequence[str] = ()) -> Reading:
        """Messages from behind a position on. Waits for nobody's lock."""
        self._file.check_open()
        check_topic(topic)
        return await self._file.done(
            partial(log_sqlite_topics.read, topic, check_number(after), check_limit(limit), check_types(types))
        )

    async def locate(self, topic: str, at: int | None) -> Position:
        """The position behind which all lies from an instant on. Waits for nobody's lock."""
        self._file.check_open()
        return await self._file.done(partial(log_sqlite_topics.locate, check_topic(topic), check_instant(at)))

    async def topics(self) -> Sequence[TopicStatus]:
        """All topics, by name. Waits for nobody's lock."""
        self._file.check_open()
        return await self._file.done(log_sqlite_topics.topics)

    async def drop_topic(self, topic: str) -> bool:
        """Remove a topic at once, then what belonged to it, some at a time, so that it is in nobody's way."""
        self._file.check_open()
        return await self._file.removed(partial(log_sqlite_topics.drop_topic, check_topic(topic)), clear)

    # Groups

    async def take(
        self,
        topic: str,
        group: str,
        consumer: str,
        *,
        terms: Terms,
        limit: int,
        done: Sequence[Position] = (),
    ) -> Taken:
        """Acknowledge, be heard of, and take, in one transaction with others that wait; see `LogStore.take`."""
        who = self._who(topic, group, consumer)
        check_types(terms.types)
        check_begin(terms.begin)
        most, numbers = check_limit(limit, least=0), check_positions(done, check_number)
        return await self._file.done(partial(take, who, terms, most, numbers), writes=True)

    async def acknowledge(
        self, topic: str, group: str, consumer: str, positions: Sequence[Position]
    ) -> Sequence[Position]:
        """Be done with messages; those that this consumer did not hold."""
        who = self._who(topic, group, consumer)
        numbers = check_positions(positions, check_number)
        work = partial(log_sqlite_groups.acknowledge, who, numbers)
        return await self._file.done(work, writes=True)

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
        """Have a message delivered again, or made a dead letter; see `LogStore.give_back`."""
        who = self._who(topic, group, consumer)
        (number,) = check_positions([position], check_number)
        delay, why, most = check_delay(delay_s), check_reason(reason), check_max_deliveries(max_deliveries)
        work = partial(log_sqlite_groups.give_back, who, number, delay=delay, reason=why, max_deliveries=most)
        return await self._file.done(work, writes=True)

    async def beat(self, topic: str, group: str, consumer: str, *, lease_s: float) -> bool:
        """Be heard of."""
        who = self._who(topic, group, consumer)
        work = partial(log_sqlite_groups.beat, who, check_lease(lease_s))
        return await self._file.done(work, writes=True)

    async def leave(self, topic: str, group: str, consumer: str, *, died: bool = False) -> int:
        """End a consumer; how many messages it held."""
        who = self._who(topic, group, consumer)
        return await self._file.done(partial(log_sqlite_groups.leave, who, died=died), writes=True)

    async def groups(self, topic: str) -> Sequence[GroupStatus]:
        """The groups of a topic, by name. Waits for nobody's lock."""
        self._file.check_open()
        return await self._file.done(partial(log_sqlite_groups.groups, check_topic(topic)))

    async def drop_group(self, topic: str, group: str) -> bool:
        """End a group at once, then remove what belonged to it, some at a time."""
        who = self._of(topic, group)
        return await self._file.removed(partial(log_sqlite_groups.drop_group, who), clear)

    # Dead letters

    async def dead_letters(self, topic: str, group: str, *, limit: int = 100, after: str | None = None) -> DeadPage:
        """Dead letters, in the order of the log. Waits for nobody's lock."""
        who = self._of(topic, group)
        most, behind = check_limit(limit), check_number("" if after is None else after)
        return await self._file.done(partial(log_sqlite_dead.dead_letters, who, most, behind))

    async def requeue(self, topic: str, group: str, positions: Sequence[Position]) -> Sequence[Position]:
        """Have dead letters delivered again; those that were there."""
        who = self._of(topic, group)
        numbers = check_positions(positions, check_number)
        return await self._file.done(partial(log_sqlite_dead.requeue, who, numbers), writes=True)

    async def discard(self, topic: str, group: str, positions: Sequence[Position]) -> Sequence[Position]:
        """Remove dead letters; those that were there."""
        who = self._of(topic, group)
        numbers = check_positions(positions, check_number)
        return await self._file.done(partial(log_sqlite_dead.discard, who, numbers), writes=True)

    # Watching

    async def watch(self, topic: str, notice: Notice) -> None:
        """Have `notice` called in this event loop, with the topic's name.

        Raises:
            Misuse: another event loop, which is running, has watched before.
        """
        self._file.check_open()
        await self._listen(check_topic(topic), notice)

    async def unwatch(self, topic: str, notice: Notice) -> None:
        """Stop calling `notice`."""
        await self._ignore(topic, notice)

    def _who(self, topic: str, group: str, consumer: str) -> log_sqlite_groups.Who:
        return replace(self._of(topic, group), consumer=check_consumer(consumer))

    def _of(self, topic: str, group: str) -> log_sqlite_groups.Who:
        self._file.check_open()
        return log_sqlite_groups.Who(check_topic(topic), check_group(group))
