"""What is removed from a SQLite file of topics when nobody waits for it."""

from __future__ import annotations

from coterie.stores.log_sqlite_retention import age, drop, remove_dropped
from coterie.stores.log_sqlite_transaction import LogTransaction, Topic

__all__ = ["clear", "sweep"]

# So many rows are removed at a time, and so many topics looked at.
_ROWS = 2000
_TOPICS = 50
_OF_A_GROUP = (
    "DELETE FROM pending WHERE grp = ? AND position IN (SELECT position FROM pending WHERE grp = ? LIMIT ?)",
    "DELETE FROM copies WHERE grp = ? AND position IN (SELECT position FROM copies WHERE grp = ? LIMIT ?)",
    "DELETE FROM dead WHERE grp = ? AND position IN (SELECT position FROM dead WHERE grp = ? LIMIT ?)",
    "DELETE FROM consumers WHERE grp = ? AND name IN (SELECT name FROM consumers WHERE grp = ? LIMIT ?)",
)


def sweep(transaction: LogTransaction) -> None:
    """Remove some of what is idle, too old, or forgotten, of all namespaces, and go on with what was being removed."""
    for topic in transaction.idle_topics(_TOPICS):
        transaction.forget_topic(topic)
    for topic in transaction.aged_topics(_TOPICS):
        first, aged = age(transaction, topic, transaction.now(), topic.max_age)
        drop(transaction, topic, first, aged)
    transaction.flush()
    for topic in transaction.lagging_topics(_TOPICS):
        remove_dropped(transaction, topic, _ROWS)
    forgotten = transaction.connection.execute(
        "SELECT topic, id FROM remembered WHERE until <= ? LIMIT ?", (transaction.now(), _ROWS)
    ).fetchall()
    transaction.connection.executemany("DELETE FROM remembered WHERE topic = ? AND id = ?", forgotten)
    while clear(transaction) and not transaction.is_full():
        pass


def clear(transaction: LogTransaction) -> bool:
    """Remove some of what belonged to dropped topics and groups; whether any is left."""
    row = transaction.one("SELECT number FROM removed_topics LIMIT 1", ())
    if row is not None:
        return _clear_topic(transaction, row[0])
    row = transaction.one("SELECT number FROM removed_groups LIMIT 1", ())
    return row is not None and _clear_group(transaction, row[0])


def _clear_topic(transaction: LogTransaction, number: int) -> bool:
    base = Topic.base_of(number)
    connection = transaction.connection
    removed = connection.execute(
        "DELETE FROM messages WHERE place IN (SELECT place FROM messages WHERE place > ? AND place < ? LIMIT ?)",
        (base, Topic.base_of(number + 1), _ROWS),
    ).rowcount
    removed += connection.execute(
        "DELETE FROM remembered WHERE topic = ? AND id IN (SELECT id FROM remembered WHERE topic = ? LIMIT ?)",
        (number, number, _ROWS),
    ).rowcount
    transaction.wrote(removed + 1)
    if not removed:
        connection.execute("DELETE FROM removed_topics WHERE number = ?", (number,))
    return True


def _clear_group(transaction: LogTransaction, number: int) -> bool:
    connection = transaction.connection
    removed = 0
    for statement in _OF_A_GROUP:
        removed += connection.execute(statement, (number, number, _ROWS)).rowcount
    transaction.wrote(removed + 1)
    if not removed:
        connection.execute("DELETE FROM removed_groups WHERE number = ?", (number,))
    return True
