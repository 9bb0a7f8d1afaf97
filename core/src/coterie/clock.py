"""The two clocks that the shells read, as one injectable value."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Time as the shells see it; `coterie.testing.ManualClock` stands still until told."""

    def now(self) -> float:
        """Seconds since the epoch (UTC): for records that people read."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed instant, never going back: for durations."""
        ...


class SystemClock:
    """The clocks of this machine."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.perf_counter)
