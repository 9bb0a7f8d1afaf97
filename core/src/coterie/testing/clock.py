"""A clock that stands still until it is told."""

from __future__ import annotations

from coterie.errors import Misuse

__all__ = ["ManualClock"]


class ManualClock:
    """A `coterie.clock.Clock` for tests. now_s: seconds since the epoch at which it starts."""

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        self._started_s = now_s
        self._passed_s = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._started_s + self._passed_s

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._passed_s

    def advance(self, seconds: float) -> None:
        """Let time pass. Nothing that sleeps is woken: only what is read from this clock moves.

        Raises:
            Misuse: time cannot go back.
        """
        if not seconds >= 0:
            raise Misuse(f"cannot advance by {seconds!r} s; give a number >= 0")
        self._passed_s += seconds
