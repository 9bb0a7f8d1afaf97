"""An agent that is told anew what to do each time, as an attempt of a process that may be lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coterie import Task, TaskContext
from coterie.errors import Refused
from tests.journal.bench import Bench, step_of

__all__ = ["LATER", "TASK", "Script"]

TASK = Task("a", "work")
# Ends an attempt without a record.
LATER = Refused("not now", retry_after_s=1.0)


class Script:
    """An agent that is told anew what to do each time. log: the steps whose functions were called."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.now: Any = None
        self.bench = Bench(a=self._work)

    async def attempt(self, now: Callable[[TaskContext], Any], **intent: Any) -> Any:
        """One call of the agent, as from another process; what it returned. What is not now leaves no record."""
        self.now = now
        return await self.bench.task(TASK, **intent)

    async def _work(self, task_input: Any, ctx: TaskContext) -> Any:
        return await self.now(ctx)

    async def lost(self, now: Callable[[TaskContext], Any], **intent: Any) -> None:
        """An attempt whose end nobody hears of: what it had done stays."""

        async def then_lost(ctx: TaskContext) -> None:
            await now(ctx)
            raise LATER

        result = await self.attempt(then_lost, **intent)
        assert result.error is not None
        assert result.error.type == "Refused"

    def step(self, value: Any = None) -> Callable[..., Any]:
        return step_of(self.log, value)
