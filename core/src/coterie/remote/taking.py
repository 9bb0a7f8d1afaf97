"""Take calls from their queues: as many as there are free slots, the most urgent first, whatever their type."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from coterie._rules.log import Delivery, Position, Taken
from coterie._rules.tickets import rank
from coterie._rules.timeline import micros
from coterie.errors import Unavailable
from coterie.ids import AgentType
from coterie.ports import LogStore
from coterie.remote.queue import GROUP, queue_terms, topic_of

__all__ = ["TypeQueue", "take_round"]

_log = logging.getLogger("coterie.remote")

# So many tasks are refused in a row before a queue rests: one of those behind them may be who has its turn.
_MOST_REFUSALS = 16
# Called with what was taken from a queue.
Handle: TypeAlias = Callable[["TypeQueue", Delivery], None]


class TypeQueue:
    """The queue of one agent type, as one worker takes from it.

    Each slot is a consumer of its own, which takes one message, and no other before that is done with. So when the
    answer to a take is lost, its consumer holds nothing else, and can leave: what it may have got goes to others at
    once, and no work that is under way is touched.

    free: how many more it may perform now. woken: called when there may be something to take.
    """

    def __init__(
        self,
        log: LogStore,
        agent_type: AgentType,
        session: str,
        *,
        lease_s: float,
        free: Callable[[], int],
        woken: Callable[[], None],
    ) -> None:
        self.agent_type = agent_type
        self.topic = topic_of(agent_type)
        self.log = log
        self.stirred = True
        self.due_at: float | None = None
        self.rests_until = 0.0
        self._refusals = 0
        self._free = free
        self._woken = woken
        self._session = session
        self._terms = queue_terms(lease_s)
        self._made = 0
        self._idle: list[str] = []
        self._holders: dict[Position, str] = {}
        # By consumer: what it has done, and has not acknowledged yet. And those of whom it is not known what they hold.
        self._done: dict[str, Position] = {}
        self._doubtful: set[str] = set()

    @property
    def free(self) -> int:
        """How many more it may perform now."""
        return 0 if self.rests else max(0, self._free())

    @property
    def rests(self) -> bool:
        """Whether nothing is taken from it for a while."""
        return self.rests_until > asyncio.get_running_loop().time()

    def refused(self, seconds: float) -> None:
        """What stands in the way of one task stands in that of all, as a rule: after some of them, rest for so long."""
        self._refusals += 1
        if self._refusals >= _MOST_REFUSALS:
            self._refusals = 0
            self.rests_until = asyncio.get_running_loop().time() + seconds

    def wake(self) -> None:
        """A task was not refused: rest no longer."""
        self._refusals, self.rests_until = 0, 0.0

    def next_s(self, now_s: float) -> float | None:
        """In how long it is to be looked at without a word; None: not before there is one, or a slot is free."""
        if self._free() <= 0:
            return None
        at = self.rests_until if self.rests_until > now_s else self.due_at
        return None if at is None else max(0.0, at - now_s)

    def has_cause(self, now_s: float) -> bool:
        """Whether asking may bring anything. now_s: of the event loop."""
        return self.stirred or bool(self._done) or (self.due_at is not None and self.due_at <= now_s)

    async def watch(self) -> None:
        """Be woken when there may be something."""
        await self.log.watch(self.topic, self._notice)

    async def unwatch(self) -> None:
        """Be woken no more."""
        await self.log.unwatch(self.topic, self._notice)

    def _notice(self, _: str | None) -> None:
        self.stirred = True
        self._woken()

    async def take(self, limit: int) -> list[Taken]:
        """Acknowledge what is done, and take at most so many.

        Raises:
            Unavailable: the store failed, before anything was taken.
        """
        await self.clear_up()
        self.stirred, self.due_at = False, None
        taken: list[Taken] = []
        # One looks; where it finds something, others come along, twice as many each time.
        width = max(1, len(self._done))
        while limit > 0:
            names = [self._consumer() for _ in range(min(width, limit))]
            found = await asyncio.gather(*map(self._take_one, names), return_exceptions=True)
            errors = [each for each in found if isinstance(each, BaseException)]
            taken += [each for each in found if isinstance(each, Taken)]
            if errors:
                self.stirred = True
                if not any(each.deliveries or each.dead for each in taken):
                    raise errors[0]
                return taken
            got = sum(len(each.deliveries) for each in found if isinstance(each, Taken))
            limit -= got
            if got < len(names):
                break
            width *= 2
        else:
            self.stirred = True
        return taken

    async def _take_one(self, name: str) -> Taken:
        done = [self._done.pop(name)] if name in self._done else []
        with self._in_doubt(name):
            taken = await self.log.take(self.topic, GROUP, name, terms=self._terms, limit=1, done=done)
        for each in taken.deliveries:
            self._holders[each.logged.position] = name
        if not taken.deliveries:
            self._idle.append(name)
        if taken.due_s is not None:
            due_at = asyncio.get_running_loop().time() + taken.due_s
            self.due_at = due_at if self.due_at is None else min(self.due_at, due_at)
        if taken.lost:
            _log.warning("calls.lost %s: %d messages were dropped before a worker got to them", self.topic, taken.lost)
        return taken

    def done(self, position: Position) -> None:
        """Have a message acknowledged, with the next that is taken. One that is not held any more is left alone."""
        name = self._holders.pop(position, None)
        if name is not None:
            self._done[name] = position
            self._idle.append(name)

    async def give_back(
        self, position: Position, *, delay_s: float = 0.0, reason: str | None = None, at_most: int | None = None
    ) -> Delivery | None:
        """Have a message delivered again; see `LogStore.give_back`."""
        name = self._holders.pop(position, None)
        if name is None:
            return None
        with self._in_doubt(name):
            dead = await self.log.give_back(
                self.topic, GROUP, name, position, delay_s=delay_s, reason=reason, max_deliveries=at_most
            )
        self._idle.append(name)
        return dead

    async def beat(self, lease_s: float) -> list[Position]:
        """Be heard of; which of the messages are others' by now."""
        lost = []
        for position, name in list(self._holders.items()):
            if not await self.log.beat(self.topic, GROUP, name, lease_s=lease_s):
                if self._holders.get(position) == name:
                    del self._holders[position]
                lost.append(position)
        if lost:
            self.stirred = True
        return lost

    async def leave(self) -> None:
        """Take part no more: what is done is acknowledged, what is held goes to others."""
        for name, position in list(self._done.items()):
            await self.log.acknowledge(self.topic, GROUP, name, [position])
            del self._done[name]
        names = [*self._holders.values(), *self._doubtful, *self._idle]
        await asyncio.gather(*(self.log.leave(self.topic, GROUP, name) for name in names))

    def _consumer(self) -> str:
        """One that holds nothing: first who has something to acknowledge."""
        ready = next(iter(self._done), None)
        if ready is not None and ready in self._idle:
            self._idle.remove(ready)
            return ready
        if self._idle:
            return self._idle.pop()
        self._made += 1
        return f"{self._session}/{self._made}"

    @contextmanager
    def _in_doubt(self, name: str) -> Iterator[None]:
        """Around a call whose answer says what a consumer holds: without one, nobody knows."""
        try:
            yield
        except BaseException:
            self._doubtful.add(name)
            self.stirred = True
            raise

    async def clear_up(self) -> None:
        """Have others get what it may hold without knowing of it."""
        for name in list(self._doubtful):
            # What it had to acknowledge comes again, and is known to be done then.
            await self.log.leave(self.topic, GROUP, name)
            self._doubtful.discard(name)


