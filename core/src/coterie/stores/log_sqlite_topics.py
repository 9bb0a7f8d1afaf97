"""What is appended to a topic of a SQLite file, and what anybody reads of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from coterie._rules.log import Appended, Message, Position, Reading, Retention, TopicStatus
from coterie._rules.timeline import micros
from coterie.stores.log_sqlite_retention import (
    age,
    count_between,
    done_with_by_all,
    drop,
    first_since,
    remove,
    remove_dropped,
    trim,
)
from coterie.stores.log_sqlite_transaction import LogTransaction, Row, Topic, logged
from coterie.stores.logs import full

__all__ = ["SCANNED", "TEXT_CHARS", "append", "drop_topic", "locate", "position_of", "read", "rows", "topics"]

# So many messages, or so many characters of text, are looked at by one call.
SCANNED = 20_000
TEXT_CHARS = 16 * 2**20
_ROWS = "SELECT place - ?, at, id, type, key, priority, text FROM messages WHERE place > ? AND place <= ?"
_ROWS_OF = (
    "SELECT place - ?, at, id, type, key, priority, text FROM messages WHERE place > ? AND place <= ? "
    "AND EXISTS (SELECT 1 FROM json_each(?) WHERE messages.type GLOB value)"
)


def append(name: str, messages: Sequence[Message], retention: Retention, transaction: LogTransaction) -> list[Appended]:
    """Add messages, all or none.

    Raises:
        TopicFull: there is no room, and none is made.
    """
    topic = transaction.topic(name)
    known = {} if topic is None else _known(transaction, topic, messages)
    new, answers = _sorted_out(messages, known, 0 if topic is None else topic.last)
    if not new:
        return answers
    if topic is None:
        _check_fits(name, len(new), retention)
        topic = transaction.begin_topic(name)
        _keep_as(topic, retention)
    else:
        _make_room(transaction, topic, len(new), retention)
    _write(transaction, topic, new, micros(retention.dedup_s))
    if retention.when_full == "drop_oldest" and retention.max_messages is not None:
        trim(transaction, topic, topic.kept - retention.max_messages)
    remove_dropped(transaction, topic, 2 * len(new))
    return answers


def read(name: str, after: int, limit: int, types: tuple[str, ...], transaction: LogTransaction) -> Reading:
    """Messages from behind a position on, at most `limit`."""
    topic = transaction.topic(name)
    if topic is None:
        return Reading((), position_of(after), 0, is_all=True)
    after = topic.known(after)
    begin = max(after, topic.first - 1)
    end = min(topic.last, begin + SCANNED)
    found: list[Row] = []
    size = 0
    for row in rows(transaction, topic, begin, end, types):
        found.append(row)
        size += len(row[-1])
        if len(found) == limit or size >= TEXT_CHARS:
            end = row[0]
            break
    end = max(end, after)
    # A reader that begins before the first message begins with what is there: it has lost nothing.
    lost = end - after - count_between(transaction, topic, after, end) if after else 0
    return Reading(tuple(map(logged, found)), position_of(end), lost, end >= topic.last)


def locate(name: str, at: int | None, transaction: LogTransaction) -> Position:
    """The position behind which lies what was appended at `at` or later; of None, the end."""
    topic = transaction.topic(name)
    if topic is None:
        return ""
    return position_of(topic.last if at is None else first_since(transaction, topic, at) - 1)


def topics(transaction: LogTransaction) -> list[TopicStatus]:
    """All topics, by name."""
    return [
        TopicStatus(
            topic.name,
            topic.kept,
            topic.last,
            position_of(topic.first) if topic.kept else "",
            position_of(topic.last) if topic.kept else "",
        )
        for topic in transaction.topics()
    ]


def drop_topic(name: str, transaction: LogTransaction) -> bool:
    """Let nobody find a topic any more; whether there was one."""
    topic = transaction.topic(name)
    if topic is not None:
        transaction.forget_topic(topic)
    return topic is not None


def rows(transaction: LogTransaction, topic: Topic, after: int, until: int, types: tuple[str, ...]) -> Iterator[Row]:
    """Messages from behind `after` up to `until`, of these types, in order."""
    return transaction.connection.execute(
        (_ROWS_OF if types else _ROWS) + " ORDER BY place",
        (
            topic.base,
            # What was dropped may not be removed yet.
            topic.base + max(after, topic.first - 1),
            topic.base + until,
            *([json.dumps([_glob(pattern) for pattern in types])] if types else ()),
        ),
    )


def _glob(pattern: str) -> str:
    """SQLite's form of a pattern: all but `*` stands for itself."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


