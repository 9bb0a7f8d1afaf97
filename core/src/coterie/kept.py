"""The tasks of a run that is kept in a journal: how they ended before, and that they are settled once recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal, TypeAlias

from coterie._rules.params import fill
from coterie.attempt import Ended
from coterie.context import Run, TaskContext
from coterie.journal.results import is_recorded, is_told
from coterie.journal.run_book import RunBook
from coterie.journal.unit import Unit
from coterie.result import TaskResult
from coterie.slots import TypeSlots
from coterie.task import Task

__all__ = ["Beginning", "KeptTasks"]

# A task's beginning: it is to run; how it ended is known; somebody else may be at it, so that it must be waited for.
Beginning: TypeAlias = Literal["run", "known", "wait"]


class KeptTasks:
    """Between the engine and the book of its run. Tasks are positions in the plan."""

    def __init__(self, book: RunBook, run: Run, tasks: Sequence[Task], pools: Sequence[TypeSlots]) -> None:
        self._book = book
        self._run = run
        self._tasks = tasks
        self._pools = pools
        self._contexts: dict[int, TaskContext] = {}
        self.known: deque[tuple[int, TaskResult]] = deque()

    def begin(self, i: int) -> Beginning:
        """Look a task up that may start now."""
        task = self._tasks[i]
        context = TaskContext(self._run, task, fill(task.input, self._run.params) if task.input else {})
        begun = self._book.begin_now(context, self._pools[i])
        if begun is None:
            return "wait"
        if isinstance(begun, TaskResult):
            self.known.append((i, begun))
            return "known"
        context.unit = begun
        self._contexts[i] = context
        return "run"

    def context(self, i: int) -> TaskContext:
        """What a task is performed in that has begun."""
        return self._contexts[i]

    def end(self, i: int, ended: Ended) -> bool:
        """Take the end of a task; whether it is settled later, when it is durable."""
        context = self._contexts.pop(i)
        unit = context.unit
        assert isinstance(unit, Unit)
        if ended.state != "succeeded" and not is_recorded(ended):
            if is_told(ended):
                self._book.tell(unit, context, ended)
            return False
        self._book.enter(unit, context, ended, i)
        return True
