"""The order of one key in a group: one message of it stands in front, held or to be delivered, the others behind it."""

from __future__ import annotations

from collections.abc import Iterable

from coterie.stores.log_sqlite_transaction import HELD, Group, LogTransaction

__all__ = ["is_closed", "open_keys", "place_at", "stand_back"]


def is_closed(transaction: LogTransaction, group: Group, key: str) -> bool:
    """Whether one of this key stands in front."""
    return bool(key) and _front(transaction, group, key) is not None


def open_keys(transaction: LogTransaction, group: Group, keys: Iterable[str], now: int) -> bool:
    """Have the first of each of these keys, of which none stands in front, stand there; whether there is any."""
    opened = False
    for key in keys:
        row = transaction.one(
            "SELECT position FROM pending INDEXED BY behind WHERE grp = ? AND key = ? AND state = 3 "
            "ORDER BY position LIMIT 1",
            (group.number, key),
        )
        if row is not None:
            place_at(transaction, group, row[0], now)
            opened = True
    return opened


def stand_back(transaction: LogTransaction, group: Group, key: str, position: int) -> bool:
    """Make room in front for a message of this position; False: one that is held stands there, or an earlier one."""
    front = _front(transaction, group, key) if key else None
    if front is None:
        return True
    other, state = front
    if state == HELD or other < position:
        return False
    put_behind(transaction, group, other)
    return True


def place_at(transaction: LogTransaction, group: Group, position: int, now: int) -> None:
    """Have one that nobody holds be delivered, as soon as it is due."""
    transaction.connection.execute(
        "UPDATE pending SET state = CASE WHEN due <= ? THEN 1 ELSE 2 END, consumer = '' WHERE grp = ? AND position = ?",
        (now, group.number, position),
    )
    transaction.wrote(1)


def put_behind(transaction: LogTransaction, group: Group, position: int) -> None:
    """Have one wait until those of its key before it are done."""
    transaction.connection.execute(
        "UPDATE pending SET state = 3, consumer = '' WHERE grp = ? AND position = ?", (group.number, position)
    )
    transaction.wrote(1)


def _front(transaction: LogTransaction, group: Group, key: str) -> tuple[int, ...] | None:
    return transaction.one(
        "SELECT position, state FROM pending WHERE grp = ? AND key = ? AND key <> '' AND state < 3", (group.number, key)
    )
