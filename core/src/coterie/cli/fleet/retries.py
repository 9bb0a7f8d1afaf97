"""A retry budget's stored state, as people are shown it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coterie._rules.decided import State
from coterie._rules.retry_budget import RetryAllowance, take
from coterie.cli.fleet.reading import reading

__all__ = ["RetryRow", "retry_row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRow:
    """The retries of one agent type. left: how many may be made now; None without the allowance."""

    name: str
    left: int | None
    allowance: RetryAllowance | None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        allowance = self.allowance
        return {
            "name": self.name,
            "left": self.left,
            "cap": allowance.cap if allowance is not None else None,
            "share": allowance.share if allowance is not None else None,
            "floor_per_s": allowance.floor_per_s if allowance is not None else None,
        }


def retry_row(name: str, allowance: RetryAllowance | None, state: State | None, now: int) -> RetryRow:
    """What its state says at `now`.

    Raises:
        StateFormatError: it cannot be read, or a newer coterie wrote it.
    """
    with reading(f"retry/{name}"):
        # Asked, and not stored. The moments of a state are looked at even where nothing can be told.
        asked = take(allowance or RetryAllowance(), retries=0)(state, now).result
        return RetryRow(name=name, left=None if allowance is None else asked.left, allowance=allowance)
