"""The dead letters of a group in a SQLite file."""

from __future__ import annotations

import json
from collections.abc import Sequence

from coterie._rules.log import DeadPage, Delivery, Position
from coterie.stores.log_sqlite_groups import Who, found_group
from coterie.stores.log_sqlite_keys import stand_back
from coterie.stores.log_sqlite_ranks import rank_in
from coterie.stores.log_sqlite_topics import TEXT_CHARS
from coterie.stores.log_sqlite_transaction import BEHIND, READY, Group, LogTransaction, failures_in, logged

__all__ = ["dead_letters", "discard", "requeue"]

_LETTERS = (
    "SELECT position, at, id, type, key, priority, text, number, failures "
    "FROM dead JOIN copies USING (grp, position) WHERE grp = ? AND position > ? ORDER BY position LIMIT ?"
)


def dead_letters(who: Who, limit: int, after: int, transaction: LogTransaction) -> DeadPage:
    """Dead letters, in the order of the log. The cursor is the position of the last one."""
    found = found_group(who, transaction)
    if found is None:
        return DeadPage((), None)
    letters: list[Delivery] = []
    size = 0
    for row in transaction.connection.execute(_LETTERS, (found[1].number, after, limit + 1)):
        if len(letters) == limit or size >= TEXT_CHARS:
            return DeadPage(tuple(letters), letters[-1].logged.position)
        letters.append(Delivery(logged(row[:7]), row[7], failures_in(row[8])))
        size += len(row[6])
    return DeadPage(tuple(letters), None)


def requeue(who: Who, positions: Sequence[int], transaction: LogTransaction) -> list[Position]:
    """Have dead letters delivered again; answers those that were there."""
    found = found_group(who, transaction)
    if found is None:
        return []
    topic, group = found
    there = _there(transaction, group, positions)
    for position in there:
        at, key, priority, failures = transaction.connection.execute(
            "SELECT at, key, priority, failures FROM dead JOIN copies USING (grp, position) "
            "WHERE grp = ? AND position = ?",
            (group.number, position),
        ).fetchone()
        rank = rank_in(group, priority, at)
        is_first = stand_back(transaction, group, key, position)
        transaction.connection.execute(
            "INSERT INTO pending (grp, position, state, rank, due, number, copied, consumer, key, failures) "
            "VALUES (?, ?, ?, ?, 0, 0, 1, '', ?, ?)",
            (group.number, position, READY if is_first else BEHIND, rank, key, failures),
        )
        transaction.wrote(2)
    _forget(transaction, group, there)
    group.waiting += len(there)
    transaction.changed(group)
    if there:
        transaction.tell(topic)
    return [str(position) for position in there]


def discard(who: Who, positions: Sequence[int], transaction: LogTransaction) -> list[Position]:
    """Remove dead letters; answers those that were there."""
    found = found_group(who, transaction)
    if found is None:
        return []
    there = _there(transaction, found[1], positions)
    _forget(transaction, found[1], there)
    transaction.connection.executemany(
        "DELETE FROM copies WHERE grp = ? AND position = ?", [(found[1].number, position) for position in there]
    )
    return [str(position) for position in there]


def _there(transaction: LogTransaction, group: Group, positions: Sequence[int]) -> list[int]:
    rows = transaction.connection.execute(
        "SELECT position FROM dead WHERE grp = ? AND position IN (SELECT value FROM json_each(?))",
        (group.number, json.dumps(positions)),
    )
    there = {position for (position,) in rows}
    return [position for position in positions if position in there]


def _forget(transaction: LogTransaction, group: Group, positions: Sequence[int]) -> None:
    transaction.connection.executemany(
        "DELETE FROM dead WHERE grp = ? AND position = ?", [(group.number, position) for position in positions]
    )
    transaction.wrote(len(positions))
