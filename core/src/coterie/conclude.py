"""How a run ended, from the tasks that ran: the last step of every engine that is not this process."""

from __future__ import annotations

from collections.abc import Mapping

from coterie._rules.progress import decide
from coterie.ids import TaskId, TaskState, WorkflowId
from coterie.plan import Plan
from coterie.result import ErrorInfo, TaskResult, WorkflowResult

__all__ = ["conclude", "is_lost", "lost", "never_ran"]

_LOST = "WorkerLost"
# Word for word what the in-process engine says: the run-status JSON is equal on every engine.
_BLOCKED = ErrorInfo("UpstreamFailed", "a task that it needs failed or was blocked")


def conclude(plan: Plan, results: Mapping[TaskId, TaskResult], *, workflow_id: WorkflowId) -> WorkflowResult:
    """The result of a run whose tasks were performed elsewhere.

    results: of the tasks that ran; others may be absent. What became of a task without a result follows from
    the plan's rules: it was skipped, or blocked, or else should have run and was lost. In `status_document()`
    it is equal to what the in-process engine says of the same ends.
    """
    every: dict[TaskId, TaskResult] = {}
    for position in plan.graph.order:
        task_id = plan.tasks[position].id
        given = results.get(task_id)
        every[task_id] = given if given is not None else _derived(plan, position, every)
    ran = [(r.started_at, r.started_at + r.duration_s) for r in every.values() if r.started_at is not None]
    started_at = min((start for start, _ in ran), default=0.0)
    return WorkflowResult.of(
        workflow_id,
        plan.name,
        plan.hash,
        {task.id: every[task.id] for task in plan.tasks},
        plan.output_ids,
        started_at=started_at,
        duration_s=max((end for _, end in ran), default=0.0) - started_at,
    )


def never_ran(task_id: TaskId, state: TaskState) -> TaskResult:
    """The result of a task that was skipped, or blocked by a failure before it (`upstream_failed`)."""
    return TaskResult(task_id, state, error=_BLOCKED if state == "upstream_failed" else None)


def lost(task_id: TaskId) -> TaskResult:
    """The result of a task that left none: its worker died, or a person ended it."""
    message = f"{task_id!r} left no result: its worker was lost or somebody stopped it; read its log, then run it again"
    return TaskResult(task_id, "failed", error=ErrorInfo(_LOST, message))


def is_lost(result: TaskResult) -> bool:
    """Whether this is the result of a task that left none."""
    return result.error is not None and result.error.type == _LOST


def _derived(plan: Plan, position: int, ended: Mapping[TaskId, TaskResult]) -> TaskResult:
    task = plan.tasks[position]
    states = [ended[name].state for name in task.upstream]
    succeeded, skipped = states.count("succeeded"), states.count("skipped")
    verdict = decide(task.trigger_rule, len(states), succeeded, skipped, len(states) - succeeded - skipped)
    if verdict == "run":
        return lost(task.id)
    return never_ran(task.id, "skipped" if verdict == "skip" else "upstream_failed")
