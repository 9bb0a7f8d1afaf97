"""What a topic of a SQLite file drops; its groups keep copies of what they are not done with."""

from __future__ import annotations

import json
from collections.abc import Sequence

from coterie.stores.log_sqlite_transaction import Group, LogTransaction, Topic

__all__ = ["age", "count_between", "done_with_by_all", "drop", "first_since", "remove", "remove_dropped", "trim"]

# So many that were dropped are removed with each append, at least.
_REMOVED_ROWS = 500
_REMEMBER_BETWEEN = (
    "INSERT OR REPLACE INTO remembered SELECT ?, id, place - ?, until FROM messages WHERE until > ? "
    "AND place BETWEEN ? AND ?"
)
_REMEMBER_THESE = (
    "INSERT OR REPLACE INTO remembered SELECT ?, id, place - ?, until FROM messages WHERE until > ? "
    "AND place IN (SELECT value FROM json_each(?))"
)


def age(transaction: LogTransaction, topic: Topic, now: int, max_age: int | None) -> tuple[int, int]:
    """The position of the first message that is not too old, and how many are."""
    if max_age is None or topic.kept == 0:
        return topic.first, 0
    first = first_since(transaction, topic, now - max_age)
    return first, count_between(transaction, topic, topic.first - 1, first - 1)


def trim(transaction: LogTransaction, topic: Topic, over: int) -> None:
    """Drop the oldest so many."""
    if over > 0:
        drop(transaction, topic, _nth(transaction, topic, over), over)


def drop(transaction: LogTransaction, topic: Topic, first: int, dropped: int) -> None:
    """Drop what lies before a position: so many messages."""
    for group in transaction.groups(topic).values():
        _keep_pending(transaction, topic, group, first)
        if group.position < first - 1:
            group.lost += count_between(transaction, topic, max(group.position, topic.first - 1), first - 1)
            transaction.changed(group)
    topic.first = first
    topic.kept -= dropped
    # What comes first now may lie behind a gap.
    topic.first = _nth(transaction, topic, 0)
    transaction.changed(topic)


def done_with_by_all(transaction: LogTransaction, topic: Topic, first: int, wanted: int) -> list[int]:
    """The positions, from `first` on, of the oldest that every group is done with; at most so many."""
    groups = transaction.groups(topic).values()
    if not groups or wanted <= 0:
        return []
    rows = transaction.connection.execute(
        "SELECT place - ? FROM messages WHERE place >= ? AND place <= ? AND NOT EXISTS "
        "(SELECT 1 FROM groups JOIN pending ON grp = groups.number "
        "WHERE groups.topic = ? AND pending.position = place - ?) ORDER BY place LIMIT ?",
        (
            topic.base,
            topic.base + first,
            topic.base + min(group.position for group in groups),
            topic.number,
            topic.base,
            wanted,
        ),
    )
    return [position for (position,) in rows]


def remove(transaction: LogTransaction, topic: Topic, positions: Sequence[int]) -> None:
    """Remove messages that every group is done with."""
    if not positions:
        return
    places = json.dumps([topic.base + position for position in positions])
    connection = transaction.connection
    connection.execute(_REMEMBER_THESE, (topic.number, topic.base, transaction.now(), places))
    connection.execute("DELETE FROM messages WHERE place IN (SELECT value FROM json_each(?))", (places,))
    topic.kept -= len(positions)
    before, topic.first = topic.first, _nth(transaction, topic, 0)
    if topic.gone == before - 1:
        topic.gone = topic.first - 1
    transaction.changed(topic)
    transaction.wrote(len(positions))


def remove_dropped(transaction: LogTransaction, topic: Topic, most: int) -> None:
    """Remove some of what was dropped, but remember ids."""
    until = min(topic.first - 1, topic.gone + max(most, _REMOVED_ROWS))
    if topic.gone >= until:
        return
    bounds = (topic.base + topic.gone + 1, topic.base + until)
    transaction.connection.execute(_REMEMBER_BETWEEN, (topic.number, topic.base, transaction.now(), *bounds))
    transaction.connection.execute("DELETE FROM messages WHERE place BETWEEN ? AND ?", bounds)
    transaction.wrote(until - topic.gone)
    topic.gone = until
    transaction.changed(topic)


def first_since(transaction: LogTransaction, topic: Topic, at: int) -> int:
    """The position of the first message that was appended at `at` or later; behind the last one, if there is none."""
    low, high = topic.first, topic.last + 1
    if low < high and _at(transaction, topic, low) >= at:
        return low
    while low < high:
        middle = (low + high) // 2
        if _at(transaction, topic, middle) >= at:
            high = middle
        else:
            low = middle + 1
    return low


def count_between(transaction: LogTransaction, topic: Topic, after: int, until: int) -> int:
    """How many messages are kept behind `after` and up to `until`."""
    low, high = max(after, topic.first - 1), min(until, topic.last)
    if low >= high:
        return 0
    if topic.is_dense:
        return high - low
    return transaction.count(
        "SELECT count(*) FROM messages WHERE place > ? AND place <= ?", (topic.base + low, topic.base + high)
    )


def _keep_pending(transaction: LogTransaction, topic: Topic, group: Group, first: int) -> None:
    """Copy what is to be dropped and the group is not done with."""
    rows = transaction.connection.execute(
        "SELECT position FROM pending WHERE grp = ? AND position >= ? AND position < ? AND copied = 0",
        (group.number, topic.first, first),
    )
    kept = [(group.number, position, topic.base + position) for (position,) in rows]
    if kept:
        transaction.connection.executemany(
            "INSERT OR REPLACE INTO copies SELECT ?, ?, at, id, type, key, priority, text "
            "FROM messages WHERE place = ?",
            kept,
        )
        transaction.connection.executemany(
            "UPDATE pending SET copied = 1 WHERE grp = ? AND position = ?", [one[:2] for one in kept]
        )
        transaction.wrote(2 * len(kept))


def _nth(transaction: LogTransaction, topic: Topic, index: int) -> int:
    """The position of the message before which so many are kept; behind the last one, if there is none."""
    if topic.is_dense:
        return topic.first + index
    row = transaction.one(
        "SELECT place FROM messages WHERE place >= ? AND place <= ? ORDER BY place LIMIT 1 OFFSET ?",
        (topic.base + topic.first, topic.base + topic.last, index),
    )
    return topic.last + 1 if row is None else row[0] - topic.base


def _at(transaction: LogTransaction, topic: Topic, position: int) -> int:
    """When the first message from this position on was appended."""
    row = transaction.one(
        "SELECT at FROM messages WHERE place >= ? AND place <= ? ORDER BY place LIMIT 1",
        (topic.base + position, topic.base + topic.last),
    )
    return 2**62 if row is None else row[0]
