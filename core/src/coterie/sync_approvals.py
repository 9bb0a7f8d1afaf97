"""Approvals for code that cannot await: the blocking twins of `coterie.approvals`, under the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from coterie import approvals, sync

if TYPE_CHECKING:
    from coterie._json import JsonValue
    from coterie.approval import Decision
    from coterie.approvals import Asked, PendingApproval, Place
    from coterie.ids import TaskId, WorkflowId
    from coterie.journal import Intent, Journal
    from coterie.orchestrator import Orchestrator
    from coterie.plan import Plan
    from coterie.result import TaskResult
    from coterie.task import Task

__all__ = ["Approvals", "ask", "decide"]


class Approvals:
    """`coterie.Approvals`, blocking."""

    def __init__(self, journal: Journal) -> None:
        self._wrapped = approvals.Approvals(journal)

    def pending(self, run: WorkflowId | None = None, *, limit: int = 100) -> list[PendingApproval]:
        """See `coterie.Approvals.pending`."""
        return sync.run(self._wrapped.pending(run, limit=limit))

    def of_run(self, run: WorkflowId) -> list[PendingApproval]:
        """See `coterie.Approvals.of_run`."""
        return sync.run(self._wrapped.of_run(run))

    def answer(
        self,
        run: WorkflowId,
        task_id: TaskId,
        choice: str,
        *,
        by: str,
        note: str = "",
        values: Mapping[str, JsonValue] | None = None,
        anyway: bool = False,
    ) -> Decision:
        """See `coterie.Approvals.answer`."""
        return sync.run(self._wrapped.answer(run, task_id, choice, by=by, note=note, values=values, anyway=anyway))


def ask(
    orchestrator: Orchestrator,
    task: Task,
    *,
    place: Place,
    upstream: Mapping[TaskId, TaskResult] | None = None,
    workflow_id: WorkflowId | None = None,
    params: Mapping[str, JsonValue] | None = None,
    epoch: int = 0,
    plan: Plan | None = None,
    intent: Intent | None = None,
) -> TaskResult | Asked:
    """See `coterie.Orchestrator.ask`."""
    return sync.run(
        orchestrator.ask(
            task,
            place=place,
            upstream=upstream,
            workflow_id=workflow_id,
            params=params,
            epoch=epoch,
            plan=plan,
            intent=intent,
        )
    )


def decide(
    orchestrator: Orchestrator,
    task: Task,
    decision: Decision | None,
    *,
    asked_id: str,
    upstream: Mapping[TaskId, TaskResult] | None = None,
    workflow_id: WorkflowId | None = None,
    params: Mapping[str, JsonValue] | None = None,
    epoch: int = 0,
    plan: Plan | None = None,
    intent: Intent | None = None,
) -> TaskResult:
    """See `coterie.Orchestrator.decide`."""
    return sync.run(
        orchestrator.decide(
            task,
            decision,
            asked_id=asked_id,
            upstream=upstream,
            workflow_id=workflow_id,
            params=params,
            epoch=epoch,
            plan=plan,
            intent=intent,
        )
    )
