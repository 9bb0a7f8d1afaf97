"""How a consumer of a group in a SQLite file comes by messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from coterie._rules.log import Delivery, Taken, Terms
from coterie._rules.timeline import SECOND, micros
from coterie.stores.log_sqlite_groups import Who, end_silent, group_of, hear_of
from coterie.stores.log_sqlite_keys import is_closed
from coterie.stores.log_sqlite_pending import Entry, New, bury, done_with, held_by, message_of, not_among, put
from coterie.stores.log_sqlite_ranks import arrange, rank_in
from coterie.stores.log_sqlite_topics import SCANNED, TEXT_CHARS, rows
from coterie.stores.log_sqlite_transaction import (
    BEHIND,
    HELD,
    READY,
    Group,
    LogTransaction,
    Row,
    Topic,
    failures_in,
    logged,
)
from coterie.stores.logs import MAX_PENDING

__all__ = ["take"]


def take(who: Who, terms: Terms, limit: int, done: Sequence[int], transaction: LogTransaction) -> Taken:
    """Acknowledge what is done, be heard of, and take at most `limit` more messages."""
    now, consumer = transaction.now(), who.consumer
    topic = transaction.topic(who.topic) or transaction.begin_topic(who.topic)
    group = group_of(transaction, topic, who.group, terms)
    held = held_by(transaction, group, consumer, done) if done else []
    is_freed = bool(held) and done_with(transaction, group, held, now)
    dead, is_ended = end_silent(transaction, topic, group, now, terms.max_deliveries, but=consumer)
    hear_of(transaction, group, consumer, now, micros(terms.lease_s))
    arrange(transaction, topic, group, terms)
    taking = _Taking(transaction, topic, group, consumer=consumer, terms=terms, limit=limit, now=now)
    taking.run()
    if (is_freed or is_ended) and taking.is_left():
        transaction.tell(topic)
    lost, group.lost = group.lost, 0
    if lost:
        transaction.changed(group)
    return Taken(
        tuple(taking.deliveries),
        tuple(sorted([*dead, *taking.dead], key=lambda letter: int(letter.logged.position))),
        lost,
        tuple(not_among(held, done)),
        taking.due_s(),
    )


class _Taking:
    """One consumer's share: first what is ready of what was read, then what is new."""

    def __init__(
        self,
        transaction: LogTransaction,
        topic: Topic,
        group: Group,
        *,
        consumer: str,
        terms: Terms,
        limit: int,
        now: int,
    ) -> None:
        self._transaction = transaction
        self._topic = topic
        self._group = group
        self._consumer = consumer
        self._terms = terms
        self._limit = limit
        self._now = now
        self._chars = 0
        self._is_cut_short = False
        self.deliveries: list[Delivery] = []
        self.dead: list[Delivery] = []

    def run(self) -> None:
        """Take."""
        self._transaction.connection.execute(
            "UPDATE pending INDEXED BY later SET state = 1 "
            "WHERE grp = ? AND due <= ? AND due > 0 AND state > 1 AND state = 2",
            (self._group.number, self._now),
        )
        if self._limit and self._terms.by_priority:
            self._read_in()
            self._take_ready()
        elif self._limit:
            self._take_ready()
            self._take_new()

    def is_left(self) -> bool:
        """Whether somebody else could be given anything that the group has read past, at once or when it is due."""
        return self._is_ready() or self._first_due() is not None

    def due_s(self) -> float | None:
        """When there may be more without any new message."""
        if self._is_cut_short or self._is_ready() or self._has_new():
            return 0.0
        first_lease = self._transaction.one(
            "SELECT until FROM consumers WHERE grp = ? AND name <> ? AND EXISTS "
            "(SELECT 1 FROM pending INDEXED BY holding WHERE grp = ? AND consumer = consumers.name AND state = 0) "
            "ORDER BY until LIMIT 1",
            (self._group.number, self._consumer, self._group.number),
        )
        instants = [row[0] for row in (self._first_due(), first_lease) if row is not None]
        return max(0, min(instants) - self._now) / SECOND if instants else None

    # What was read before

    def _take_ready(self) -> None:
        while not self._is_cut_short and (room := self._limit - len(self.deliveries)):
            found = self._transaction.connection.execute(
                "SELECT position, number, copied, key, failures FROM pending INDEXED BY ready "
                "WHERE grp = ? AND state = 1 ORDER BY rank, position LIMIT ?",
                (self._group.number, room),
            ).fetchall()
            if not found:
                return
            self._deliver([Entry(*row) for row in found])

    def _deliver(self, entries: Sequence[Entry]) -> None:
        """Hold these, up to the first that was delivered too often: once that is buried, another may come first."""
        held = []
        for entry in entries:
            if entry.number >= self._terms.max_deliveries:
                self.dead += bury(self._transaction, self._topic, self._group, [entry], self._now)
                self._group.waiting -= 1
                break
            row = message_of(self._transaction, self._topic, self._group, entry)
            held.append((self._consumer, entry.number + 1, self._group.number, entry.position))
            self._add(Delivery(logged(row), entry.number + 1, failures_in(entry.failures)))
            if self._is_cut_short:
                break
        self._transaction.connection.executemany(
            "UPDATE pending SET state = 0, due = 0, consumer = ?, number = ? WHERE grp = ? AND position = ?",
            held,
        )
        self._group.waiting -= len(held)
        self._transaction.changed(self._group)
        self._transaction.wrote(len(held))

    # What is new

    def _take_new(self) -> None:
        """Read on in the order of the log, past those whose keys are closed."""
        fronts: set[str] = set()
        entries: list[New] = []
        waiting = self._group.waiting
        for row in self._read(waiting):
            position, key = row[0], row[4]
            if self._is_behind(key, fronts):
                entries.append(New(position, BEHIND, key))
                waiting += 1
            else:
                entries.append(New(position, HELD, key, consumer=self._consumer))
                self._add(Delivery(logged(row), 1))
            if waiting >= MAX_PENDING or len(self.deliveries) == self._limit or self._is_cut_short:
                self._group.position = position
                break
        put(self._transaction, self._group, entries)

    def _read_in(self) -> None:
        """Read on, and give each its rank."""
        fronts: set[str] = set()
        entries: list[New] = []
        waiting = self._group.waiting
        for position, at, _, _, key, priority, _ in self._read(waiting):
            state = BEHIND if self._is_behind(key, fronts) else READY
            entries.append(New(position, state, key, rank_in(self._group, priority, at)))
            if waiting + len(entries) >= MAX_PENDING:
                self._group.position = position
                break
        put(self._transaction, self._group, entries)

    def _read(self, waiting: int) -> Iterator[Row]:
        """What lies behind the group's position, which is moved to the end of it."""
        begin = self._group.position
        if waiting >= MAX_PENDING or len(self.deliveries) == self._limit or self._is_cut_short:
            return iter(())
        end = min(self._topic.last, max(begin, self._topic.first - 1) + SCANNED)
        if end <= begin:
            return iter(())
        self._group.position = end
        self._transaction.changed(self._group)
        return rows(self._transaction, self._topic, begin, end, self._terms.types)

    def _is_behind(self, key: str, fronts: set[str]) -> bool:
        if not key:
            return False
        if key in fronts or is_closed(self._transaction, self._group, key):
            return True
        fronts.add(key)
        return False

    def _is_ready(self) -> bool:
        row = self._transaction.one(
            "SELECT 1 FROM pending INDEXED BY ready WHERE grp = ? AND state = 1 LIMIT 1", (self._group.number,)
        )
        return row is not None

    def _first_due(self) -> tuple[int, ...] | None:
        return self._transaction.one(
            "SELECT due FROM pending INDEXED BY later "
            "WHERE grp = ? AND due > ? AND due > 0 AND state > 1 ORDER BY due LIMIT 1",
            (self._group.number, self._now),
        )

    def _has_new(self) -> bool:
        return self._group.position < self._topic.last and self._group.waiting < MAX_PENDING

    def _add(self, delivery: Delivery) -> None:
        """Add one to what is delivered; with so much text, there will be no more."""
        self.deliveries.append(delivery)
        self._chars += len(delivery.logged.message.text)
        self._is_cut_short = self._is_cut_short or self._chars >= TEXT_CHARS
