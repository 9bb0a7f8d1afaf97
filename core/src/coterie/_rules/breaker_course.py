"""One decision about a circuit breaker under way: transitions, how long it rests, and what is seen of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

from coterie._json import JsonValue
from coterie._rules.breaker_policy import CHANCES, Terms
from coterie._rules.breaker_state import Breaker, BreakerState, Round, read_breaker, write_breaker
from coterie._rules.decided import Decided, Signal, State
from coterie._rules.timeline import SECOND
from coterie._rules.window import Counts, Window, open_window

__all__ = ["Course"]


class Course:
    """One decision under way: the breaker as it stands, and what it went through.

    A trial whose deadline has passed is open again from the start, since that deadline; but one in which nothing went
    wrong, only too little came, goes on with the next deadline: else a breaker with few calls would never close.
    """

    def __init__(self, state: State | None, now: int, name: str, wire: dict[str, Any]) -> None:
        self.terms = Terms(**wire)
        self._given = state
        self._name = name
        self.breaker, self._here = read_breaker(state, now)
        self.at = self._here.at
        self._before = self.breaker
        self._signals: list[Signal] = []
        self._counts: Counts | None = None
        self._changed = ""
        trial = self.breaker.round
        if trial is not None and trial.deadline <= self.at and trial.fine:
            self.set_round(trial.prolonged(self.at, self.terms.round_timeout))
        elif trial is not None and trial.deadline <= self.at:
            opened, period = self.breaker.opened + 1, self._next_period()
            self.become("open", since=trial.deadline, opened=opened, period=period, until=trial.lapse)

    def open(self, chance: int, *, again: bool = False) -> None:
        """Rest from now on; longer each time it did not close in between, and as long as before if `again`."""
        opened, period = self.breaker.opened, self._next_period()
        if again and opened:
            opened, period = opened - 1, min(self.breaker.period, self.terms.max_timeout)
        self.become("open", opened=opened + 1, period=period, until=self.at + self._rest(period, chance))

    def close(self) -> None:
        """Let all pass, with nothing counted."""
        self.become("closed")

    def begin_round(self, chance: int) -> None:
        """Start a trial, and settle what comes if nobody ever reports."""
        deadline = self.at + self.terms.round_timeout
        trial = Round(deadline=deadline, lapse=deadline + self._rest(self._next_period(), chance))
        self.become("half_open", opened=self.breaker.opened, period=self.breaker.period, trial=trial)

    def count(self, window: Window) -> None:
        """Remember the calls that ended."""
        self.breaker = replace(self.breaker, counted=window.stored())
        self._counts = window.counts

    def set_round(self, trial: Round) -> None:
        """Go on with the trial as it is now."""
        self.breaker = replace(self.breaker, round=trial)

    def become(
        self,
        to: BreakerState,
        *,
        since: int | None = None,
        opened: int = 0,
        period: int = 0,
        until: int = 0,
        trial: Round | None = None,
    ) -> None:
        """Make a transition. Seconds since the epoch are greater than any generation of a state that was lost."""
        second = self._here.t0_s + (self.at if since is None else since) // SECOND
        generation = max(self.breaker.generation + 1, second)
        self._changed = f"{self.breaker.state}>{to}"
        self.breaker = Breaker(to, generation, opened, period, until, None, trial)
        self.tell()

    def tell(self) -> None:
        """Have all who listen know what holds now."""
        message = json.dumps(self.seen(), separators=(",", ":"))
        self._signals.append(Signal(f"breaker/{self._name}", message))

    def seen(self) -> dict[str, JsonValue]:
        """What `View` is made of; instants in the state's own time, so that no number is long."""
        breaker, trial = self.breaker, self.breaker.round
        counts = Counts(0, 0, 0)
        if trial is not None:
            counts = Counts(trial.settled, trial.failed, trial.slow)
        elif breaker.state in ("closed", "metrics_only"):
            counts = self._counts or open_window(self.terms, breaker.counted, self.at).counts
        return {
            "state": breaker.state,
            "generation": breaker.generation,
            "t0": self._here.t0_s,
            "until": breaker.until if trial is None else trial.deadline,
            "retry_after": self._retry_after(),
            "failures": counts.failures,
            "calls": counts.calls,
            "slow": counts.slow,
            "out": 0 if trial is None else len(trial.out(self.at)),
            "settled": 0 if trial is None else trial.settled,
            "opened": breaker.opened,
            "changed": self._changed,
        }

    def decided(self) -> Decided[JsonValue]:
        """The decision, with a view of what came of it."""
        return self._stored(self.seen())

    def decided_admission(self, permit_id: str | None) -> Decided[JsonValue]:
        """The decision about an admission; without a permit it is refused wherever something is."""
        trial, deadline = self.breaker.round, 0
        if trial is not None and permit_id is not None:
            deadline = trial.permits[permit_id]
        return self._stored(
            {
                "state": self.breaker.state,
                "generation": self.breaker.generation,
                "t0": self._here.t0_s,
                "permit": permit_id or "",
                "deadline": deadline,
                "holds": max(0, deadline - self.at),
                "retry_after": 0 if permit_id is not None else self._retry_after(),
                "changed": self._changed,
            }
        )

    def _stored(self, result: JsonValue) -> Decided[JsonValue]:
        # A clock that went back must be written down, or time would stand still until it has caught up.
        went_back = self._given is not None and self._here.t0_s < cast("int", self._given["t0"])
        if self.breaker == self._before and not went_back:
            return Decided(self._given, result)
        return Decided(write_breaker(self.breaker, self._here), result, tuple(self._signals))

    def _next_period(self) -> int:
        terms, breaker = self.terms, self.breaker
        if not breaker.opened:
            return terms.timeout
        grown = -(-breaker.period * terms.growth // 1000)
        return min(terms.max_timeout, max(terms.timeout, grown))

    def _rest(self, period: int, chance: int) -> int:
        share = self.terms.jitter * chance // CHANCES
        return period - period * share // CHANCES

    def _retry_after(self) -> int:
        breaker, trial = self.breaker, self.breaker.round
        if breaker.state == "forced_open":
            return self.terms.timeout
        if breaker.state == "open":
            return max(0, breaker.until - self.at)
        if trial is None:
            return 0
        deadlines = sorted(trial.out(self.at).values())
        too_many = len(deadlines) + trial.settled - self.terms.probes
        if too_many < 0:
            return 0
        if too_many < len(deadlines) and deadlines[too_many] < trial.deadline:
            return deadlines[too_many] - self.at
        return trial.lapse - self.at
