"""One group of consumers in memory: who holds which message, and whose turn it is. No clock, no I/O.

A message that the group has got to is open until it is acknowledged or dead. Of the open messages of one key only the
first may be held, and only one at a time; the others wait behind it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from coterie._rules.log import ConsumerStatus, Delivery, Failure, Logged, Taken, Terms
from coterie._rules.tickets import rank
from coterie._rules.timeline import SECOND, micros
from coterie.stores.logs import DIED, MAX_PENDING, matches, not_heard_of

__all__ = ["Group"]

# What lies behind a position, in order.
Behind = Callable[[int], Iterator[tuple[int, Logged]]]


@dataclass(slots=True)
class _Open:
    """delivered: how often, as far as it counts. holder: "" where nobody holds it. due: when it may be delivered."""

    number: int
    logged: Logged
    due: int = 0
    delivered: int = 0
    failures: tuple[Failure, ...] = ()
    holder: str = ""


@dataclass(slots=True)
class _Consumer:
    """until: when it is taken for dead, unless it is heard of before."""

    lease_us: int
    until: int
    held: dict[int, None] = field(default_factory=dict)


@dataclass(slots=True)
class Group:
    """position: the number of the last message that it has got to. lost: how many went before, not told yet.

    freed: whether others may find something to take since `tell_freed` was asked last.
    """

    position: int
    lost: int = 0
    dead: dict[int, Delivery] = field(default_factory=dict)
    freed: bool = False
    _open: dict[int, _Open] = field(default_factory=dict)
    _consumers: dict[str, _Consumer] = field(default_factory=dict)
    # Key -> the open messages that have it, in order; those of no key are not here.
    _keys: dict[str, list[int]] = field(default_factory=dict)
    # Key -> which of them is held.
    _busy: dict[str, int] = field(default_factory=dict)
    # (due, number) and (place in the order, number), heaps. Both may name what has been delivered, or is open no more.
    _later: list[tuple[int, int]] = field(default_factory=list)
    _ready: list[tuple[int, int]] = field(default_factory=list)
    _ageing_us: int | None = None
    # How many are open that nobody holds.
    _waiting: int = 0

    # What is asked of it

    def take(self, consumer: str, terms: Terms, limit: int, *, done: Sequence[int], behind: Behind, now: int) -> Taken:
        """See `LogStore.take`. done: the numbers of what is to be acknowledged first."""
        stale = self.acknowledge(consumer, done)
        dead = self._bury_of_late(consumer, terms, now)
        self._hear(consumer, micros(terms.lease_s), now)
        self._arrange(terms)
        taken: list[Delivery] = []
        reading = behind(self.position)
        while len(taken) < limit and (message := self._next(reading, terms, now)) is not None:
            if message.delivered >= terms.max_deliveries:
                dead.append(self._bury(message))
            else:
                taken.append(self._deliver(message, consumer))
        dead.sort(key=lambda letter: int(letter.logged.position))
        is_full = len(taken) == limit
        due_s = 0.0 if is_full and self._has_more(behind, now) else self._due_s(consumer, now)
        self.freed = self.freed and due_s is not None
        lost, self.lost = self.lost, 0
        return Taken(tuple(taken), tuple(dead), lost, tuple(map(str, stale)), due_s)

    def acknowledge(self, consumer: str, numbers: Sequence[int]) -> list[int]:
        """Be done with messages; those that the consumer did not hold."""
        stale = []
        for number in numbers:
            message = self._held(consumer, number)
            if message is None:
                stale.append(number)
            else:
                self._close(message)
        return stale

    def give_back(
        self, consumer: str, number: int, due: int, *, failure: Failure | None, max_deliveries: int | None
    ) -> Delivery | None:
        """See `LogStore.give_back`. failure: None where the delivery does not count."""
        message = self._held(consumer, number)
        if message is None:
            return None
        if failure is not None:
            message.failures += (failure,)
        counted = message.delivered - (failure is None)
        if max_deliveries is not None and counted >= max_deliveries:
            return self._bury(message)
        message.delivered = counted
        self._put_back(message, due)
        return None

    def beat(self, consumer: str, lease_us: int, now: int) -> bool:
        """Whether it was still there to be heard of."""
        if consumer not in self._consumers:
            return False
        self._hear(consumer, lease_us, now)
        return True

    def leave(self, consumer: str, now: int, *, died: bool) -> int:
        """How many messages it held, that others may take now."""
        gone = self._consumers.pop(consumer, None)
        if gone is None:
            return 0
        for message in [self._open[number] for number in gone.held]:
            if died:
                message.failures += (Failure(now, consumer, DIED),)
            else:
                message.delivered -= 1
            self._put_back(message, now)
        return len(gone.held)

    def requeue(self, numbers: Sequence[int], now: int) -> list[int]:
        """Open dead letters again; those that were there."""
        found = [number for number in numbers if number in self.dead]
        for number in found:
            letter = self.dead.pop(number)
            self._begin(_Open(number, letter.logged, now, 0, letter.failures))
            self.freed = True
        return found

    def discard(self, numbers: Sequence[int]) -> list[int]:
        """Forget dead letters; those that were there."""
        return [number for number in numbers if self.dead.pop(number, None) is not None]

    def lose(self, number: int) -> None:
        """A message was dropped. What is open keeps it."""
        self.lost += number > self.position

    def is_done_with(self, number: int) -> bool:
        """Whether it has got to a message, and nobody holds it, or will."""
        return number <= self.position and number not in self._open

    def tell_freed(self) -> bool:
        """Whether anything was freed since this was asked last."""
        freed, self.freed = self.freed, False
        return freed

    def counts(self) -> tuple[int, int]:
        """How many messages are held, and how many wait."""
        return len(self._open) - self._waiting, self._waiting

    def consumers(self) -> tuple[ConsumerStatus, ...]:
        """Its consumers, by name."""
        known = sorted(self._consumers.items())
        return tuple(ConsumerStatus(name, len(consumer.held), consumer.until) for name, consumer in known)

    # Whose turn it is

    def _next(self, reading: Iterator[tuple[int, Logged]], terms: Terms, now: int) -> _Open | None:
        """The message to deliver next. In the order of the log, it reads on only as far as it must."""
        if terms.by_priority:
            while self._read_on(reading, terms):
                pass
            return self._first_ready(now)
        message = self._first_ready(now)
        while message is None and self._read_on(reading, terms):
            message = self._first_ready(now)
        return message

    def _read_on(self, reading: Iterator[tuple[int, Logged]], terms: Terms) -> bool:
        """Get to the next message of the topic, if there is one, and not too many wait."""
        item = next(reading, None) if self._waiting < MAX_PENDING else None
        if item is None:
            return False
        self.position, logged = item
        if matches(terms.types, logged.message.type):
            self._begin(_Open(self.position, logged))
        return True

    def _first_ready(self, now: int) -> _Open | None:
        while self._later and self._later[0][0] <= now:
            message = self._open.get(heappop(self._later)[1])
            if message is not None and self._may_go(message, now):
                heappush(self._ready, (self._place(message), message.number))
        while self._ready:
            message = self._open.get(heappop(self._ready)[1])
            if message is not None and self._may_go(message, now):
                return message
        return None

    def _may_go(self, message: _Open, now: int) -> bool:
        key = message.logged.message.key
        is_first = not key or (key not in self._busy and self._keys[key][0] == message.number)
        return is_first and not message.holder and message.due <= now

    def _place(self, message: _Open) -> int:
        if self._ageing_us is None:
            return message.number
        return rank(message.logged.message.priority, message.logged.at, self._ageing_us)

    def _arrange(self, terms: Terms) -> None:
        """Put what is ready into the order that is asked for, where that is another than before."""
        ageing_us = micros(terms.ageing_s) if terms.by_priority else None
        if ageing_us != self._ageing_us:
            self._ageing_us = ageing_us
            numbers = [number for _, number in self._ready if number in self._open]
            self._ready = [(self._place(self._open[number]), number) for number in numbers]
            heapify(self._ready)

    def _has_more(self, behind: Behind, now: int) -> bool:
        message = self._first_ready(now)
        if message is not None:
            self._offer(message)
            return True
        return self._waiting < MAX_PENDING and next(behind(self.position), None) is not None

    def _due_s(self, consumer: str, now: int) -> float | None:
        """In how many seconds a delay, or the lease of another consumer, ends."""
        while self._later and self._is_over(*self._later[0]):
            heappop(self._later)
        leases = (other.until for name, other in self._consumers.items() if other.held and name != consumer)
        due = min((*leases, *(due for due, _ in self._later[:1])), default=None)
        return None if due is None else max(0, due - now) / SECOND

    def _is_over(self, due: int, number: int) -> bool:
        message = self._open.get(number)
        return message is None or bool(message.holder) or message.due != due

    # What becomes of a message

    def _begin(self, message: _Open) -> None:
        self._open[message.number] = message
        self._waiting += 1
        if key := message.logged.message.key:
            insort(self._keys.setdefault(key, []), message.number)
        self._offer(message)

    def _offer(self, message: _Open) -> None:
        heappush(self._later, (message.due, message.number))

    def _deliver(self, message: _Open, consumer: str) -> Delivery:
        message.holder = consumer
        message.delivered += 1
        self._waiting -= 1
        self._consumers[consumer].held[message.number] = None
        if key := message.logged.message.key:
            self._busy[key] = message.number
        return Delivery(message.logged, message.delivered, message.failures)

    def _release(self, message: _Open) -> None:
        """Nobody holds it any more."""
        holder, message.holder = self._consumers.get(message.holder), ""
        if holder is not None:
            del holder.held[message.number]
        self._waiting += 1
        self._busy.pop(message.logged.message.key, None)

    def _put_back(self, message: _Open, due: int) -> None:
        self._release(message)
        message.due = due
        self.freed = True
        key = message.logged.message.key
        # One that was requeued may come before it.
        self._offer(self._open[self._keys[key][0]] if key else message)

    def _close(self, message: _Open) -> None:
        """It is done with, or dead: the next one of its key may go."""
        if message.holder:
            self._release(message)
        self._waiting -= 1
        del self._open[message.number]
        if key := message.logged.message.key:
            same = self._keys[key]
            same.remove(message.number)
            if same:
                self._offer(self._open[same[0]])
                self.freed = True
            else:
                del self._keys[key]

    def _bury(self, message: _Open) -> Delivery:
        letter = Delivery(message.logged, message.delivered, message.failures)
        self._close(message)
        self.dead[message.number] = letter
        return letter

    # Who is there

    def _held(self, consumer: str, number: int) -> _Open | None:
        message = self._open.get(number)
        return message if message is not None and message.holder == consumer else None

    def _hear(self, consumer: str, lease_us: int, now: int) -> None:
        known = self._consumers.setdefault(consumer, _Consumer(lease_us, now))
        known.lease_us, known.until = lease_us, now + lease_us

    def _bury_of_late(self, consumer: str, terms: Terms, now: int) -> list[Delivery]:
        """Give to others what those hold who were not heard of in time; what was delivered too often is the answer."""
        dead = []
        late = [name for name, other in self._consumers.items() if other.until <= now and name != consumer]
        for name in late:
            gone = self._consumers.pop(name)
            for message in [self._open[number] for number in gone.held]:
                message.failures += (Failure(now, name, not_heard_of(gone.lease_us)),)
                if message.delivered >= terms.max_deliveries:
                    dead.append(self._bury(message))
                else:
                    self._put_back(message, now)
        return dead
