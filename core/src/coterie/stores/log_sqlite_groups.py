"""The groups of a topic in a SQLite file, and their consumers: who is there, what they hold, and give back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coterie._rules.log import ConsumerStatus, Delivery, Failure, GroupStatus, Position, Terms
from coterie.stores.log_sqlite_pending import bury, done_with, held_by, not_among, release
from coterie.stores.log_sqlite_retention import count_between
from coterie.stores.log_sqlite_topics import position_of
from coterie.stores.log_sqlite_transaction import Group, LogTransaction, Topic
from coterie.stores.logs import DIED, check_number, not_heard_of

__all__ = [
    "Who",
    "acknowledge",
    "beat",
    "drop_group",
    "end_silent",
    "found_group",
    "give_back",
    "group_of",
    "groups",
    "hear_of",
    "leave",
]


@dataclass(frozen=True, slots=True)
class Who:
    """A consumer, of a group, of a topic. Where no consumer is meant, it is ""."""

    topic: str
    group: str
    consumer: str = ""


def found_group(who: Who, transaction: LogTransaction) -> tuple[Topic, Group] | None:
    """A group with its topic, or None if there is none."""
    topic = transaction.topic(who.topic)
    group = None if topic is None else transaction.groups(topic).get(who.group)
    return None if topic is None or group is None else (topic, group)


def group_of(transaction: LogTransaction, topic: Topic, name: str, terms: Terms) -> Group:
    """The group of this name, begun if need be."""
    found = transaction.groups(topic).get(name)
    if found is not None:
        return found
    if terms.begin == "end":
        return transaction.begin_group(topic, name, topic.last, 0)
    begin = 0 if terms.begin == "begin" else topic.known(check_number(terms.begin))
    if begin == 0:
        return transaction.begin_group(topic, name, topic.first - 1, 0)
    kept = count_between(transaction, topic, begin, topic.last)
    return transaction.begin_group(topic, name, begin, max(0, topic.last - begin) - kept)


def acknowledge(who: Who, positions: Sequence[int], transaction: LogTransaction) -> list[Position]:
    """Be done with messages; answers those that the consumer did not hold."""
    found = found_group(who, transaction)
    if found is None:
        return [str(position) for position in positions]
    topic, group = found
    held = held_by(transaction, group, who.consumer, positions)
    if done_with(transaction, group, held, transaction.now()):
        transaction.tell(topic)
    return not_among(held, positions)


def give_back(
    who: Who,
    position: int,
    transaction: LogTransaction,
    *,
    delay: int,
    reason: str | None,
    max_deliveries: int | None,
) -> Delivery | None:
    """Have a message delivered again, or make it a dead letter, which is the answer."""
    found = found_group(who, transaction)
    if found is None:
        return None
    topic, group = found
    now = transaction.now()
    failure = None if reason is None else Failure(now, who.consumer, reason)
    for entry in held_by(transaction, group, who.consumer, [position]):
        transaction.tell(topic)
        if max_deliveries is not None and entry.number - (failure is None) >= max_deliveries:
            return bury(transaction, topic, group, [entry], now, failure=failure)[0]
        release(transaction, group, [entry], now, failure=failure, due=now + delay)
    return None


def beat(who: Who, lease: int, transaction: LogTransaction) -> bool:
    """Be heard of; False: the consumer is not known any more."""
    found = found_group(who, transaction)
    if found is None:
        return False
    known = transaction.one("SELECT until FROM consumers WHERE grp = ? AND name = ?", (found[1].number, who.consumer))
    if known is not None:
        hear_of(transaction, found[1], who.consumer, transaction.now(), lease)
    return known is not None


def leave(who: Who, transaction: LogTransaction, *, died: bool) -> int:
    """End a consumer; answers how much it held."""
    found = found_group(who, transaction)
    if found is None:
        return 0
    topic, group = found
    now = transaction.now()
    held = held_by(transaction, group, who.consumer)
    _end(transaction, group, who.consumer)
    release(transaction, group, held, now, failure=Failure(now, who.consumer, DIED) if died else None)
    if held:
        transaction.tell(topic)
    return len(held)


def hear_of(transaction: LogTransaction, group: Group, consumer: str, now: int, lease: int) -> None:
    """Count on a consumer until its lease ends."""
    transaction.connection.execute(
        "INSERT INTO consumers VALUES (?, ?, ?, ?) "
        "ON CONFLICT (grp, name) DO UPDATE SET until = excluded.until, lease = excluded.lease",
        (group.number, consumer, now + lease, lease),
    )
    transaction.wrote(1)


def end_silent(
    transaction: LogTransaction, topic: Topic, group: Group, now: int, max_deliveries: int, *, but: str
) -> tuple[list[Delivery], bool]:
    """End those whose leases have ended. Answers what was delivered too often, and whether any held anything."""
    silent = transaction.connection.execute(
        "SELECT name, lease FROM consumers WHERE grp = ? AND until <= ? AND name <> ?", (group.number, now, but)
    ).fetchall()
    dead: list[Delivery] = []
    freed = False
    for consumer, lease in silent:
        failure = Failure(now, consumer, not_heard_of(lease))
        held = held_by(transaction, group, consumer)
        _end(transaction, group, consumer)
        worn = [entry for entry in held if entry.number >= max_deliveries]
        dead += bury(transaction, topic, group, worn, now, failure=failure)
        release(transaction, group, (entry for entry in held if entry.number < max_deliveries), now, failure=failure)
        freed = freed or bool(held)
    return dead, freed


def groups(name: str, transaction: LogTransaction) -> list[GroupStatus]:
    """The groups of a topic, by name."""
    topic = transaction.topic(name)
    if topic is None:
        return []
    return [_status(transaction, topic, group) for _, group in sorted(transaction.groups(topic).items())]


def drop_group(who: Who, transaction: LogTransaction) -> bool:
    """Let nobody find a group any more; whether there was one."""
    found = found_group(who, transaction)
    if found is not None:
        transaction.forget_group(*found)
    return found is not None


def _end(transaction: LogTransaction, group: Group, consumer: str) -> None:
    transaction.connection.execute("DELETE FROM consumers WHERE grp = ? AND name = ?", (group.number, consumer))
    transaction.wrote(1)


def _status(transaction: LogTransaction, topic: Topic, group: Group) -> GroupStatus:
    number = (group.number,)
    consumers = transaction.connection.execute(
        "SELECT name, (SELECT count(*) FROM pending INDEXED BY holding "
        "WHERE grp = ? AND consumer = consumers.name AND state = 0), until "
        "FROM consumers WHERE grp = ? ORDER BY name",
        number * 2,
    )
    return GroupStatus(
        group.name,
        position_of(group.position),
        unread=count_between(transaction, topic, group.position, topic.last),
        held=transaction.count("SELECT count(*) FROM pending INDEXED BY holding WHERE grp = ? AND state = 0", number),
        waiting=group.waiting,
        dead=transaction.count("SELECT count(*) FROM dead WHERE grp = ?", number),
        consumers=tuple(ConsumerStatus(*row) for row in consumers),
    )