def position_of(number: int) -> Position:
    """How a number is told: 0 is before the first message."""
    return str(number) if number else ""


def _check_fits(name: str, count: int, retention: Retention) -> None:
    if retention.when_full == "refuse" and retention.max_messages is not None and count > retention.max_messages:
        raise full(name, retention.max_messages)


def _make_room(transaction: LogTransaction, topic: Topic, count: int, retention: Retention) -> None:
    """Drop what is too old, and, where new ones are refused, what every group is done with.

    Raises:
        TopicFull: that is not enough; nothing was changed.
    """
    first, aged = age(transaction, topic, transaction.now(), _micros(retention.max_age_s))
    done: list[int] = []
    if retention.when_full == "refuse" and retention.max_messages is not None:
        over = topic.kept - aged + count - retention.max_messages
        done = done_with_by_all(transaction, topic, first, over)
        if len(done) < over:
            raise full(topic.name, retention.max_messages)
    _keep_as(topic, retention)
    if aged:
        drop(transaction, topic, first, aged)
    remove(transaction, topic, done)


def _keep_as(topic: Topic, retention: Retention) -> None:
    topic.max_age = _micros(retention.max_age_s)
    topic.idle = _micros(retention.idle_s)


def _micros(seconds: float | None) -> int | None:
    return None if seconds is None else micros(seconds)


def _known(transaction: LogTransaction, topic: Topic, messages: Sequence[Message]) -> dict[str, int]:
    """The positions of those that the topic remembers, by id."""
    now = transaction.now()
    ids = json.dumps([message.id for message in messages])
    known: dict[str, int] = dict(
        transaction.connection.execute(
            "SELECT id, position FROM remembered "
            "WHERE topic = ? AND until > ? AND id IN (SELECT value FROM json_each(?))",
            (topic.number, now, ids),
        )
    )
    known.update(
        transaction.connection.execute(
            # By the index of ids, whatever is known of how they are spread.
            "SELECT id, max(place) - ? FROM messages INDEXED BY message_ids "
            "WHERE id IN (SELECT value FROM json_each(?)) AND place > ? AND place <= ? AND until > ? GROUP BY id",
            (topic.base, ids, topic.base, topic.base + topic.last, now),
        )
    )
    return known


def _sorted_out(
    messages: Sequence[Message], known: dict[str, int], last: int
) -> tuple[list[tuple[int, Message]], list[Appended]]:
    """Those that are new, with their positions; and where each of all lies."""
    new: list[tuple[int, Message]] = []
    answers = []
    for message in messages:
        position = known.get(message.id)
        if position is None:
            known[message.id] = last = last + 1
            new.append((last, message))
        answers.append(Appended(str(last if position is None else position), position is not None))
    return new, answers


def _write(transaction: LogTransaction, topic: Topic, new: Sequence[tuple[int, Message]], dedup: int) -> None:
    topic.at = max(topic.at, transaction.now())
    base, at, until = topic.base, topic.at, topic.at + dedup
    transaction.connection.executemany(
        "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(base + place, at, until, one.id, one.type, one.key, one.priority, one.text) for place, one in new],
    )
    topic.last += len(new)
    topic.kept += len(new)
    transaction.changed(topic)
    transaction.wrote(len(new), sum(len(one.text) for _, one in new))
    transaction.tell(topic)
