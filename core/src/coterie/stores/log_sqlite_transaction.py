"""What the works of one transaction see of the topics and groups of a file: each what the one before it left."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from coterie._rules.decided import Signal
from coterie._rules.log import Failure, Logged, Message

__all__ = [
    "BEHIND",
    "DUE",
    "HELD",
    "READY",
    "Group",
    "LogTransaction",
    "Row",
    "Topic",
    "failures_in",
    "logged",
    "text_of",
]

# States of what is pending.
HELD, READY, DUE, BEHIND = range(4)

# A message's row: position, at, id, type, key, priority, text.
Row: TypeAlias = tuple[int, int, str, str, str, int, str]

# Positions below one topic's number.
_POSITION_BITS = 38
# A transaction that has written so much takes no more.
_FULL_ROWS = 4096
_FULL_BYTES = 8 * 2**20


@dataclass(slots=True)
class Topic:
    """A topic's row; see the tables. Changed here, and written when the transaction ends."""

    number: int
    name: str
    first: int
    last: int
    kept: int
    gone: int
    at: int
    max_age: int | None
    idle: int | None

    @property
    def base(self) -> int:
        """The place of position 0."""
        return self.base_of(self.number)

    @staticmethod
    def base_of(number: int) -> int:
        """The place of position 0 in the topic of this number."""
        return number << _POSITION_BITS

    @property
    def is_dense(self) -> bool:
        """Whether what it keeps has no gaps: only groups that were done with more than it had to drop make some."""
        return self.last - self.first + 1 == self.kept

    def known(self, position: int) -> int:
        """A position, or 0: one that was not reached yet is of an earlier topic of this name; all comes after it."""
        return position if position <= self.last else 0

    def is_idle(self, now: int) -> bool:
        """Whether nothing was appended for too long."""
        return self.idle is not None and now - self.at > self.idle


@dataclass(slots=True)
class Group:
    """A group's row; see the tables. Changed here, and written when the transaction ends."""

    number: int
    name: str
    position: int
    waiting: int
    lost: int
    ageing: int | None


_TOPIC = "SELECT number, name, first, last, kept, gone, at, max_age, idle FROM topics"
_LAGGING = "SELECT number, name, first, last, kept, gone, at, max_age, idle FROM topics WHERE gone < first - 1 LIMIT ?"
_AGED = (
    "SELECT number, name, first, last, kept, gone, at, max_age, idle FROM topics "
    "WHERE max_age IS NOT NULL AND kept > 0 "
    "AND (SELECT messages.at FROM messages WHERE place = (number << ?) + first) + max_age < ? LIMIT ?"
)
_GROUP = "SELECT number, name, position, waiting, lost, ageing FROM groups"


