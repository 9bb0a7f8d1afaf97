"""What the runs are sorted by."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Sort"]


class Sort(StrEnum):
    """What goes on first; the newest; the dearest; those with most failures; by name."""

    STATE = "state"
    AGE = "age"
    COST = "cost"
    FAILED = "failed"
    NAME = "name"
