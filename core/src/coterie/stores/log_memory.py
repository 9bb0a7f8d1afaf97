"""Topics of one process, in memory: for tests, and for events that need not outlive it."""

from __future__ import annotations

from collections.abc import Sequence

from coterie._rules.log import (
    Appended,
    DeadPage,
    Delivery,
    Failure,
    GroupStatus,
    Message,
    Position,
    Reading,
    Retention,
    Taken,
    Terms,
    TopicStatus,
)
from coterie.clock import Clock
from coterie.ports import Durability, Notice
from coterie.stores.listeners import Listeners
from coterie.stores.log_memory_group import Group
from coterie.stores.log_memory_topic import Topic
from coterie.stores.logs import (
    check_begin,
    check_consumer,
    check_delay,
    check_group,
    check_instant,
    check_lease,
    check_limit,
    check_max_deliveries,
    check_messages,
    check_number,
    check_positions,
    check_reason,
    check_topic,
    check_types,
)
from coterie.stores.scopes import ProcessStore

__all__ = ["MemoryLogStore"]


class MemoryLogStore(ProcessStore):
    """A `LogStore` that is a dictionary, for one event loop; nothing of it survives the process.

    It says what the others do, as plainly as it can. Positions are numbers, from 1 in each topic.

    clock: its wall clock.
    """

    def __init__(self, namespace: str = "default", *, clock: Clock | None = None) -> None:
        super().__init__("log", namespace, clock)
        self._topics: dict[str, Topic] = {}
        self._listeners = Listeners()

    def __repr__(self) -> str:
        return f"MemoryLogStore({self._namespace!r}, topics={len(self._topics)})"

    @property
    def durability(self) -> Durability:
        """Nothing survives."""
        return "none"

    # Topics

    async def append(self, topic: str, messages: Sequence[Message], *, retention: Retention) -> Sequence[Appended]:
        """Add messages; see `LogStore.append`."""
        self._check_open()
        checked = check_messages(messages)
        found, now = self._topic(topic)
        if not checked:
            return []
        to = found or Topic(topic)
        answers = to.append(checked, retention, to.time(now))
        if found is None:
            self._add(to, now)
        if not all(answer.is_duplicate for answer in answers):
            self._listeners.tell_soon(topic, topic)
        return answers

    async def read(self, topic: str, *, after: Position = "", limit: int = 100, types: Sequence[str] = ()) -> Reading:
        """Messages from behind a position on."""
        self._check_open()
        number, most, patterns = check_number(after), check_limit(limit), check_types(types)
        found, _ = self._topic(topic)
        if found is None:
            return Reading((), after, 0, is_all=True)
        messages, end, lost = found.read(number, most, patterns)
        return Reading(tuple(messages), _position(end), lost, end >= found.appended)

    async def locate(self, topic: str, at: int | None) -> Position:
        """The position behind which all lies from an instant on."""
        self._check_open()
        instant = check_instant(at)
        found, _ = self._topic(topic)
        if found is None:
            return ""
        return _position(found.appended if instant is None else found.locate(instant))

    async def topics(self) -> Sequence[TopicStatus]:
        """All topics, by name."""
        self._check_open()
        found = [self._topic(name)[0] for name in sorted(self._topics)]
        return [topic.status() for topic in found if topic is not None]

    async def drop_topic(self, topic: str) -> bool:
        """Remove a topic with all its groups."""
        self._check_open()
        found, _ = self._topic(topic)
        return found is not None and self._topics.pop(topic) is found

    # Groups

    async def take(
        self,
        topic: str,
        group: str,
        consumer: str,
        *,
        terms: Terms,
        limit: int,
        done: Sequence[Position] = (),
    ) -> Taken:
        """Acknowledge, be heard of, and take; see `LogStore.take`."""
        self._check_open()
        check_group(group)
        check_consumer(consumer)
        check_types(terms.types)
        begin = check_begin(terms.begin)
        most, numbers = check_limit(limit, least=0), check_positions(done, check_number)
        found, now = self._topic(topic)
        of = found or self._add(Topic(topic), now)
        taker = of.groups.get(group) or of.begin_group(group, begin)
        taken = taker.take(consumer, terms, most, done=numbers, behind=of.behind, now=of.time(now))
        self._tell_freed(topic, taker)
        return taken

    async def acknowledge(
        self, topic: str, group: str, consumer: str, positions: Sequence[Position]
    ) -> Sequence[Position]:
        """Be done with messages; those that this consumer did not hold."""
        numbers = check_positions(positions, check_number)
        found, _ = self._consumed(topic, group, consumer)
        if found is None:
            return _positions(numbers)
        stale = found.acknowledge(consumer, numbers)
        self._tell_freed(topic, found)
        return _positions(stale)

    async def give_back(
        self,
        topic: str,
        group: str,
        consumer: str,
        position: Position,
        *,
        delay_s: float = 0.0,
        reason: str | None = None,
        max_deliveries: int | None = None,
    ) -> Delivery | None:
        """Have a message delivered again, or made a dead letter; see `LogStore.give_back`."""
        (number,) = check_positions([position], check_number)
        delay, why, most = check_delay(delay_s), check_reason(reason), check_max_deliveries(max_deliveries)
        found, now = self._consumed(topic, group, consumer)
        if found is None:
            return None
        failure = None if why is None else Failure(now, consumer, why)
        letter = found.give_back(consumer, number, now + delay, failure=failure, max_deliveries=most)
        self._tell_freed(topic, found)
        return letter

    async def beat(self, topic: str, group: str, consumer: str, *, lease_s: float) -> bool:
        """Be heard of."""
        lease = check_lease(lease_s)
        found, now = self._consumed(topic, group, consumer)
        return found is not None and found.beat(consumer, lease, now)

    async def leave(self, topic: str, group: str, consumer: str, *, died: bool = False) -> int:
        """End a consumer; how many messages it held."""
        found, now = self._consumed(topic, group, consumer)
        if found is None:
            return 0
        held = found.leave(consumer, now, died=died)
        self._tell_freed(topic, found)
        return held

    async def groups(self, topic: str) -> Sequence[GroupStatus]:
        """The groups of a topic, by name."""
        self._check_open()
        found, _ = self._topic(topic)
        return [] if found is None else found.group_statuses()

    async def drop_group(self, topic: str, group: str) -> bool:
        """End a group with its dead letters."""
        self._check_open()
        check_group(group)
        found, _ = self._topic(topic)
        return found is not None and found.groups.pop(group, None) is not None

    # Dead letters

    async def dead_letters(self, topic: str, group: str, *, limit: int = 100, after: str | None = None) -> DeadPage:
        """Dead letters, in the order of the log. The cursor is the position of the last one."""
        most, behind = check_limit(limit), check_number("" if after is None else after)
        found, _ = self._group(topic, group)
        numbers = sorted(number for number in (found.dead if found else ()) if number > behind)
        letters = tuple(found.dead[number] for number in numbers[:most]) if found else ()
        return DeadPage(letters, str(numbers[most - 1]) if len(numbers) > most else None)

    async def requeue(self, topic: str, group: str, positions: Sequence[Position]) -> Sequence[Position]:
        """Have dead letters delivered again; those that were there."""
        numbers = check_positions(positions, check_number)
        found, now = self._group(topic, group)
        if found is None:
            return []
        requeued = found.requeue(numbers, now)
        self._tell_freed(topic, found)
        return _positions(requeued)

    async def discard(self, topic: str, group: str, positions: Sequence[Position]) -> Sequence[Position]:
        """Remove dead letters; those that were there."""
        numbers = check_positions(positions, check_number)
        found, _ = self._group(topic, group)
        return [] if found is None else _positions(found.discard(numbers))

    # Watching

    async def watch(self, topic: str, notice: Notice) -> None:
        """Have `notice` called, with the topic's name, from the event loop, never inside of another call."""
        self._check_open()
        self._listeners.add(check_topic(topic), notice)

    async def unwatch(self, topic: str, notice: Notice) -> None:
        """Stop calling `notice`."""
        self._listeners.remove(topic, notice)

    async def aclose(self) -> None:
        """Forget everything."""
        self._closed = True
        self._listeners.clear()
        self._topics.clear()

    def _topic(self, name: str) -> tuple[Topic | None, int]:
        """A topic, if there is one and it is not idle, and the time."""
        now = self._now()
        found = self._topics.get(check_topic(name))
        if found is not None and found.is_idle(now):
            del self._topics[name]
            return None, now
        return found, now

    def _add(self, topic: Topic, now: int) -> Topic:
        """Keep a new topic, and forget those that are idle: nobody may ever ask for them again."""
        for idle in [name for name, kept in self._topics.items() if kept.is_idle(now)]:
            del self._topics[idle]
        self._topics[topic.name] = topic
        return topic

    def _consumed(self, topic: str, group: str, consumer: str) -> tuple[Group | None, int]:
        """As `_group`, for one of its consumers."""
        check_consumer(consumer)
        return self._group(topic, group)

    def _group(self, topic: str, group: str) -> tuple[Group | None, int]:
        """A group, if there is one, and the topic's time."""
        self._check_open()
        check_group(group)
        found, now = self._topic(topic)
        return (None, now) if found is None else (found.groups.get(group), found.time(now))

    def _tell_freed(self, topic: str, group: Group) -> None:
        if group.tell_freed():
            self._listeners.tell_soon(topic, topic)


def _position(number: int) -> Position:
    return str(number) if number else ""


def _positions(numbers: Sequence[int]) -> list[Position]:
    return [str(number) for number in numbers]
