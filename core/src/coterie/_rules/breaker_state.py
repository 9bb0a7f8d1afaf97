"""A circuit breaker as it is between decisions, and its stored form.

Instants are microseconds in the state's own time (`timeline`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, cast, get_args

from coterie._json import JsonValue
from coterie._rules.decided import State
from coterie._rules.timeline import SECOND, Moment, moment
from coterie.errors import StateFormatError

__all__ = ["Breaker", "BreakerState", "Round", "read_breaker", "write_breaker"]

BreakerState = Literal["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"]

_STATES = get_args(BreakerState)
# When a state's time has come so far (1.6 years), its beginning moves; so many seconds stay, for the longest window.
_TOO_FAR = 50_000_000 * SECOND
_STAYS_S = 3_600


@dataclass(frozen=True, slots=True)
class Round:
    """One trial of a breaker that rested: `admitted = permits that are out + settled + returned + expired`.

    lapse: until when the breaker will be open again if there is no verdict by `deadline`; known from the start, so that
        everybody who looks later sees the same.
    permits: their deadlines by id; one past it, or at it, counts no more.
    """

    deadline: int
    lapse: int
    permits: Mapping[str, int] = field(default_factory=dict)
    admitted: int = 0
    returned: int = 0
    expired: int = 0
    settled: int = 0
    failed: int = 0
    slow: int = 0

    @property
    def fine(self) -> bool:
        """Whether calls ended, all of them well, and none is unaccounted for."""
        return self.settled > 0 and not (self.failed or self.slow or self.expired or self.permits)

    def prolonged(self, at: int, length: int) -> Round:
        """With the first deadline after `at`, in steps of `length`: the same for everybody who looks."""
        more = ((at - self.deadline) // length + 1) * length
        return replace(self, deadline=self.deadline + more, lapse=self.lapse + more)

    def out(self, at: int) -> dict[str, int]:
        """The permits that count at `at`."""
        return {permit: deadline for permit, deadline in self.permits.items() if deadline > at}


@dataclass(frozen=True, slots=True)
class Breaker:
    """opened: how many times in a row. period: the last open time, before chance. counted: a window's stored form."""

    state: BreakerState = "closed"
    generation: int = 0
    opened: int = 0
    period: int = 0
    until: int = 0
    counted: JsonValue = None
    round: Round | None = None


def read_breaker(state: State | None, now: int) -> tuple[Breaker, Moment]:
    """The stored breaker, and the present in its time.

    Raises:
        StateFormatError: it is not one, or of a newer version.
    """
    here = moment(state, now)
    if state is None:
        return Breaker(), here
    try:
        breaker = _decoded(state)
    except (KeyError, TypeError, ValueError) as error:
        raise StateFormatError(
            f"a breaker's stored state cannot be read ({error!r}): {str(state)[:200]}; is the namespace ours alone?"
        ) from error
    return (breaker, here) if here.at < _TOO_FAR else _moved(breaker, here)


def write_breaker(breaker: Breaker, here: Moment) -> State:
    """The breaker as JSON; what is zero or nothing is left out."""
    state: State = {**here.stamp(), "state": breaker.state, "gen": breaker.generation}
    for name in ("opened", "period", "until"):
        if value := getattr(breaker, name):
            state[name] = value
    if breaker.counted is not None:
        state["counted"] = breaker.counted
    if breaker.round is not None:
        state["round"] = {name: getattr(breaker.round, name) for name in _ROUND} | {
            "permits": dict(breaker.round.permits)
        }
    return state


_ROUND = ("deadline", "lapse", "admitted", "returned", "expired", "settled", "failed", "slow")


def _decoded(state: State) -> Breaker:
    name = state["state"]
    if name not in _STATES:
        raise ValueError(f"unknown state {name!r}")
    if (name == "half_open") != ("round" in state):
        raise ValueError(f"{name!r} with a trial, or half open without one")
    return Breaker(
        cast("BreakerState", name),
        _whole(state["gen"]),
        _whole(state.get("opened", 0)),
        _whole(state.get("period", 0)),
        _whole(state.get("until", 0)),
        state.get("counted"),
        _round(_object(state["round"])) if "round" in state else None,
    )


def _round(stored: dict[str, JsonValue]) -> Round:
    permits = {permit: _whole(deadline) for permit, deadline in _object(stored["permits"]).items()}
    return Round(permits=permits, **{name: _whole(stored[name]) for name in _ROUND})


def _whole(value: JsonValue) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a whole number >= 0")
    return value


def _object(value: JsonValue) -> dict[str, JsonValue]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return value


def _moved(breaker: Breaker, here: Moment) -> tuple[Breaker, Moment]:
    """The same, in a time that begins later; what lies before its beginning is over anyway."""
    by_s = here.at // SECOND - _STAYS_S
    by = by_s * SECOND
    trial, counted = breaker.round, breaker.counted
    if trial is not None:
        trial = Round(
            deadline=max(0, trial.deadline - by),
            lapse=max(0, trial.lapse - by),
            permits={permit: max(0, deadline - by) for permit, deadline in trial.permits.items()},
            **{name: getattr(trial, name) for name in _ROUND[2:]},
        )
    if isinstance(counted, dict):
        counted = {str(int(second) - by_s): text for second, text in counted.items() if int(second) >= by_s} or None
    moved = Breaker(
        breaker.state, breaker.generation, breaker.opened, breaker.period, max(0, breaker.until - by), counted, trial
    )
    return moved, Moment(here.t0_s + by_s, here.at - by)
