"""How runs stand, as they can be asked for."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Standing"]


class Standing(StrEnum):
    """A state of a run, as of `coterie.journal.view.RunState`."""

    RUNNING = "running"
    WAITING = "waiting"
    INTERRUPTED = "interrupted"
    OPEN = "open"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
