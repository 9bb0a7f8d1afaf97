"""The part of the log store's contract that is random: histories with the memory store beside, whose answers count."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import TypeAlias, TypeVar

from coterie._rules.log import Appended, DeadPage, Delivery, GroupStatus, Logged, Message, Position, Retention, Terms
from coterie.errors import CoterieError
from coterie.ports import LogStore
from coterie.stores.log_memory import MemoryLogStore
from coterie.testing.clock import ManualClock
from coterie.testing.log_handles import TOPIC, LogHandles

__all__ = ["HistoriesContract", "LogHistory"]

T = TypeVar("T")
# Positions of the store under test, as the store that is asked has them.
At: TypeAlias = Callable[[Sequence[Position]], list[Position]]

CONSUMERS = ["c1", "c2", "c3"]
KEYS = ["", "", "x", "y", "z"]
TYPES = ["task.made", "task.done", "agent.seen"]
# By group: what its consumers ask for.
TERMS = {
    "bylog": Terms(lease_s=15, max_deliveries=3),
    "byrank": Terms(lease_s=5, max_deliveries=2, by_priority=True, ageing_s=10),
    "bytype": Terms(lease_s=30, max_deliveries=4, types=("task.*", "*.none"), begin="end"),
}
RETENTIONS = {
    "long": Retention(dedup_s=20),
    "short": Retention(max_messages=40, max_age_s=120, dedup_s=5),
    "refuse": Retention(max_messages=25, when_full="refuse", dedup_s=0),
}
STEPS = 60


class HistoriesContract(LogHandles):
    """What every `LogStore` does, whatever came before. Part of `LogStoreContract`.

    histories: how many are tried. keeps_dropped: whether what waits to be
    delivered again outlives the retention, as in memory; without it, no history drops anything that is open.
    """

    histories = 12
    keeps_dropped = True

    async def test_random_histories_have_the_answers_of_the_memory_store(
        self, store: LogStore, clock: ManualClock
    ) -> None:
        await self.compare(store, clock, self.histories)

    async def compare(self, store: LogStore, clock: ManualClock, count: int) -> None:
        """Try so many histories; the seed is printed."""
        seed = secrets.randbits(32)
        print(f"seed {seed}")  # noqa: T201  # for who must find it again
        for number in range(count):
            kinds = list(RETENTIONS) if self.keeps_dropped else ["long"]
            async with self.several(store, clock, 2) as handles:
                history = LogHistory(
                    handles, clock, seed=seed + number, retention=RETENTIONS[kinds[number % len(kinds)]]
                )
                await history.run(STEPS)
            await store.drop_topic(TOPIC)


class LogHistory:
    """The same calls to stores that share their topics, in turn, and to one in memory; each answer is compared.

    Positions are compared by what lies there: they are the store's own.
    """

    def __init__(
        self,
        stores: Sequence[LogStore],
        clock: ManualClock,
        *,
        seed: int,
        retention: Retention,
        model: LogStore | None = None,
    ) -> None:
        self._stores = stores
        self._model = model or MemoryLogStore(clock=clock)
        self._clock = clock
        self._random = Random(seed)  # noqa: S311  # a history, no secret
        self._retention = retention
        self._seed = seed
        self._told: list[str] = []
        self._numbers = 0
        # What was appended: position here -> position in memory.
        self._twins: dict[Position, Position] = {"": ""}
        self._taken: list[Position] = []

    async def run(self, steps: int) -> None:
        """Take so many steps, then work off what is left.

        Raises:
            AssertionError: an answer differs; it tells the history.
        """
        for _ in range(steps):
            await self._step()
        self._clock.advance(1000)
        for group in TERMS:
            for _ in range(4):
                await self._take(group, "last", limit=1000, done=self._taken[-1000:])
        await self._look()

    async def _step(self) -> None:
        acts = [self._append] * 4 + [self._take_some] * 6 + [self._give_back] * 4 + [self._acknowledge] * 2
        acts += [self._pass_time] * 2 + [self._beat, self._leave, self._requeue, self._discard, self._read, self._look]
        await self._random.choice(acts)()

    # Calls

    async def _append(self) -> None:
        messages = [self._message() for _ in range(self._random.randint(1, 8))]
        both = await self._ask(
            f"append {[message.id for message in messages]}",
            lambda store, _: store.append(TOPIC, messages, retention=self._retention),
        )
        if both is not None:
            ours, theirs = both
            self._compare([answer.is_duplicate for answer in ours], [answer.is_duplicate for answer in theirs])
            self._pair(ours, theirs)

    async def _take_some(self) -> None:
        done = self._some(self._taken)
        await self._take(self._group(), self._consumer(), limit=self._random.choice([0, 1, 2, 5, 20]), done=done)

    async def _take(self, group: str, consumer: str, *, limit: int, done: Sequence[Position]) -> None:
        both = await self._ask(
            f"take {group} {consumer} limit={limit} done={done}",
            lambda store, at: store.take(TOPIC, group, consumer, terms=TERMS[group], limit=limit, done=at(done)),
        )
        if both is not None:
            ours, theirs = both
            self._taken += [delivery.logged.position for delivery in ours.deliveries]
            self._compare(
                (self._all(ours.deliveries), self._all(ours.dead), ours.lost, self._in_memory(ours.stale)),
                (_shown(theirs.deliveries), _shown(theirs.dead), theirs.lost, list(theirs.stale)),
            )
            # It may look again sooner than it must, never later.
            if theirs.due_s is not None:
                self._check(ours.due_s is not None and ours.due_s <= theirs.due_s, f"due {ours.due_s} {theirs.due_s}")

    async def _acknowledge(self) -> None:
        group, consumer, some = self._group(), self._consumer(), self._some(self._taken)
        told = f"acknowledge {group} {consumer} {some}"
        await self._same_positions(told, lambda store, at: store.acknowledge(TOPIC, group, consumer, at(some)))

    async def _give_back(self) -> None:
        if not self._taken:
            return
        group, consumer, position = self._group(), self._consumer(), self._random.choice(self._taken[-20:])
        delay_s = self._random.choice([0.0, 0.0, 1.5, 20.0])
        reason = self._random.choice([None, "failed", "ü" * 2001])
        most = self._random.choice([None, None, 2, 0])
        both = await self._ask(
            f"give_back {group} {consumer} {position} {delay_s} {reason and reason[:6]} {most}",
            lambda store, at: store.give_back(
                TOPIC, group, consumer, at([position])[0], delay_s=delay_s, reason=reason, max_deliveries=most
            ),
        )
        if both is not None:
            ours, theirs = ([] if letter is None else [letter] for letter in both)
            self._compare(self._all(ours), _shown(theirs))

    async def _beat(self) -> None:
        group, consumer = self._group(), self._consumer()
        await self._same(f"beat {group} {consumer}", lambda store, _: store.beat(TOPIC, group, consumer, lease_s=12))

    async def _leave(self) -> None:
        group, consumer, died = self._group(), self._consumer(), self._random.random() < 0.5
        told = f"leave {group} {consumer} died={died}"
        await self._same(told, lambda store, _: store.leave(TOPIC, group, consumer, died=died))

    async def _requeue(self) -> None:
        group, some = self._group(), self._some(self._taken)
        told = f"requeue {group} {some}"
        await self._same_positions(told, lambda store, at: store.requeue(TOPIC, group, at(some)))

    async def _discard(self) -> None:
        group, some = self._group(), self._some(self._taken)[:1]
        told = f"discard {group} {some}"
        await self._same_positions(told, lambda store, at: store.discard(TOPIC, group, at(some)))

    async def _read(self) -> None:
        after = self._random.choice(list(self._twins))
        limit, types = self._random.choice([1, 7, 1000]), self._random.choice([[], ["task.*"]])
        both = await self._ask(
            f"read {after} {limit} {types}",
            lambda store, at: store.read(TOPIC, after=at([after])[0], limit=limit, types=types),
        )
        if both is not None:
            ours, theirs = both
            self._compare(
                ([logged.message for logged in ours.messages], self._in_memory([ours.after]), ours.lost, ours.is_all),
                ([logged.message for logged in theirs.messages], [theirs.after], theirs.lost, theirs.is_all),
            )

    async def _pass_time(self) -> None:
        seconds = self._random.choice([0.000001, 0.5, 3, 7, 16, 31])
        self._told.append(f"{seconds} s pass")
        self._clock.advance(seconds)

    async def _look(self) -> None:
        for group in TERMS:
            both = await self._ask(f"dead {group}", partial(_dead_letters, group))
            if both is not None:
                self._compare(self._all(both[0].letters), _shown(both[1].letters))
        both_groups = await self._ask("groups", lambda store, _: store.groups(TOPIC))
        if both_groups is not None:
            self._compare(*([_counts(status) for status in groups] for groups in both_groups))
        topics = await self._ask("topics", lambda store, _: store.topics())
        if topics is not None:
            self._compare(*([(topic.messages, topic.appended) for topic in found] for found in topics))

    # What is asked of both, and compared

    async def _ask(self, told: str, call: Callable[[LogStore, At], Awaitable[T]]) -> tuple[T, T] | None:
        """Both answers; None where both raise the same."""
        self._told.append(told)
        ours, theirs = (
            await _end(call(self._random.choice(self._stores), list)),
            await _end(call(self._model, self._in_memory)),
        )
        if isinstance(ours, CoterieError) or isinstance(theirs, CoterieError):
            self._compare(repr(ours), repr(theirs))
            return None
        return ours, theirs

    async def _same(self, told: str, call: Callable[[LogStore, At], Awaitable[object]]) -> None:
        both = await self._ask(told, call)
        if both is not None:
            self._compare(*both)

    async def _same_positions(self, told: str, call: Callable[[LogStore, At], Awaitable[Sequence[Position]]]) -> None:
        both = await self._ask(told, call)
        if both is not None:
            self._compare(self._in_memory(both[0]), list(both[1]))

    def _pair(self, ours: Sequence[Appended], theirs: Sequence[Appended]) -> None:
        for our, their in zip(ours, theirs, strict=True):
            self._compare(self._twins.setdefault(our.position, their.position), their.position)

    def _in_memory(self, positions: Sequence[Position]) -> list[Position]:
        return [self._twins.get(position, f"unknown {position}") for position in positions]

    def _all(self, deliveries: Sequence[Delivery]) -> list[object]:
        return _shown([replace(each, logged=self._logged(each.logged)) for each in deliveries])

    def _logged(self, logged: Logged) -> Logged:
        return logged._replace(position=self._in_memory([logged.position])[0])

    def _compare(self, ours: object, theirs: object) -> None:
        self._check(ours == theirs, f"the store answers\n{ours}\nthe memory store\n{theirs}")

    def _check(self, holds: bool, said: str) -> None:  # noqa: FBT001  # as `assert` has it
        if not holds:
            told = "\n".join(self._told)
            raise AssertionError(f"{told}\nseed {self._seed}: after this, {said}")

    # Chance

    def _message(self) -> Message:
        self._numbers += self._random.random() > 0.1
        key, kind = self._random.choice(KEYS), self._random.choice(TYPES)
        return Message(f"m{self._numbers}", kind, f"text {self._numbers}", key, self._random.randint(-2, 4))

    def _group(self) -> str:
        return self._random.choice(list(TERMS))

    def _consumer(self) -> str:
        return self._random.choice(CONSUMERS)

    def _some(self, of: list[Position]) -> list[Position]:
        late = of[-20:]
        return self._random.sample(late, self._random.randint(0, len(late)))


async def _end(call: Awaitable[T]) -> T | CoterieError:
    try:
        return await call
    except CoterieError as error:
        return error


def _shown(deliveries: Sequence[Delivery]) -> list[object]:
    return [(*each.logged, each.number, each.failures) for each in deliveries]


async def _dead_letters(group: str, store: LogStore, _at: At) -> DeadPage:
    return await store.dead_letters(TOPIC, group, limit=1000)


def _counts(status: GroupStatus) -> tuple[object, ...]:
    # A store may read on further than it must, which passes over what the group does not want.
    left = 0 if TERMS[status.name].types else status.waiting + status.unread
    return status.name, status.held, status.dead, left, status.consumers
