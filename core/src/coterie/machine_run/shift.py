"""How a process performs a machine that does not wait in it: a scheduler's worker, which others need meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Shift"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One turn at a machine: on as far as it goes without waiting.

    place: names the place in a pool's queue in which actions stand, the same in all turns.
    refused_visit, patience_s: which visit's action was refused before, and for how much longer it may be; any other
        has what the policies of its agent type allow.
    """

    place: str | None = None
    refused_visit: int = 0
    patience_s: float | None = None

    def patience_at(self, visit: int) -> float | None:
        """For how much longer the action of a visit may be refused; None: as its policies say."""
        return self.patience_s if visit == self.refused_visit else None
