"""How a run ended that is undone if it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from coterie._rules.saga import SagaOutcome
from coterie.errors import CompensationFailed, Misuse
from coterie.ids import RunStatus, TaskId
from coterie.result import TaskResult, WorkflowResult
from coterie.saga.letter import DeadLetter

__all__ = ["SagaResult"]


@dataclass(frozen=True, slots=True, repr=False)
class SagaResult(WorkflowResult):
    """As any run's result, and what was undone.

    outcome: `succeeded`: nothing had to be undone. `compensated`: all that was due is undone. `compensation_failed`:
    something stands, see `dead_letters`. None: the run was stopped before it had an outcome.
    compensations: how those ended that ran, by the id of the task that they undo, in the plan's order.
    status: `failed` once anything is undone; `cancelled` if a person wanted it so.
    on_record: whether a journal that outlives the process has it, so that `coterie runs show` tells what is left.
    """

    outcome: SagaOutcome | None = None
    compensations: Mapping[TaskId, TaskResult] = field(default_factory=dict)
    dead_letters: tuple[DeadLetter, ...] = ()
    on_record: bool = False

    def __repr__(self) -> str:
        return (
            f"SagaResult({self.plan_name!r}, {self.status!r}, outcome={self.outcome!r}, "
            f"workflow_id={self.workflow_id!r}, {len(self.tasks)} tasks, {len(self.dead_letters)} dead letters)"
        )

    @property
    def went_back(self) -> bool:
        """Whether it is one that is undone: it failed, or a person wanted it so."""
        return self.outcome in ("compensated", "compensation_failed")

    @classmethod
    def after(
        cls,
        result: WorkflowResult,
        outcome: SagaOutcome | None,
        status: RunStatus,
        compensations: Mapping[TaskId, TaskResult] | None = None,
        dead_letters: tuple[DeadLetter, ...] = (),
        *,
        on_record: bool = False,
    ) -> SagaResult:
        """The result of a run whose tasks ended so."""
        own = {one.name: getattr(result, one.name) for one in fields(WorkflowResult)}
        return cls(
            **own | {"status": status},
            outcome=outcome,
            compensations=compensations or {},
            dead_letters=dead_letters,
            on_record=on_record,
        )

    def raise_for_status(self) -> None:
        """Do nothing if the run succeeded.

        Raises:
            ExceptionGroup: one `StepFailed` for each task that failed, one `CompensationFailed` for each dead letter.
        """
        run = self.workflow_id if self.on_record else None
        left = [
            CompensationFailed(one.task_id, str(one.error), letter=one.to_dict(), run=run) for one in self.dead_letters
        ]
        try:
            WorkflowResult.raise_for_status(self)
        except ExceptionGroup as failed:
            raise failed.derive([*failed.exceptions, *left]) from None

    def status_document(self) -> dict[str, Any]:
        """The run-status JSON, with what was undone: equal on every engine for equal work."""
        undone = [{**one.status_document(), "id": task_id} for task_id, one in self.compensations.items()]
        left = [{"id": letter.task_id, "left": letter.left} for letter in self.dead_letters]
        saga = {"outcome": self.outcome, "compensations": undone, "left": left}
        return {**WorkflowResult.status_document(self), "saga": saga}

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON; `from_dict` reads it back."""
        saga = {
            "outcome": self.outcome,
            "compensations": {name: one.to_dict() for name, one in self.compensations.items()},
            "dead_letters": [letter.to_dict() for letter in self.dead_letters],
            "on_record": self.on_record,
        }
        return {**WorkflowResult.to_dict(self), "saga": saga}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> SagaResult:
        """Read the form that `to_dict` writes.

        Raises:
            Misuse: the document is not the result of such a run.
        """
        result = super(SagaResult, cls).from_dict(document)
        assert isinstance(result, SagaResult)
        try:
            saga = document["saga"]
            undone = saga["compensations"]
            return replace(
                result,
                outcome=saga["outcome"],
                # Stored JSON is sorted by name; they are in the plan's order.
                compensations={name: TaskResult.from_dict(undone[name]) for name in result.tasks if name in undone},
                dead_letters=tuple(DeadLetter.from_dict(letter) for letter in saga["dead_letters"]),
                on_record=saga["on_record"],
            )
        except (KeyError, TypeError, AttributeError) as problem:
            raise Misuse(f"not a saga's result: {problem!r}; pass what `SagaResult.to_dict` wrote") from problem
