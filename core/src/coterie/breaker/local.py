"""A circuit breaker of this process alone: the rule, applied here to a state that nobody else sees.

Plain successes are applied in batches, so that a call costs no decision; a batch ends before the first success that
could change anything, so no decision comes later than it would one by one.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from coterie._rules.breaker import View, admit, force, look, record, reset, settle
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.decided import Operation, State
from coterie._rules.timeline import SECOND
from coterie.breaker.outcome import Outcome
from coterie.breaker.shadow import NOTHING_KNOWN, Shadow, Tally
from coterie.clock import Clock
from coterie.errors import BreakerOpen

__all__ = ["Changed", "LocalRule", "Pass", "Side", "chance", "new_permit"]

T = TypeVar("T")

# Told of each transition that was decided here.
Changed = Callable[[View], None]

# Plain successes applied together at most.
BATCH = 4_096


class Side(Protocol):
    """Whoever lets calls pass: this process alone, or the store."""

    async def enter(self) -> Pass:
        """Let one call pass, or raise."""
        ...

    async def leave(self, passed: Pass, code: Outcome) -> None:
        """Learn how a call ended that has no tally."""
        ...


class Pass:
    """The right to make one call. tally: where to count its end; else `side.leave` is told of it."""

    __slots__ = ("generation", "permit", "side", "tally")

    def __init__(self, side: Side, tally: Tally | None, generation: int, permit: str | None = None) -> None:
        self.side = side
        self.tally = tally
        self.generation = generation
        self.permit = permit


class LocalRule:
    """One breaker's state in this process; `shadow` shows what holds. Synchronous at heart: it never waits."""

    def __init__(self, name: str, policy: BreakerPolicy, shadow: Shadow, clock: Clock, changed: Changed) -> None:
        self._name = name
        self._policy = policy
        self._shadow = shadow
        self._clock = clock
        self._changed = changed
        self._state: State | None = None
        self._second = 0
        self.succeeded = False

    def start(self, known: View = NOTHING_KNOWN) -> None:
        """Take over: from nothing, or in the state that a store was last seen in, with nothing counted."""
        self._state = None
        if known.state == "open" or known.state == "half_open":  # noqa: PLR1714 - narrows the type
            self._open_for(known.retry_after_us if known.state == "open" else 0)
        elif known.state != "closed":
            self._apply(force(self._name, self._policy, to=known.state, chance=0))
        self._shadow.follow(self._look(), self._due)
        if known.state == "open" and known.retry_after_us:
            self._shadow.refuse_for(known.retry_after_us / SECOND)
        self._pace()

    async def enter(self) -> Pass:
        """See `enter_now`."""
        return self.enter_now()

    async def leave(self, passed: Pass, code: Outcome) -> None:
        """See `leave_now`."""
        self.leave_now(passed, code)

    def enter_now(self) -> Pass:
        """Let one call pass.

        Raises:
            BreakerOpen: it may not.
        """
        shadow = self._shadow
        if shadow.tally is not None:
            return Pass(self, shadow.tally, shadow.tally.generation)
        wait_s = shadow.refused_s()
        if wait_s is not None:
            raise BreakerOpen(self._name, retry_after_s=wait_s, state=shadow.view.state)
        permit = new_permit()
        admission = self._apply(admit(self._name, self._policy, permit_id=permit, chance=chance()))
        self._learn(replace(self._look(), changed=admission.changed))
        if not admission.admitted:
            raise BreakerOpen(self._name, retry_after_s=admission.retry_after_us / SECOND, state=admission.state)
        if admission.permit is None:
            return Pass(self, shadow.tally, admission.generation)
        shadow.issued(permit, admission.holds_us / SECOND)
        return Pass(self, None, admission.generation, permit)

    def leave_now(self, passed: Pass, code: Outcome) -> None:
        """Settle a permit."""
        if passed.permit is None:
            return
        self._shadow.settled(passed.permit, counted=code != "i")
        settled = settle(
            self._name,
            self._policy,
            permit_id=passed.permit,
            generation=passed.generation,
            code=code,
            chance=chance(),
        )
        self._learn(self._apply(settled))

    def apply(self, operation: Operation[View]) -> None:
        """A decision by hand, such as `force`."""
        self.refresh()
        self._learn(self._apply(operation))

    def reset(self) -> None:
        """See `coterie._rules.breaker.reset`."""
        self.apply(reset(self._name, self._policy))

    def refresh(self) -> None:
        """Have the view show all that has ended."""
        if self._shadow.tally is not None:
            self._due(self._shadow.tally)
        else:
            self._learn(self._look())

    def _due(self, tally: Tally) -> None:
        runs = tally.take()
        self.succeeded = self.succeeded or any(code in "st" for code, _ in runs)
        if tally is not self._shadow.tally or not runs:
            return
        if self._clock.monotonic() >= tally.until_s:
            # All but the last belong to an earlier second, as a window in seconds sees it.
            code, count = runs.pop()
            if count > 1:
                runs.append((code, count - 1))
            if runs:
                self._record(tally, runs, at_us=self._second)
            runs = [(code, 1)]
        self._record(tally, runs)

    def _record(self, tally: Tally, runs: list[tuple[str, int]], *, at_us: int | None = None) -> None:
        told = record(self._name, self._policy, generation=tally.generation, runs=runs, chance=chance())
        self._learn(self._apply(told, at_us=at_us))

    def _learn(self, view: View) -> None:
        self._shadow.take(view)
        self._pace()
        if view.changed is not None:
            self._changed(view)

    def _pace(self) -> None:
        """Say how many successes may wait: until `min_calls` is reached with failures, or the second is over."""
        tally, view, policy = self._shadow.tally, self._shadow.view, self._policy
        if tally is None or view.state == "disabled":
            return
        tally.limit = BATCH
        if policy.mode == "consecutive":
            return
        if (view.failures or view.slow) and view.calls < policy.min_calls:
            tally.limit = policy.min_calls - view.calls
        if policy.mode == "time":
            now = self._now()
            self._second = now - now % SECOND + SECOND - 1
            tally.until_s = self._clock.monotonic() + (self._second + 1 - now) / SECOND

    def _look(self) -> View:
        return look(self._name, self._policy)(self._state, self._now()).result

    def _apply(self, operation: Operation[T], *, at_us: int | None = None) -> T:
        decided = operation(self._state, self._now() if at_us is None else at_us)
        self._state = decided.state
        return decided.result

    def _now(self) -> int:
        return math.floor(self._clock.now() * SECOND)

    def _open_for(self, rest_us: int) -> None:
        """Open as if it had been for a while, so that `rest_us` are left; at most one time-out."""
        opening = force(self._name, self._policy, to="open", chance=0)
        now = self._now()
        whole_us = opening(None, now).result.retry_after_us
        self._state = opening(None, now - max(0, whole_us - rest_us)).state


def chance() -> int:
    """What rules spread time-outs by: 0 to 999,999."""
    return random.randrange(1_000_000)  # noqa: S311 - spreads load, keeps no secret


def new_permit() -> str:
    """An id for one trial call."""
    return os.urandom(8).hex()
