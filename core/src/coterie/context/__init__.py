"""What an agent is given besides its input: who it works for, what came before, how long it has."""

from __future__ import annotations

from coterie.context.context import TaskContext
from coterie.result import output_hash
from coterie.run import Run

__all__ = ["Run", "TaskContext", "output_hash"]
