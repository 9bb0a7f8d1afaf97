"""Tell a store how calls ended: together, in order, a failure at once with all that came before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from coterie._rules.breaker import View, record, settle
from coterie._rules.breaker_policy import BreakerPolicy
from coterie.breaker.local import Pass, chance
from coterie.breaker.outcome import Outcome
from coterie.breaker.shadow import Shadow, Tally
from coterie.errors import CoterieError
from coterie.ports import StateStore
from coterie.work import Work

__all__ = ["Batches"]

# Plain successes in one batch at most.
BATCH = 4_096


class Batches:
    """The batches of one breaker in one event loop: one on its way at a time, and none sent twice.

    learned: told of the view that each batch came to. lost: told that the store failed.
    success_lost: a success is in what was never counted for sure; whoever reads it sets it back.
    """

    def __init__(
        self,
        name: str,
        policy: BreakerPolicy,
        store: StateStore,
        shadow: Shadow,
        flush_s: float,
        *,
        learned: Callable[[View], None],
        lost: Callable[[CoterieError], None],
    ) -> None:
        self._name = name
        self._policy = policy
        self._store = store
        self._shadow = shadow
        self._flush_s = flush_s
        self._learned = learned
        self._lost = lost
        self.success_lost = False
        self.settle_in(None, Work())

    def settle_in(self, loop: asyncio.AbstractEventLoop | None, work: Work) -> None:
        """Belong to this event loop from now on."""
        self._loop = loop
        self._work = work
        self._timer: asyncio.TimerHandle | None = None
        self._flushing = False

    def due(self, tally: Tally) -> None:
        """See `coterie.breaker.shadow.Due`."""
        if tally is not self._shadow.tally:
            tally.take()
            return
        if self._loop is not asyncio.get_running_loop():
            # The loop that it knew has ended: in this one, calls ask first.
            self._shadow.stop()
            return
        at_once = tally.urgent or tally.ok >= BATCH
        tally.limit = tally.ok + BATCH
        if tally.full:
            self.drop(tally)
        elif self._flushing:
            return
        elif at_once:
            self._start_flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(self._flush_s, self._start_flush)

    async def flush(self) -> bool:
        """Tell what waits. Answers whether a failure has come to wait meanwhile."""
        tally = self._shadow.tally
        if tally is None or tally.due != self.due:
            return False
        runs = tally.take()
        # The next success sets the timer.
        tally.limit = 1
        if not runs:
            return False
        told = record(self._name, self._policy, generation=tally.generation, runs=runs, chance=chance())
        try:
            view = await self._store.update(f"breaker/{self._name}", told)
        except CoterieError as error:
            # Whether it was counted is not known, so it is not told again.
            self.success_lost |= _has_success(runs)
            self._lost(error)
            return False
        self._learned(view)
        return self._shadow.tally is not None and self._shadow.tally.urgent

    async def report(self, passed: Pass, code: Outcome) -> None:
        """Tell how one call ended that had to ask: one command. A failing store is told to `lost`, not raised."""
        if passed.permit is None:
            told = record(self._name, self._policy, generation=passed.generation, runs=[(code, 1)], chance=chance())
        else:
            told = settle(
                self._name,
                self._policy,
                permit_id=passed.permit,
                generation=passed.generation,
                code=code,
                chance=chance(),
            )
        try:
            view = await self._store.update(f"breaker/{self._name}", told)
        except CoterieError as error:
            self.success_lost |= code in "st"
            self._lost(error)
        else:
            self._learned(view)

    def drop(self, tally: Tally) -> None:
        """Tell nobody what waits."""
        self.success_lost |= _has_success(tally.take())

    def _start_flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._flushing:
            self._flushing = True
            self._work.start(self._flush_while_urgent())

    async def _flush_while_urgent(self) -> None:
        try:
            while await self.flush():
                pass
        finally:
            self._flushing = False
        tally = self._shadow.tally
        if tally is not None and tally.due == self.due and (tally.ok or tally.runs):
            self.due(tally)


def _has_success(runs: list[tuple[str, int]]) -> bool:
    return any(code in "st" for code, _ in runs)
