"""How a process stands to the store that it shares with others, and how often it talks to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from coterie.errors import Misuse

__all__ = ["Pace", "Residence", "Stand", "StoreFailure"]

Residence = Literal["auto", "resident", "transient"]
StoreFailure = Literal["fail_open", "fail_closed"]
# "new": in this event loop nothing was asked yet. "away": the store does not answer.
Stand = Literal["new", "resident", "transient", "away"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a process talks to the store, in seconds.

    flush_s: how long successes wait for company; failures do not wait.
    reconcile_s: how long a signal that was lost goes unnoticed, at most; varied by a quarter, so that processes spread.
    resident_after_s: with residence "auto", how long a process counts as one that is gone soon.

    Raises:
        Misuse: not a time above 0 (`resident_after_s` may be 0).
    """

    flush_s: float = 0.02
    reconcile_s: float = 2.0
    resident_after_s: float = 3.0

    def __post_init__(self) -> None:
        if not (self.flush_s > 0 and self.reconcile_s > 0 and self.resident_after_s >= 0):
            raise Misuse(f"{self!r} cannot be kept; give seconds above 0")
