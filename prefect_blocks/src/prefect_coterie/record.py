"""A task's result as it travels: a small JSON record, in a Prefect state that says the same."""

from __future__ import annotations

from typing import Any, TypeAlias

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from coterie import ErrorInfo, TaskResult

__all__ = ["Record", "failure", "read_record", "record_state"]

# What `TaskResult.to_dict` writes.
Record: TypeAlias = "dict[str, Any]"


def record_state(result: TaskResult) -> State[Record]:
    """The state that a Prefect task returns for `result`; its data is the record, whatever the state.

    Completed, Completed/Skipped, Failed, Failed/TimedOut, Failed/UpstreamFailed or Cancelled.
    """
    record = result.to_dict()
    message = str(result.error) if result.error is not None else None
    if result.state == "succeeded":
        return Completed(data=record)
    if result.state == "skipped":
        return Completed(name="Skipped", message="its condition, or its upstream tasks, said no", data=record)
    if result.state == "cancelled":
        return Cancelled(message=message, data=record)
    if result.state == "upstream_failed":
        return Failed(name="UpstreamFailed", message=message, data=record)
    timed_out = result.error is not None and result.error.type == "TaskTimedOut"
    return Failed(name="TimedOut" if timed_out else "Failed", message=message, data=record)


async def read_record(state: State[Any]) -> Record | BaseException:
    """What `record_state` put into the state; the exception, where the task left none."""
    try:
        found = await state.aresult(raise_on_failure=False)
    # A state whose data cannot be had (a crashed worker, a lost result file) is the task's failure.
    except Exception as error:  # noqa: BLE001
        return error
    if isinstance(found, (dict, BaseException)):
        return found
    return RuntimeError(f"it left no record but {found!r}")


def failure(task_id: str, error: BaseException) -> TaskResult:
    """The result of a task that raised before, or instead of, its agent."""
    return TaskResult(task_id, "failed", error=ErrorInfo.of(error), attempts=1)
