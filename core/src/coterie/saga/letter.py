"""What a saga leaves for a person: a step that stands although its run was undone, and all that is needed to finish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from coterie._json import JsonValue, canonical_bytes
from coterie._rules.journal_text import FORMAT, dumped, parsed
from coterie._rules.params import fill
from coterie._rules.saga_text import letter_path
from coterie.errors import Misuse
from coterie.ids import AgentType, TaskId, WorkflowId
from coterie.ref import Ref
from coterie.result import ErrorInfo, TaskResult, output_from_dict, output_to_dict
from coterie.task import Task

__all__ = ["DeadLetter", "Left", "dead_letter"]

# "failed": its compensation did; "blocked": one that had to come before did; "unclear": nobody knows whether the step
# had its effect, and its compensation is for steps that succeeded.
Left = Literal["failed", "blocked", "unclear"]

# Larger outputs are in the step's own record alone.
MOST_OUTPUT_BYTES = 64 * 2**10
_REASONS: dict[Left, ErrorInfo] = {
    "blocked": ErrorInfo("CompensationBlocked", "a compensation that had to come before this one failed"),
    "unclear": ErrorInfo(
        "StepLost", "its process ended in the midst of it: look whether it had its effect, and undo it by hand if so"
    ),
}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One step that was not undone.

    agent_type, input: of the compensation; step_input: of the step; parameters are filled in.
    state, output: how the step ended, and what it returned; None if that is too large for a letter: it is in the
    step's record then.
    error: why it was not undone. attempts: of the compensation, in the process that gave up.
    undo_id: what the compensation is called in the journal and in events.
    """

    workflow_id: WorkflowId
    task_id: TaskId
    undo_id: TaskId
    left: Left
    agent_type: AgentType
    input: Mapping[str, JsonValue]
    step_input: Mapping[str, JsonValue]
    state: str
    output: JsonValue | Ref
    error: ErrorInfo
    attempts: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; `from_dict` reads it back."""
        return {
            "workflow_id": self.workflow_id,
            "task_id": self.task_id,
            "undo_id": self.undo_id,
            "left": self.left,
            "agent_type": self.agent_type,
            "input": dict(self.input),
            "step_input": dict(self.step_input),
            "state": self.state,
            "output": output_to_dict(self.output),
            "error": {"type": self.error.type, "message": self.error.message},
            "attempts": self.attempts,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> DeadLetter:
        """Read the form that `to_dict` writes.

        Raises:
            Misuse: the document is no dead letter.
        """
        try:
            fields = {name: document[name] for name in cls.__slots__}
            return cls(**fields | {"output": output_from_dict(fields["output"]), "error": ErrorInfo(**fields["error"])})
        except (KeyError, TypeError, AttributeError) as problem:
            raise Misuse(f"not a dead letter: {problem!r}; pass what `DeadLetter.to_dict` wrote") from problem

    def text(self) -> str:
        """What the journal keeps."""
        return dumped({"v": FORMAT, **self.to_dict()})

    @classmethod
    def read(cls, text: str, task_id: TaskId) -> DeadLetter:
        """The letter behind a text."""
        return cls.from_dict(parsed(text, letter_path(task_id)))


def dead_letter(
    workflow_id: WorkflowId,
    task: Task,
    left: Left,
    params: Mapping[str, JsonValue],
    *,
    step: TaskResult | None,
    ended: TaskResult | None,
) -> DeadLetter:
    """The letter about a step. step: how it ended; ended: how its compensation did, if it ran."""
    assert task.compensation is not None
    unknown = ErrorInfo("CompensationFailed", "it failed without saying why")
    error = _REASONS.get(left) or (ended.error if ended is not None else None) or unknown
    return DeadLetter(
        workflow_id,
        task.id,
        task.undo_id,
        left,
        task.compensation.agent_type,
        fill(task.compensation.input, params),
        fill(task.input, params),
        step.state if step is not None else "failed",
        _small(step.output) if step is not None else None,
        error,
        ended.attempts if ended is not None else 0,
    )


def _small(output: JsonValue | Ref) -> JsonValue | Ref:
    return output if isinstance(output, Ref) or len(canonical_bytes(output)) <= MOST_OUTPUT_BYTES else None
