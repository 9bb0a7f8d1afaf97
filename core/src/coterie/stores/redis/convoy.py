"""Callers who decide over the same thing in this process share trips to the server, first come first served."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from coterie.errors import CoterieError, Unavailable
from coterie.stores.redis.fold import Outcome

__all__ = ["Convoy", "Round"]

S = TypeVar("S")
P = TypeVar("P")

# So many decisions a trip: the event loop is not held up for longer than that takes.
_TOGETHER = 64
# Conflicts that are answered at once, as each brings what lies there now; later ones back off first.
_AT_ONCE = 2
_LONGEST_PAUSE_S = 0.1
# A clock that was read longer ago is read again.
_FRESH_S = 0.05


@dataclass(frozen=True, slots=True)
class Round(Generic[P]):
    """Decisions taken one after the other. outcomes: one for each, in order. plan: what to store; None: nothing."""

    outcomes: Sequence[Outcome]
    plan: P | None


@dataclass(slots=True, eq=False)
class _Caller:
    """number: by arrival."""

    number: int
    ask: Any
    deadline: float
    result: asyncio.Future[Any]


class _Sight(NamedTuple, Generic[S]):
    """What was seen by a trip that left after the caller `last` had come; taken: how long it took, in seconds."""

    seen: S
    last: int
    taken_s: float


class Convoy(ABC, Generic[S, P]):
    """All who decide over one thing. Runs while there are any, in a task of its own, so that no caller's end stops the
    rest.

    name: of that thing, for errors. over: called when nobody is left; the convoy is not to be joined again.
    """

    def __init__(self, name: str, *, timeout_s: float, over: Callable[[], object]) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Caller] = deque()
        self._last = 0
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def look(self) -> S:
        """See what lies there. Raises coterie's errors, as `store` does."""

    @abstractmethod
    def decide(self, asks: Sequence[Any], seen: S) -> Round[P]:
        """Decide for several callers, one after the other."""

    @abstractmethod
    async def store(self, plan: P, seen: S) -> tuple[bool, S]:
        """Store it if what was seen lies there still; and what lies there afterwards."""

    async def join(self, ask: Any) -> Any:
        """The result of one decision, once it is stored."""
        self._last += 1
        result: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append(_Caller(self._last, ask, self._loop.time() + self._timeout_s, result))
        if self._task is None:
            self._task = asyncio.create_task(self._travel(), name=f"coterie-redis-update-{self._name}")
        return await result

    async def aclose(self, reason: str) -> None:
        """Fail all who wait."""
        _fail(self._waiting, Unavailable(reason))
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _travel(self) -> None:
        sight: _Sight[S] | None = None
        conflicts = 0
        try:
            while self._gather():
                if sight is None:
                    sight = await self._look()
                    # Whoever has come meanwhile joins; whoever was cancelled has left.
                    continue
                sight, stored = await self._take(sight)
                conflicts = 0 if stored else conflicts + 1
                if conflicts > _AT_ONCE:
                    await self._back_off(conflicts, sight)
                    sight = None
        except CoterieError as error:
            # The server, or what lies there, failed all who are waiting for it; later ones try for themselves.
            _fail(self._waiting, error)
        except Exception as error:
            # A defect of ours, which the loop's handler hears of; nobody is left waiting for ever.
            _fail(self._waiting, Unavailable(f"an update of {self._name!r} ended with {error!r}; report this"))
            raise
        finally:
            self._over()

    def _gather(self) -> bool:
        """Let go of callers who were cancelled or have waited too long; whether anybody is left."""
        now = self._loop.time()
        late = [caller for caller in self._waiting if caller.deadline <= now]
        _fail(late, Unavailable(f"others kept changing {self._name!r} for {self._timeout_s:g} s; try again later"))
        self._waiting = deque(caller for caller in self._waiting if not caller.result.done())
        return bool(self._waiting)

    async def _look(self) -> _Sight[S]:
        last, begun = self._last, self._loop.time()
        seen = await self.look()
        return _Sight(seen, last, self._loop.time() - begun)

    async def _take(self, sight: _Sight[S]) -> tuple[_Sight[S] | None, bool]:
        """Decide for the first callers, and store. Answers what is known now, and whether nobody was in the way."""
        callers = [self._waiting[place] for place in range(min(_TOGETHER, len(self._waiting)))]
        decided = self.decide([caller.ask for caller in callers], sight.seen)
        if decided.plan is None:
            # Nothing is stored that would confirm what was seen: it holds for those who had come before it was.
            _settle(callers, decided.outcomes, last=sight.last)
            return None, True
        last, begun = self._last, self._loop.time()
        stored, seen = await self.store(decided.plan, sight.seen)
        taken_s = self._loop.time() - begun
        if stored:
            _settle(callers, decided.outcomes, last=last)
        return (_Sight(seen, last, taken_s) if taken_s <= _FRESH_S else None), stored

    async def _back_off(self, conflicts: int, sight: _Sight[S] | None) -> None:
        """Full jitter over a few trips' time, more with each conflict."""
        trip_s = sight.taken_s if sight is not None else _FRESH_S
        longest = min(_LONGEST_PAUSE_S, trip_s * 2 ** min(conflicts - _AT_ONCE, 8))
        await asyncio.sleep(random.uniform(0, longest))  # noqa: S311  # no secret: it only spreads tries


def _settle(callers: Sequence[_Caller], outcomes: Sequence[Outcome], *, last: int) -> None:
    for caller, (result, error) in zip(callers, outcomes, strict=True):
        if caller.number > last or caller.result.done():
            continue
        if error is not None:
            caller.result.set_exception(error)
        else:
            caller.result.set_result(result)


def _fail(callers: Iterable[_Caller], error: CoterieError) -> None:
    """Each gets an error of its own: one that is shared would gather the traces of all."""
    for caller in callers:
        if not caller.result.done():
            own = type(error)(str(error))
            own.__cause__ = error.__cause__
            caller.result.set_exception(own)
