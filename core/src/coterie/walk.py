"""Walk through a plan whose tasks are performed elsewhere: by a scheduler's workers, not by this process.

The rules (`_rules.progress`) say what may run, as in the in-process engine; the caller runs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from coterie._rules.progress import Progress
from coterie.conclude import never_ran
from coterie.ids import TaskId
from coterie.plan import Plan
from coterie.result import TaskResult
from coterie.task import Task

__all__ = ["Note", "Perform", "first_error", "walk"]

Perform: TypeAlias = Callable[[Task, Mapping[TaskId, TaskResult]], Awaitable[TaskResult]]
Note: TypeAlias = Callable[[Task, TaskResult], Awaitable[None]]


async def walk(plan: Plan, perform: Perform, note: Note) -> dict[TaskId, TaskResult]:
    """Perform every task as soon as its trigger rule allows; how each ended, in the plan's order.

    perform: runs one task, given the results of its upstream tasks that have ended, and returns its result.
    note: told of each task that never runs, with its result (`skipped` or `upstream_failed`).

    Many run at the same time, each in an asyncio task of its own. An exception out of either function, and
    cancellation, ends the walk: whatever runs is cancelled and waited for, then the exception goes on as it is.

    Raises:
        asyncio.CancelledError: also where one task was cancelled alone, as by a process that is to end; those beside it
            were let finish.
    """
    steps = _Steps(plan, perform, note)
    try:
        async with asyncio.TaskGroup() as group:
            steps.begin(group)
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors
    lacking = next((task.id for task in plan.tasks if task.id not in steps.results), None)
    if lacking is not None:
        # Groups think nothing of a member that was cancelled.
        raise asyncio.CancelledError(f"{lacking!r} did not run: it, or one before it, was cancelled")
    return {task.id: steps.results[task.id] for task in plan.tasks}


class _Steps:
    """One walk: what has ended, and what starts next."""

    def __init__(self, plan: Plan, perform: Perform, note: Note) -> None:
        self.results: dict[TaskId, TaskResult] = {}
        self._plan = plan
        self._perform = perform
        self._note = note
        self._progress = Progress(plan.graph, [task.trigger_rule for task in plan.tasks])

    def begin(self, group: asyncio.TaskGroup) -> None:
        for position in self._progress.start():
            group.create_task(self._run(position, group))

    async def _run(self, position: int, group: asyncio.TaskGroup) -> None:
        task = self._plan.tasks[position]
        upstream = {name: self.results[name] for name in task.upstream if name in self.results}
        result = await self._perform(task, upstream)
        self.results[task.id] = result
        ready, never = self._progress.settle(position, result.state)
        for blocked, state in never:
            absent = never_ran(self._plan.tasks[blocked].id, state)
            self.results[absent.task_id] = absent
            group.create_task(_awaited(self._note(self._plan.tasks[blocked], absent)))
        for following in ready:
            group.create_task(self._run(following, group))


async def _awaited(work: Awaitable[None]) -> None:
    await work


def first_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The exception that ended a group of tasks; a scheduler's control flow (no `Exception`) goes before errors."""
    leaves = list(_leaves(errors))
    return next((leaf for leaf in leaves if not isinstance(leaf, Exception)), leaves[0])


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
