"""How a run ended, from the tasks that ran: the last step of every engine that is not this process."""

from __future__ import annotations

from collections.abc import Mapping

from coterie._rules.progress import decide
from coterie.attempt import Ended
from coterie.engine import as_result
from coterie.ids import TaskId, TaskState, WorkflowId
from coterie.plan import Plan
from coterie.result import ErrorInfo, TaskResult, WorkflowResult

__all__ = ["conclude", "lost", "never_ran"]


def conclude(plan: Plan, results: Mapping[TaskId, TaskResult], *, workflow_id: WorkflowId) -> WorkflowResult:
    """The result of a run whose tasks were performed elsewhere.

    results: of the tasks that ran; others may be absent, and those of foreign ids are not read. What became of
    a task without a result follows from the plan's rules: it was skipped, or blocked, or else should have run
    and was lost. Equal, in `status_document()`, to what the in-process engine says of the same ends.
    """
    every: dict[TaskId, TaskResult] = {}
    for position in plan.graph.order:
        task = plan.tasks[position]
        given = results.get(task.id)
        every[task.id] = given if given is not None else _derived(plan, position, every)
    ran = [result for result in every.values() if result.started_at]
    started_at = min((result.started_at or 0.0 for result in ran), default=0.0)
    ended_at = max(((result.started_at or 0.0) + result.duration_s for result in ran), default=0.0)
    return WorkflowResult.of(
        workflow_id,
        plan.name,
        plan.hash,
        {task.id: every[task.id] for task in plan.tasks},
        plan.output_ids,
        started_at=started_at,
        duration_s=ended_at - started_at,
    )


def never_ran(task_id: TaskId, state: TaskState) -> TaskResult:
    """The result of a task that was skipped, or blocked by a failure before it (`upstream_failed`)."""
    return as_result(task_id, Ended(state, None, None, 0, None, 0.0, 0.0))


def lost(task_id: TaskId) -> TaskResult:
    """The result of a task that started and left none: its worker died, or a person ended it."""
    message = f"{task_id!r} left no result: its worker was lost or it was stopped; see its log, then clear it"
    return TaskResult(task_id, "failed", error=ErrorInfo("WorkerLost", message))


def _derived(plan: Plan, position: int, ended: Mapping[TaskId, TaskResult]) -> TaskResult:
    task = plan.tasks[position]
    states = [ended[name].state for name in task.upstream]
    succeeded, skipped = states.count("succeeded"), states.count("skipped")
    verdict = decide(task.trigger_rule, len(states), succeeded, skipped, len(states) - succeeded - skipped)
    if verdict == "run":
        return lost(task.id)
    return never_ran(task.id, "skipped" if verdict == "skip" else "upstream_failed")
