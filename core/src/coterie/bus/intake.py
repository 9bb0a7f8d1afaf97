"""Take messages for one consumer: ahead of its need, within a bound, with its acknowledgements on the way."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from coterie._rules.log import Delivery, Position, Taken, Terms
from coterie.bus.outage import Outage
from coterie.bus.pulse import Pulse
from coterie.bus.wire import Wire, event_id
from coterie.errors import CoterieError, EventsLost, Unavailable
from coterie.journal.bell import until_rung
from coterie.journal.owner import new_owner, told
from coterie.work import Work

__all__ = ["Intake"]

_log = logging.getLogger("coterie.bus")

# How long an acknowledgement waits for company.
_GATHER_S = 0.05
# Between two looks at a topic where nothing is told of; each longer than the one before.
_SHORTEST_LOOK_S, _FIRST_LOOK_S, _LONGEST_LOOK_S = 0.005, 1.0, 5.0
_END_S = 5.0
# How long is waited before what is done is said again at the end, each time.
_SAY_AGAIN_S = (0.1, 0.4)
# Of a consumer's name, so that the number of its life has room behind it.
_NAMED_CHARS = 190
_TICK_S = 0.001
_MANY = 32
# Of the event loop, until a request that a task is woken for is written.
_STEPS = 3


class Intake:
    """What a consumer holds, and the tasks that take it and let it be heard of.

    buffer: what it holds and has not begun with. low: with so many left there, more are asked for. One task alone
    takes, so that nothing that is taken is ever lost by a reader who gives up waiting.
    """

    def __init__(self, wire: Wire, group: str, consumer: str | None, terms: Terms, prefetch: int) -> None:
        self.buffer: deque[Delivery] = deque()
        self.consumer = consumer or new_owner()
        self.outage = Outage(wire, group)
        self._wire = wire
        self._group = group
        self._named = consumer
        self._lives = 1
        self._terms = terms
        self._prefetch = prefetch
        # Half of many are worth a way of their own, and come while the others are read; of few, to take more at once
        # saves more.
        self.low = prefetch // 2 if prefetch >= _MANY else (prefetch + 2) // 4
        self._held: dict[Position, Delivery] = {}
        self._done: list[Position] = []
        self._repeated: set[Position] = set()
        self._due_s = 0.0
        self._gathering: asyncio.TimerHandle | None = None
        # Whether an acknowledgement, by itself, is reason enough to ask for more.
        self._is_eager = False
        self._is_expelled = False
        # Whether messages may be held that nobody here knows of; no longer than until then.
        self._is_unsure = False
        self._unsure_until_s = 0.0
        self._pulse = Pulse(wire, group, terms.lease_s, consumer=lambda: self.consumer, expelled=self._was_expelled)
        self._ready = asyncio.Event()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._over = asyncio.Event()
        self._broken: BaseException | None = None
        self._tasks = Work()
        self._ending = Work()

    @property
    def is_stopped(self) -> bool:
        """Whether nothing more is taken."""
        return self._stopping.is_set()

    async def begin(self) -> None:
        """Have the group begin, and take from here on.

        Raises:
            Unavailable: the store did not answer; nothing was begun.
        """
        log, topic = self._wire.log, self._wire.topic
        try:
            await log.watch(topic, self._notice)
            self._saw(await log.take(topic, self._group, self.consumer, terms=self._terms, limit=0))
        except asyncio.CancelledError:
            # It may have begun all the same.
            await self._ending.within(_END_S, self._leave())
            raise
        except BaseException:
            await self._unwatch()
            raise
        self._tasks.start(self._guarded())
        self._tasks.start(self._pulse.run(self._over))

    async def end(self) -> None:
        """Give back what is held, within a bound. What is not said in time, the end of the lease says."""
        self._over.set()
        self.stop()
        # A message that is being taken now is to be given back too.
        await self._ending.within(2 * _END_S, self._ended())

    def stop(self) -> None:
        """Take nothing more. What is held may still be said to be done, and the consumer is heard of, until the end."""
        self._stopping.set()
        self._ready.set()
        self._wake.set()

    async def more(self) -> None:
        """Wait until the buffer holds something, or nothing more will come.

        Raises:
            StateFormatError, Misuse: what the store said to the task that takes.
        """
        while not self.buffer and not self.is_stopped:
            if self._broken is not None:
                raise self._broken
            self._ready.clear()
            self._wake.set()
            await self._ready.wait()

    async def ask_ahead(self) -> None:
        """Have the next ones asked for, so that they are on their way while what is here is worked on."""
        self._wake.set()
        for _ in range(_STEPS):
            await asyncio.sleep(0)

    def holds(self, delivery: Delivery) -> bool:
        """Whether this very delivery is held here, and was neither settled nor followed by another one."""
        return self._held.get(delivery.logged.position) is delivery

    def done(self, delivery: Delivery) -> None:
        """One is done with; of those that are not held, others say so."""
        position = delivery.logged.position
        if self._held.get(position) is not delivery:
            return
        if not self._done:
            loop = asyncio.get_running_loop()
            self._due_s = loop.time() + _GATHER_S
            self._gathering = loop.call_at(self._due_s, self._wake.set)
        self._done.append(position)
        del self._held[position]
        if self._is_eager:
            self._wake.set()

    def settled(self, delivery: Delivery) -> None:
        """One is held no more."""
        if self.holds(delivery):
            del self._held[delivery.logged.position]
            if self._is_eager:
                self._wake.set()

    async def wait_for_store(self, error: Unavailable) -> None:
        """Wait before the store is asked again, but no longer once nothing more is wanted."""
        await until_rung(self._stopping, self.outage.failed(error))

    def tell_dead(self, letter: Delivery) -> None:
        """A message has been given up."""
        message, position = letter.logged.message, letter.logged.position
        reason = letter.failures[-1].reason if letter.failures else ""
        show = f"coterie dlq show {self._group} {position} --topic {self._wire.topic}"
        self._wire.tell(
            logging.WARNING,
            "events.dead",
            f"{self._group!r} has given up {message.type!r} at {position}: {reason}; see '{show}'",
            group=self._group,
            type=message.type,
            id=event_id(message),
            position=position,
            error=reason,
        )

    def _notice(self, _: str | None) -> None:
        self._wake.set()

    async def _guarded(self) -> None:
        try:
            await self._pump()
        # Whoever waits for more is told.
        except Exception as error:  # noqa: BLE001
            self._broken = error
            self._ready.set()

    async def _pump(self) -> None:
        look_s = _FIRST_LOOK_S
        while not self._over.is_set():
            self._wake.clear()
            if self._is_expelled:
                await self._renew()
            if self.is_stopped:
                # What is held unknowingly goes to others in the end, which is near.
                self._is_unsure = False
            elif self._is_unsure and (not self._held or asyncio.get_running_loop().time() >= self._unsure_until_s):
                await self._start_over()
                continue
            pause_s = self._terms.lease_s if self._is_unsure else None
            room = 0 if self._is_unsure or self.is_stopped else self._prefetch - len(self._held)
            self._is_eager = room <= 0
            if room > 0 and len(self.buffer) <= self.low:
                taken = await self._take(room)
                if taken is None or taken.deliveries:
                    look_s = _FIRST_LOOK_S
                if taken is None or len(taken.deliveries) == room:
                    continue
                self._is_eager = True
                due_s = look_s if taken.due_s is None else taken.due_s
                pause_s, look_s = min(max(due_s, _SHORTEST_LOOK_S), look_s), min(2 * look_s, _LONGEST_LOOK_S)
            elif self._done and asyncio.get_running_loop().time() >= self._due_s - _TICK_S:
                await self._acknowledge()
                continue
            if pause_s is None:
                await self._wake.wait()
            else:
                await until_rung(self._wake, pause_s)

    async def _take(self, room: int) -> Taken | None:
        """None: the store did not answer, and was waited for."""
        done = self._gathered()
        try:
            taken = await self._wire.log.take(
                self._wire.topic, self._group, self.consumer, terms=self._terms, limit=room, done=done
            )
        except Unavailable as error:
            # If it was done all the same, something is held that nobody here knows of.
            self._is_unsure = True
            self._unsure_until_s = asyncio.get_running_loop().time() + self._terms.lease_s
            await self._keep(done, error)
            return None
        except asyncio.CancelledError:
            self._keep_for_the_end(done)
            raise
        self._saw(taken)
        return taken

    def _saw(self, taken: Taken) -> None:
        self.outage.answered()
        self._pulse.heard()
        if taken.deliveries:
            self._held.update((delivery.logged.position, delivery) for delivery in taken.deliveries)
            self.buffer.extend(taken.deliveries)
            self._ready.set()
        self._check_stale(taken.stale)
        if taken.lost:
            error = EventsLost(self._wire.topic, self._group, taken.lost)
            self._wire.tell(logging.WARNING, "events.lost", str(error), group=self._group, lost=taken.lost)
        for letter in taken.dead:
            self.tell_dead(letter)

    def _gathered(self) -> list[Position]:
        """What is to be acknowledged; whoever asks says so."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        done, self._done = self._done, []
        return done

    async def _acknowledge(self) -> None:
        done = self._gathered()
        try:
            stale = await self._wire.log.acknowledge(self._wire.topic, self._group, self.consumer, done)
        except Unavailable as error:
            await self._keep(done, error)
        except asyncio.CancelledError:
            self._keep_for_the_end(done)
            raise
        else:
            self.outage.answered()
            self._check_stale(stale)

    async def _keep(self, done: list[Position], error: Unavailable) -> None:
        """Acknowledge these again, after a while."""
        self._keep_for_the_end(done)
        self._repeated.update(done)
        await until_rung(self._over, self.outage.failed(error))

    def _keep_for_the_end(self, done: list[Position]) -> None:
        """Nobody knows whether these were acknowledged: they are to be once more, with the next ones or at the end."""
        self._done[:0] = done

    def _check_stale(self, stale: Sequence[Position]) -> None:
        """Learn that this consumer was taken for dead; what is acknowledged again may be done since the first time."""
        if stale and not self._repeated.issuperset(stale):
            self._is_expelled = True
        self._repeated.clear()

    async def _start_over(self) -> None:
        """Begin a new life, as soon as nothing is in hand: whatever the old one holds unknowingly goes to others."""
        if self._done:
            await self._acknowledge()
            return
        self.buffer.clear()
        try:
            await self._wire.log.leave(self._wire.topic, self._group, self.consumer)
        except Unavailable as error:
            await self.wait_for_store(error)
        else:
            self.outage.answered()
            self._live_again()

    async def _renew(self) -> None:
        """Begin a new life: what the old one held is with others by now, or goes to them."""
        # It goes back with the rest: nobody here begins with it meanwhile.
        self.buffer.clear()
        self._wire.tell(
            logging.WARNING,
            "events.expelled",
            f"{self._group!r} took {told(self.consumer)} for dead, which goes on; give it a longer lease_s, or let it "
            "block its event loop less",
            group=self._group,
            consumer=self.consumer,
        )
        with suppress(Unavailable):
            if done := self._gathered():
                await self._wire.log.acknowledge(self._wire.topic, self._group, self.consumer, done)
            await self._wire.log.leave(self._wire.topic, self._group, self.consumer)
        self._live_again()

    def _live_again(self) -> None:
        self._lives += 1
        self.consumer = f"{self._named[:_NAMED_CHARS]}~{self._lives}" if self._named else new_owner()
        self.buffer.clear()
        self._gathered()
        self._repeated.clear()
        self._held.clear()
        self._is_expelled = self._is_unsure = False

    def _was_expelled(self) -> None:
        self._is_expelled = True
        self._wake.set()

    async def _ended(self) -> None:
        await self._tasks.aclose(_END_S)
        await self._leave()

    async def _leave(self) -> None:
        log, topic = self._wire.log, self._wire.topic
        await self._unwatch()
        try:
            await self._say_done()
            await log.leave(topic, self._group, self.consumer)
        except CoterieError as error:
            _log.info("events.not_left: %s says the end of the lease: %s", self._group, error)

    async def _say_done(self) -> None:
        """Acknowledge what is still to be; more than once, as what is not said now is done twice.

        Raises:
            Unavailable: the store did not answer.
        """
        done = self._gathered()
        for pause_s in (*_SAY_AGAIN_S, None) if done else ():
            try:
                await self._wire.log.acknowledge(self._wire.topic, self._group, self.consumer, done)
            except Unavailable:
                if pause_s is None:
                    raise
                await asyncio.sleep(pause_s)
            else:
                return

    async def _unwatch(self) -> None:
        # A store that fails now has nobody left to tell.
        with suppress(CoterieError):
            await self._wire.log.unwatch(self._wire.topic, self._notice)
