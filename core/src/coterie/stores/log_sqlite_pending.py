"""What a group of a SQLite file has read past and is not done with: held, given back, given up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coterie._rules.log import Delivery, Failure, Position
from coterie.errors import StateFormatError
from coterie.stores.log_sqlite_keys import open_keys, place_at, put_behind
from coterie.stores.log_sqlite_transaction import (
    HELD,
    Group,
    LogTransaction,
    Row,
    Topic,
    failures_in,
    logged,
    text_of,
)

__all__ = ["Entry", "New", "bury", "done_with", "held_by", "message_of", "not_among", "put", "release"]

_HELD = (
    "SELECT position, number, copied, key, failures FROM pending INDEXED BY holding "
    "WHERE grp = ? AND consumer = ? AND state = 0"
)
_HELD_OF = (
    "SELECT position, number, copied, key, failures FROM pending WHERE grp = ? AND consumer = ? AND state = 0 "
    "AND position IN (SELECT value FROM json_each(?))"
)
_PUT = (
    "INSERT INTO pending (grp, position, state, rank, due, number, copied, consumer, key, failures) "
    "VALUES (?, ?, ?, ?, 0, ?, 0, ?, ?, '')"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One that is pending; see the tables."""

    position: int
    number: int
    copied: int
    key: str
    failures: str


@dataclass(frozen=True, slots=True)
class New:
    """One that a group has got to now. consumer: who holds it; "" where nobody does."""

    position: int
    state: int
    key: str
    rank: int = 0
    consumer: str = ""


def put(transaction: LogTransaction, group: Group, entries: Sequence[New]) -> None:
    """Write these down."""
    if not entries:
        return
    number = group.number
    transaction.connection.executemany(
        _PUT,
        [
            (
                number,
                one.position,
                one.state,
                one.rank,
                1 if one.consumer else 0,
                one.consumer,
                one.key,
            )
            for one in entries
        ],
    )
    group.waiting += sum(one.state != HELD for one in entries)
    transaction.changed(group)
    transaction.wrote(len(entries))


def held_by(
    transaction: LogTransaction, group: Group, consumer: str, positions: Sequence[int] | None = None
) -> list[Entry]:
    """What a consumer holds, in order; of these positions, or all."""
    rows = transaction.connection.execute(
        (_HELD if positions is None else _HELD_OF) + " ORDER BY position",
        (group.number, consumer, *(() if positions is None else (json.dumps(positions),))),
    )
    return [Entry(*row) for row in rows]


def not_among(held: Sequence[Entry], positions: Sequence[int]) -> list[Position]:
    """Those of these positions that are none of what is held."""
    mine = {entry.position for entry in held}
    return [str(position) for position in positions if position not in mine]


def done_with(transaction: LogTransaction, group: Group, entries: Sequence[Entry], now: int) -> bool:
    """Be done with these; whether that lets others of their keys be delivered."""
    _remove(transaction, group, entries)
    copied = [(group.number, entry.position) for entry in entries if entry.copied]
    if copied:
        transaction.connection.executemany("DELETE FROM copies WHERE grp = ? AND position = ?", copied)
    return open_keys(transaction, group, _keys(entries), now)


def release(
    transaction: LogTransaction,
    group: Group,
    entries: Iterable[Entry],
    now: int,
    *,
    failure: Failure | None = None,
    due: int = 0,
) -> None:
    """Have these delivered again, `due` at the earliest. Without a failure, their delivery does not count."""
    for entry in entries:
        group.waiting += 1
        failures = entry.failures if failure is None else text_of((*failures_in(entry.failures), failure))
        transaction.connection.execute(
            "UPDATE pending SET number = ?, failures = ?, due = ? WHERE grp = ? AND position = ?",
            (entry.number - (failure is None), failures, due, group.number, entry.position),
        )
        if entry.key:
            # One that was requeued meanwhile may be before it.
            put_behind(transaction, group, entry.position)
            open_keys(transaction, group, (entry.key,), now)
        else:
            place_at(transaction, group, entry.position, now)
    transaction.changed(group)


def bury(
    transaction: LogTransaction,
    topic: Topic,
    group: Group,
    entries: Sequence[Entry],
    now: int,
    *,
    failure: Failure | None = None,
) -> list[Delivery]:
    """Make these dead letters. failure: the last one of each."""
    letters = [_bury(transaction, topic, group, entry, failure) for entry in entries]
    _remove(transaction, group, entries)
    open_keys(transaction, group, _keys(entries), now)
    return letters


def message_of(transaction: LogTransaction, topic: Topic, group: Group, entry: Entry) -> Row:
    """The message of one that is pending.

    Raises:
        StateFormatError: it is not there.
    """
    if entry.copied:
        found = transaction.connection.execute(
            "SELECT position, at, id, type, key, priority, text FROM copies WHERE grp = ? AND position = ?",
            (group.number, entry.position),
        )
    else:
        found = transaction.connection.execute(
            "SELECT place - ?, at, id, type, key, priority, text FROM messages WHERE place = ?",
            (topic.base, topic.base + entry.position),
        )
    row: Row | None = found.fetchone()
    if row is None:
        raise StateFormatError(
            f"the topic {topic.name!r} has no message at {entry.position}, which its group {group.name!r} is not done "
            "with: the database was changed by somebody else; drop the group, and replay what is kept"
        )
    return row


def _bury(transaction: LogTransaction, topic: Topic, group: Group, entry: Entry, failure: Failure | None) -> Delivery:
    row = message_of(transaction, topic, group, entry)
    failures = (*failures_in(entry.failures), *(() if failure is None else (failure,)))
    if not entry.copied:
        transaction.connection.execute(
            "INSERT OR REPLACE INTO copies VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (group.number, *row)
        )
    transaction.connection.execute(
        "INSERT INTO dead (grp, position, number, failures) VALUES (?, ?, ?, ?)",
        (group.number, entry.position, entry.number, text_of(failures)),
    )
    transaction.wrote(2, len(row[-1]))
    return Delivery(logged(row), entry.number, failures)


def _remove(transaction: LogTransaction, group: Group, entries: Sequence[Entry]) -> None:
    transaction.connection.executemany(
        "DELETE FROM pending WHERE grp = ? AND position = ?", [(group.number, entry.position) for entry in entries]
    )
    transaction.wrote(len(entries))


def _keys(entries: Iterable[Entry]) -> dict[str, None]:
    return {entry.key: None for entry in entries if entry.key}
