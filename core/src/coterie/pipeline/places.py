"""Who of this process stands in a pool's queue: the best of those that wait here, whoever holds the slots.

The fleet serves by priority and age, but only among those that stand in its queue. Were a task shown to it when a slot
of this process is free, and no sooner, processes would take turns whatever their tasks' priorities. So the best that
wait here stand there ahead of their turn: as many as there are slots, and one for the slot that is just changing hands.
"""

from __future__ import annotations

import asyncio
import heapq
from bisect import bisect_right, insort
from collections import deque
from typing import TYPE_CHECKING

from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.tickets import rank
from coterie._rules.timeline import SECOND, micros
from coterie.clock import Clock
from coterie.slots import Grant, Slot, TypeSlots

if TYPE_CHECKING:
    from coterie.pipeline.gate import Gate

__all__ = ["Place", "PooledSlots"]


class Place(Slot):
    """Leave to stand in the fleet's queue; a slot of an agent once that is served.

    due_s: since when, on the monotonic clock, it stands no longer ahead of its turn: this process has a slot for it.
    """

    __slots__ = ("_called", "_due", "_places", "_rank", "_stands", "due_s")

    # It has no agent's slot yet, so there is nothing to set up as `Slot` does.
    def __init__(self, places: PooledSlots, like: Slot, rank_us: int) -> None:
        self.agent, self.call, self.capacity = like.agent, like.call, 1
        self.in_use, self.stuck = 1, 0
        self.pool = self._places = places
        self._rank = rank_us
        self._stands = True
        self._called: Slot | None = None
        self._due: asyncio.Event | None = None
        self.due_s: float | None = None

    def __lt__(self, other: Place) -> bool:
        return self._rank < other._rank

    @property
    def rank_us(self) -> int:
        """Who is served first here, smallest first."""
        return self._rank

    @property
    def priority(self) -> int:
        """What to ask the fleet with: the task's own, and one level more for each that it has waited for here."""
        return self._places.priority_of(self._rank)

    async def until_due(self) -> None:
        """Wait until it stands no longer ahead of its turn."""
        if self.due_s is None:
            self._due = asyncio.Event()
            await self._due.wait()

    def is_due(self, now_s: float) -> None:
        """Told, on the monotonic clock, when this process has a slot for it."""
        if self.due_s is None:
            self.due_s = now_s
            if self._due is not None:
                self._due.set()

    async def begin(self, called: Slot) -> None:
        """Stand no longer: the fleet has granted `called`. Waits while this process has as much in hand as it bears.

        It has a slot for all that is granted, unless a lease was lost or others gave the agent more capacity.
        """
        await self._places.turn()
        # Only now, or for a moment another would seem to be due.
        self._leave_queue()
        called.in_use += 1
        self._called = called

    def release(self) -> None:
        """End it, wherever it stands."""
        self._leave_queue()
        called, self._called = self._called, None
        if called is not None:
            self._places.ended()
            called.release()

    def abandon(self) -> None:
        """See `Slot.abandon`."""
        if self._called is not None:
            self._called.abandon()
            self._places.ended()

    def recover(self) -> None:
        """See `Slot.recover`."""
        called, self._called = self._called, None
        if called is not None:
            called.recover()
            self._places.hand_over()

    def _leave_queue(self) -> None:
        if self._stands:
            self._stands = False
            self._places.left(self)


class PooledSlots(TypeSlots):
    """The agents of a type whose slots the fleet shares: what is given out here are places in its queue."""

    __slots__ = ("_ageing_us", "_clock", "_queues", "_running", "_standing", "_turns")

    def __init__(self, gate: Gate, policy: PoolPolicy, clock: Clock) -> None:
        super().__init__(gate)
        self._ageing_us = micros(policy.ageing_s)
        self._queues = policy.queue_limit > 0
        self._clock = clock
        self._standing: list[Place] = []
        self._running = 0
        self._turns: deque[asyncio.Future[None]] = deque()

    @property
    def queued(self) -> int:
        """How many wait, here and in the fleet's queue."""
        return len(self.waiting) + len(self._standing)

    def all_stuck(self) -> bool:
        """See `TypeSlots.all_stuck`; which agent is called is not decided here, so all count together."""
        return self._stuck >= self.capacity

    def take(self) -> Slot | None:
        """None: whose turn it is depends on the priority, so `enqueue` decides."""
        return None

    def enqueue(self, priority: int, grant: Grant, owner: object = None) -> None:
        """See `TypeSlots.enqueue`; `grant` may be called at once."""
        ranked = rank(priority, self._now(), self._ageing_us)
        heapq.heappush(self.waiting, (ranked, next(self._count), grant, owner))
        self.hand_over()

    def hand_over(self) -> None:
        """Let begin who was granted a slot, and let stand in the fleet's queue who is among the best here."""
        if self.closed:
            return
        while self._turns and self._free > 0:
            turn = self._turns.popleft()
            if not turn.done():
                self._running += 1
                turn.set_result(None)
        while self.waiting and self._has_room(self.waiting[0][0]):
            ranked, _, grant, _ = heapq.heappop(self.waiting)
            place = Place(self, min(self.agents, key=lambda slot: slot.in_use / slot.capacity), ranked)
            if grant(place):
                insort(self._standing, place)
        for place in self._standing[: max(0, self._free)]:
            place.is_due(self._clock.monotonic())

    def priority_of(self, rank_us: int) -> int:
        """The priority with which who comes now has this rank; rounded down."""
        return (self._now() - rank_us) // self._ageing_us

    async def turn(self) -> None:
        """Wait until this process may perform one task more, and count it."""
        if self._free > 0 and not self._turns and not self.closed:
            self._running += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.ended()
            elif turn in self._turns:
                self._turns.remove(turn)
            raise

    def ended(self) -> None:
        """One task less is performed."""
        self._running -= 1
        self.hand_over()

    def left(self, place: Place) -> None:
        """One stands in the queue no longer."""
        self._standing.remove(place)
        self.hand_over()

    @property
    def _stuck(self) -> int:
        return sum(slot.stuck for slot in self.agents)

    @property
    def _free(self) -> int:
        return self.capacity - self._running - self._stuck

    def _has_room(self, rank_us: int) -> bool:
        if self._stuck or not self._queues:
            # Its agents hang, so that it takes no more than it can still perform; or there is no queue to stand in.
            return len(self._standing) < self._free
        return bisect_right(self._standing, rank_us, key=lambda place: place.rank_us) <= self.capacity

    def _now(self) -> int:
        return round(self._clock.monotonic() * SECOND)
