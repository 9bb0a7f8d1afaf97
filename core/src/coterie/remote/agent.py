"""Agents that are elsewhere: what stands for a worker in a team."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coterie._json import JsonValue
from coterie.errors import Misuse

if TYPE_CHECKING:
    from coterie.context import TaskContext

__all__ = ["DEFAULT_CAPACITY", "PATIENCE_S", "RemoteAgent"]

# How many calls one process has under way at a time, of a type; workers' slots are their own affair.
DEFAULT_CAPACITY = 64
PATIENCE_S = 3600.0
_LONGEST_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class RemoteAgent:
    """The handler of an agent whose tasks workers perform (`coterie worker`).

    patience_s: for how long nobody may begin a task before it fails.

    An orchestrator knows it, and asks workers; nobody else can call it.

    Raises:
        Misuse: a patience that is none.
    """

    patience_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        if isinstance(self.patience_s, bool) or not 0 < self.patience_s <= _LONGEST_S:
            raise Misuse(f"a remote agent has patience_s {self.patience_s!r}; give seconds, up to 30 days")

    async def __call__(self, task_input: dict[str, JsonValue], context: TaskContext) -> JsonValue:
        """Never of use: see `coterie.remote.placing`."""
        del task_input
        raise Misuse(
            f"{context.task_id!r} is for a worker, and was about to be performed here; start one: coterie worker"
        )
