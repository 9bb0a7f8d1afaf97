"""How the tasks of a run ended, as its results: each made when it is looked at, as most never are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from coterie.attempt import Ended
from coterie.conclude import never_ran
from coterie.ids import TaskId, TaskState
from coterie.plan import Plan
from coterie.result import ErrorInfo, TaskResult

__all__ = ["Ends", "as_result"]


class Ends(Mapping[TaskId, TaskResult]):
    """The results of a run by task id, each made when it is looked at."""

    __slots__ = ("_ended", "_epoch_s", "_plan")

    def __init__(self, plan: Plan, ended: list[Ended | TaskResult | None], epoch_s: float) -> None:
        self._plan = plan
        self._ended = ended
        self._epoch_s = epoch_s

    def __getitem__(self, task_id: TaskId) -> TaskResult:
        position = self._plan.graph.position[task_id]
        ended = self._ended[position]
        if ended is None:
            raise KeyError(task_id)
        if isinstance(ended, TaskResult):
            return ended
        result = as_result(task_id, ended, self._epoch_s)
        self._ended[position] = result
        return result

    def __iter__(self) -> Iterator[TaskId]:
        return (name for name, ended in zip(self._plan.graph.ids, self._ended, strict=True) if ended is not None)

    def __len__(self) -> int:
        return sum(ended is not None for ended in self._ended)


def as_result(task_id: TaskId, ended: Ended, epoch_s: float) -> TaskResult:
    """The public form of how a task ended. `epoch_s`: the epoch's seconds at monotonic zero."""
    state: TaskState = ended.state
    if state == "upstream_failed":
        return never_ran(task_id, state)
    error = ErrorInfo.of(ended.error) if ended.error is not None else None
    started_at = ended.began_s + epoch_s if ended.attempts else None
    return TaskResult(task_id, state, ended.output, error, ended.attempts, ended.agent_id, started_at, ended.duration_s)