class LogTransaction:
    """One transaction on the topics of one namespace."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        namespace: str,
        now: Callable[[], int],
        swept: Callable[[LogTransaction], None],
    ) -> None:
        self.connection = connection
        self.namespace = namespace
        self.now = now
        # By channel, as all say the same.
        self.signals: dict[str, Signal] = {}
        self._swept = swept
        self._topics: dict[str, Topic] = {}
        self._groups: dict[int, dict[str, Group]] = {}
        self._changed_topics: dict[int, Topic] = {}
        self._changed_groups: dict[int, Group] = {}
        self._rows = 0
        self._bytes = 0

    # What there is

    def topic(self, name: str) -> Topic | None:
        """A topic, or None if there is none, or it has been idle for too long."""
        found = self._found(name)
        return None if found is None or found.is_idle(self.now()) else found

    def topics(self) -> list[Topic]:
        """All topics, by name."""
        rows = self.connection.execute(f"{_TOPIC} WHERE namespace = ? ORDER BY name", (self.namespace,)).fetchall()
        found = [self._topics.get(row[1]) or Topic(*row) for row in rows]
        return [topic for topic in found if not topic.is_idle(self.now())]

    def idle_topics(self, most: int) -> list[Topic]:
        """Some that have been idle for too long, of all namespaces."""
        rows = self.connection.execute(f"{_TOPIC} WHERE idle IS NOT NULL AND at + idle < ? LIMIT ?", (self.now(), most))
        return self._these(rows.fetchall())

    def aged_topics(self, most: int) -> list[Topic]:
        """Some that keep what is too old, of all namespaces."""
        return self._these(self.connection.execute(_AGED, (_POSITION_BITS, self.now(), most)).fetchall())

    def lagging_topics(self, most: int) -> list[Topic]:
        """Some of which not all that was dropped is removed, of all namespaces."""
        return self._these(self.connection.execute(_LAGGING, (most,)).fetchall())

    def groups(self, topic: Topic) -> dict[str, Group]:
        """The groups of a topic by name, in their order."""
        if topic.number not in self._groups:
            rows = self.connection.execute(f"{_GROUP} WHERE topic = ? ORDER BY name", (topic.number,))
            self._groups[topic.number] = {row[1]: Group(*row) for row in rows}
        return self._groups[topic.number]

    # Changes

    def begin_topic(self, name: str) -> Topic:
        """A new, empty topic, in the place of an idle one."""
        idle = self._found(name)
        if idle is not None:
            self.forget_topic(idle)
        number = self._inserted(
            "INSERT INTO topics (namespace, name, first, last, kept, gone, at) VALUES (?, ?, 1, 0, 0, 0, ?)",
            (self.namespace, name, now := self.now()),
        )
        self._topics[name] = topic = Topic(number, name, 1, 0, 0, 0, now, None, None)
        return topic

    def begin_group(self, topic: Topic, name: str, position: int, lost: int) -> Group:
        """A new group, that begins behind `position`."""
        groups = self.groups(topic)
        number = self._inserted(
            "INSERT INTO groups (topic, name, position, waiting, lost) VALUES (?, ?, ?, 0, ?)",
            (topic.number, name, position, lost),
        )
        groups[name] = group = Group(number, name, position, 0, lost, None)
        return group

    def changed(self, *rows: Topic | Group) -> None:
        """Have these written when the transaction ends."""
        for row in rows:
            if isinstance(row, Topic):
                self._changed_topics[row.number] = row
            else:
                self._changed_groups[row.number] = row

    def forget_topic(self, topic: Topic) -> None:
        """Let nobody find a topic, nor its groups, any more."""
        for group in tuple(self.groups(topic).values()):
            self.forget_group(topic, group)
        self.connection.execute("DELETE FROM topics WHERE number = ?", (topic.number,))
        self.connection.execute("INSERT INTO removed_topics VALUES (?)", (topic.number,))
        self._topics.pop(topic.name, None)
        self._groups.pop(topic.number, None)
        self._changed_topics.pop(topic.number, None)

    def forget_group(self, topic: Topic, group: Group) -> None:
        """Let nobody find a group any more."""
        self.connection.execute("DELETE FROM groups WHERE number = ?", (group.number,))
        self.connection.execute("INSERT INTO removed_groups VALUES (?)", (group.number,))
        self.groups(topic).pop(group.name, None)
        self._changed_groups.pop(group.number, None)

    def wrote(self, rows: int, size: int = 0) -> None:
        """Count what was written."""
        self._rows += rows
        self._bytes += size

    def tell(self, topic: Topic) -> None:
        """Have those who watch a topic told."""
        self.signals[topic.name] = Signal(topic.name, topic.name)

    # Rows

    def one(self, sql: str, values: Sequence[object]) -> tuple[int, ...] | None:
        """The first row of integers that is found."""
        row: tuple[int, ...] | None = self.connection.execute(sql, values).fetchone()
        return row

    def count(self, sql: str, values: Sequence[object]) -> int:
        """The number that is asked for."""
        (found,) = self.connection.execute(sql, values).fetchone()
        return int(found or 0)

    # As the thread asks

    def is_full(self) -> bool:
        """Whether it has as much to write as one transaction should."""
        return self._rows >= _FULL_ROWS or self._bytes >= _FULL_BYTES

    def flush(self) -> None:
        """Write what was changed."""
        if self._changed_topics:
            self.connection.executemany(
                "UPDATE topics SET first = ?, last = ?, kept = ?, gone = ?, at = ?, max_age = ?, idle = ? "
                "WHERE number = ?",
                [
                    (one.first, one.last, one.kept, one.gone, one.at, one.max_age, one.idle, one.number)
                    for one in self._changed_topics.values()
                ],
            )
        if self._changed_groups:
            self.connection.executemany(
                "UPDATE groups SET position = ?, waiting = ?, lost = ?, ageing = ? WHERE number = ?",
                [
                    (one.position, one.waiting, one.lost, one.ageing, one.number)
                    for one in self._changed_groups.values()
                ],
            )
        self._changed_topics, self._changed_groups = {}, {}

    def sweep(self) -> None:
        """Remove some of what is not needed any more."""
        self._swept(self)
        self.flush()

    def _these(self, rows: Sequence[tuple[int, str, int, int, int, int, int, int | None, int | None]]) -> list[Topic]:
        seen = {topic.number: topic for topic in self._topics.values()}
        return [seen.get(row[0]) or Topic(*row) for row in rows]

    def _found(self, name: str) -> Topic | None:
        if name not in self._topics:
            row = self.connection.execute(
                f"{_TOPIC} WHERE namespace = ? AND name = ?", (self.namespace, name)
            ).fetchone()
            if row is None:
                return None
            self._topics[name] = Topic(*row)
        return self._topics[name]

    def _inserted(self, sql: str, values: Sequence[object]) -> int:
        number = self.connection.execute(sql, values).lastrowid
        assert number is not None
        return number


def logged(row: Row) -> Logged:
    """What a row of a message says."""
    position, at, id, type, key, priority, text = row  # noqa: A001  # as `Message` has them
    return Logged(str(position), at, Message(id, type, text, key, priority))


def text_of(failures: Iterable[Failure]) -> str:
    """The stored form of failures."""
    return json.dumps([tuple(failure) for failure in failures], ensure_ascii=False, separators=(",", ":"))


def failures_in(text: str) -> tuple[Failure, ...]:
    """The failures that `text` holds; of "", none."""
    return tuple(Failure(*failure) for failure in json.loads(text)) if text else ()