def _asked(queues: Sequence[TypeQueue], free: int) -> list[tuple[TypeQueue, int]]:
    """The queues that may have something there is room for, and how much each is asked for."""
    now_s = asyncio.get_running_loop().time()
    asked = [(queue, limit) for queue in queues if queue.has_cause(now_s) and (limit := queue.free) > 0]
    if not asked or free <= 0:
        return []
    if len(asked) > 1 and sum(limit for _, limit in asked) > free:
        # There are more types than slots: one of each is looked at, and the less urgent ones go back at once.
        asked = [(queue, min(limit, max(1, free // len(asked)))) for queue, limit in asked]
    return [(queue, min(limit, free)) for queue, limit in asked]


async def take_round(
    queues: Sequence[TypeQueue], free: int, begin: Handle, give_up: Handle, *, ageing_s: float = 60.0
) -> None:
    """Fill free slots once, from all queues that may have something.

    begin: called with each delivery that there is a slot for. give_up: with each that has become a dead letter.

    Raises:
        Unavailable: a queue's store failed; what the others gave was handed over all the same.
    """
    for queue in queues:
        # Also where there is no room: others may have some.
        await queue.clear_up()
    asked = _asked(queues, free)
    outcomes = await asyncio.gather(*(queue.take(limit) for queue, limit in asked), return_exceptions=True)
    ageing_us = micros(ageing_s)
    candidates: list[tuple[int, int, TypeQueue, Delivery]] = []
    failure: BaseException | None = None
    for (queue, _), outcome in zip(asked, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            failure = failure or outcome
            continue
        for dead in (letter for one in outcome for letter in one.dead):
            give_up(queue, dead)
        for each in (delivery for one in outcome for delivery in one.deliveries):
            ranked = rank(each.logged.message.priority, each.logged.at, ageing_us)
            candidates.append((ranked, len(candidates), queue, each))
    candidates.sort(key=lambda one: one[:2])
    for _, _, queue, delivery in candidates[:free]:
        begin(queue, delivery)
    for _, _, queue, delivery in candidates[free:]:
        try:
            await queue.give_back(delivery.logged.position)
        except Unavailable as error:
            # Its consumer leaves before the next round, and takes no part in holding it.
            failure = failure or error
        queue.stirred = True
    if failure is not None:
        raise failure
