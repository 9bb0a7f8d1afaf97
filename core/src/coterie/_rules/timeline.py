"""Time inside a stored state: microseconds since the state's own beginning, never going back.

A store's clock may be set back, or a failover may hand it to a host that is behind. Then a state's beginning is moved
by as much, so that time goes on from where it stood: nothing lasts longer than it should by more than one second. That
takes effect when the state is written: a decision that refuses must write too where the beginning has moved, or it
would find time standing still until the clock has caught up. Whoever only reads a state uses `go_on` to the same end.
Clocks that leap forward let time-outs expire early; nobody can tell such a leap from a pause.
"""

from __future__ import annotations

from typing import NamedTuple

from coterie._rules.decided import Decided, State
from coterie.errors import StateFormatError

__all__ = ["FORMAT", "SECOND", "Moment", "begin", "go_on", "micros", "moment", "stands_still"]

SECOND = 1_000_000
# Of the states that this version writes; it reads this one and the one before.
FORMAT = 1


class Moment(NamedTuple):
    """t0_s: whole seconds since the epoch, the state's beginning. at: microseconds since then."""

    t0_s: int
    at: int

    def stamp(self) -> dict[str, int]:
        """What every state begins with."""
        return {"v": FORMAT, "t0": self.t0_s, "at": self.at}


def begin(now: int) -> Moment:
    """The first moment of a new state."""
    return Moment(now // SECOND, now % SECOND)


def moment(state: State | None, now: int) -> Moment:
    """The moment `now` in the time of `state`.

    Raises:
        StateFormatError: a newer version of coterie wrote the state.
    """
    if state is None:
        return begin(now)
    version, t0_s, last = state.get("v"), state.get("t0"), state.get("at")
    if not (isinstance(version, int) and isinstance(t0_s, int) and isinstance(last, int)):
        raise StateFormatError(
            f"a stored state has no version or time: {str(state)[:200]}; is the namespace ours alone?"
        )
    if version > FORMAT:
        raise StateFormatError(
            f"a stored state has format {version}, this coterie reads up to {FORMAT}; "
            "update coterie here as the rest of the fleet was"
        )
    at = now - t0_s * SECOND
    if at < last:
        back_s = -((at - last) // SECOND)
        t0_s, at = t0_s - back_s, at + back_s * SECOND
    return Moment(t0_s, at)


def stands_still(state: State | None, now: int) -> bool:
    """Whether the clock was set back and nobody has written that down: readers would see no time pass.

    Raises:
        StateFormatError: as `moment`.
    """
    return state is not None and moment(state, now).t0_s != state["t0"]


def go_on(state: State | None, now: int) -> Decided[None]:
    """A decision that changes nothing but the state's beginning, where it has moved."""
    if state is None or not stands_still(state, now):
        return Decided(state, None)
    return Decided({**state, **moment(state, now).stamp()}, None)


def micros(seconds: float) -> int:
    """Whole microseconds, rounded up: a wait is never shorter than asked for."""
    whole = round(seconds * SECOND)
    return whole if whole >= seconds * SECOND else whole + 1
