"""How the Prefect tasks of this package behave: stored results, no reuse, retries only for what is no agent's fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.cache_policies import CachePolicy

from coterie.errors import LeaseLost, Unavailable

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import State, TaskRun
    from prefect.context import TaskRunContext

__all__ = ["OPTIONS", "worth_a_retry"]


class _StoredOnce(CachePolicy):
    """Each task run has its own result; none is ever taken for another's.

    With `NO_CACHE` Prefect announces where a result lies, and does not write it.
    """

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],  # noqa: ARG002  # the signature is Prefect's
        flow_parameters: dict[str, Any],  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> str | None:
        """The key of the result in Prefect's storage."""
        return f"coterie-{task_ctx.task_run.id}"


def worth_a_retry(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Whether the scheduler should try again: if a store was unavailable, or another process took the work over.

    All else coterie has tried.
    """
    return isinstance(state.data, (Unavailable, LeaseLost))


OPTIONS: dict[str, Any] = {
    "cache_policy": _StoredOnce(),
    "persist_result": True,
    "result_serializer": "json",
    "retries": 2,
    "retry_delay_seconds": [2.0, 15.0],
    "retry_condition_fn": worth_a_retry,
}
