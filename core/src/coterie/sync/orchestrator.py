"""`coterie.Orchestrator` for code that cannot await."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from coterie._json import JsonValue
from coterie.ids import TaskId, WorkflowId
from coterie.result import TaskResult, WorkflowResult
from coterie.sync.portal import run

if TYPE_CHECKING:
    from coterie import orchestrator
    from coterie.plan import Plan
    from coterie.task import Task

__all__ = ["Orchestrator"]


class Orchestrator:
    """`coterie.Orchestrator`, blocking."""

    def __init__(self, wrapped: orchestrator.Orchestrator) -> None:
        self._wrapped = wrapped

    def execute_workflow(
        self,
        plan_or_tasks: Plan | Sequence[Task],
        *,
        workflow_id: WorkflowId | None = None,
        params: Mapping[str, JsonValue] | None = None,
    ) -> WorkflowResult:
        """See `coterie.Orchestrator.execute_workflow`."""
        return run(self._wrapped.execute_workflow(plan_or_tasks, workflow_id=workflow_id, params=params))

    def execute_task(
        self,
        task: Task,
        *,
        upstream: Mapping[TaskId, TaskResult] | None = None,
        workflow_id: WorkflowId | None = None,
        params: Mapping[str, JsonValue] | None = None,
        epoch: int = 0,
    ) -> TaskResult:
        """See `coterie.Orchestrator.execute_task`."""
        return run(
            self._wrapped.execute_task(task, upstream=upstream, workflow_id=workflow_id, params=params, epoch=epoch)
        )

    def shut_down(self, *, timeout_s: float | None = None, grace_s: float = 10.0) -> None:
        """See `coterie.Orchestrator.shut_down`; called in another thread than the one that waits for the work.

        A signal handler starts such a thread: `Thread(target=orchestrator.shut_down).start()`.
        """
        run(self._wrapped.shut_down(timeout_s=timeout_s, grace_s=grace_s))
