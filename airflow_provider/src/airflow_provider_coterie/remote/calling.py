"""A task that a worker elsewhere performs: whether it is one, how a trigger waits for it, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from coterie import ErrorInfo, Task, TaskResult, Team
from coterie.errors import CallAbandoned, CallCancelled, CoterieError, NoReply
from coterie.ids import TaskId, WorkflowId
from coterie.remote.agent import RemoteAgent

if TYPE_CHECKING:
    from coterie.remote import CallStatus

__all__ = ["CallWait", "asks_workers", "is_remote", "result_of"]


def is_remote(team: Team, task: Task) -> bool:
    """Whether workers perform the task: it says so itself, or else its agents do."""
    if task.placement is not None:
        return task.placement == "remote"
    return any(isinstance(agent.handler, RemoteAgent) for agent in team.of_type(task.agent_type))


def asks_workers(team: Team) -> bool:
    """Whether any of the team's agents are elsewhere."""
    return any(isinstance(agent.handler, RemoteAgent) for agent in team.agents.values())


def result_of(status: CallStatus, task_id: TaskId) -> TaskResult:
    """How the task ended whose call is over: a call that came to nothing is a failure like others."""
    if status.result is not None:
        return replace(status.result, task_id=task_id)
    error: CoterieError = CallAbandoned(status.id, status.reason)
    if status.phase == "cancelled":
        error = CallCancelled(status.id, status.reason or "somebody")
    elif status.given_up != "abandoned":
        error = NoReply(f"the call {status.id!r} of the type {status.agent_type!r}", status.patience_s)
    return TaskResult(task_id, "failed", error=ErrorInfo.of(error), attempts=status.attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallWait:
    """What a trigger must know of a call: JSON, as a trigger has none of the team's code.

    owner: names the try in whose name it was asked for. intent: as the journal knows it.
    pushes: whether the output is pushed. ends_success, ends_failure: whether the trigger may end the task so: where
    a worker would do more for it, or no more tries are to follow, it is resumed instead.
    """

    call_id: str
    owner: str
    workflow_id: WorkflowId
    task_id: TaskId
    intent: Mapping[str, Any]
    pushes: bool = True
    ends_success: bool = True
    ends_failure: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "intent": dict(self.intent)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The way back."""
        return cls(**document)
