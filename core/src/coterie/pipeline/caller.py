"""Who passes a gate: a task's context, or a call of any other code."""

from __future__ import annotations

from typing import Protocol

from coterie.ids import WorkflowId
from coterie.trail import Trail
from coterie.usage import Usage

__all__ = ["Caller"]


class Caller(Protocol):
    """What the way to an agent must know of whom it lets through."""

    @property
    def workflow_id(self) -> WorkflowId:
        """The run whose own budgets pay for it."""

    @property
    def task_id(self) -> str:
        """What it is called in logs and events."""

    @property
    def attempt(self) -> int:
        """Counts from 1."""

    @property
    def usage(self) -> Usage:
        """What was reported so far, over all attempts."""

    @property
    def trail(self) -> Trail | None:
        """Where what stands in its way is noted; None where nobody reads that."""

    def next_attempt(self) -> None:
        """Make ready for another attempt."""
