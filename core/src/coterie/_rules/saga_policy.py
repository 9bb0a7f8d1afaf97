"""When a run is undone, and what of it: a step's end decides whether its compensation is due."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from coterie.errors import PolicyError
from coterie.ids import TaskState
from coterie.task import Undoable

__all__ = ["Due", "FailsOn", "SagaPolicy", "StepEnd", "Verdict", "due"]

# What makes a run one that is undone: any task that failed, or that no output of the plan succeeded.
FailsOn = Literal["any", "outputs"]
# "failed" counts time-outs; "absent": it never ran, or was skipped; "lost": it began, and nobody knows how it ended.
StepEnd = Literal["succeeded", "failed", "absent", "lost"]
# "unclear": the step may have succeeded, and its compensation is for steps that did: a person has to look.
Due = Literal["undo", "unclear", "nothing"]

_FAILS_ON = get_args(FailsOn)
# Read by pydantic when a plan is loaded: an unknown field is an error, not a silent no-op.
_STRICT = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaPolicy:
    """When the compensations of a plan's tasks run.

    fails_on: "any": a task failed. "outputs": a task failed, and none of the plan's outputs succeeded, so that the run
    is `failed` and not `partial`.
    stop_on_failed_compensation: a compensation that failed for good leaves alone what its task depended on; what else
    there is to undo is undone. By default every compensation is tried.

    Raises:
        PolicyError: a setting that does not exist.
    """

    __pydantic_config__ = _STRICT

    fails_on: FailsOn = "any"
    stop_on_failed_compensation: bool = False

    def __post_init__(self) -> None:
        if self.fails_on not in _FAILS_ON:
            raise PolicyError(f"a saga fails_on {self.fails_on!r}; use one of {', '.join(_FAILS_ON)}")
        if type(self.stop_on_failed_compensation) is not bool:
            raise PolicyError(
                f"stop_on_failed_compensation is {self.stop_on_failed_compensation!r}; give True or False"
            )


def due(undoable: Undoable | None, end: StepEnd) -> Due:
    """Whether a step's compensation runs, now that the run is undone. undoable: its `when`; None: it has none.

    A step that was lost may have had its effect. Whoever has an effect undone only if the step succeeded cannot be told
    that all is undone: that step is for a person to look at.
    """
    if undoable is None or end == "absent":
        return "nothing"
    if undoable == "started" or end == "succeeded":
        return "undo"
    return "unclear" if end == "lost" else "nothing"


class Verdict:
    """Whether a run is one that is undone, as far as is known; once it is, it stays so. outputs: the plan's."""

    __slots__ = ("_any", "_left", "_outputs", "_policy", "_succeeded")

    def __init__(self, policy: SagaPolicy, outputs: Collection[int]) -> None:
        self._policy = policy
        self._outputs = frozenset(outputs)
        self._left = len(self._outputs)
        self._succeeded = False
        self._any = False

    @property
    def fails(self) -> bool:
        """What is known so far makes it fail."""
        lost_all = not self._left and not self._succeeded
        return self._any and (self._policy.fails_on == "any" or lost_all)

    def note(self, position: int, state: TaskState) -> None:
        """Hear how a step ended, once of each; also of those that never ran."""
        self._any |= state == "failed"
        if position in self._outputs:
            self._left -= 1
            self._succeeded |= state == "succeeded"
