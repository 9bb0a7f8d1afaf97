"""How the Prefect tasks of this package behave: stored results, no reuse, retries only for what is no agent's fault."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from prefect.cache_policies import CachePolicy
from prefect.logging import get_run_logger

from coterie.errors import LeaseLost, Unavailable

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import State, TaskRun
    from prefect.context import TaskRunContext

__all__ = ["OPTIONS", "tried_again", "worth_a_retry"]

T = TypeVar("T")


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


async def tried_again(what: Callable[[], Awaitable[T]]) -> T:
    """The result of `what`, which no task run does and the flow itself: tried again as often as task runs are.

    Raises:
        Unavailable: the store stays away.
    """
    for delay_s in OPTIONS["retry_delay_seconds"]:
        try:
            return await what()
        except Unavailable as error:
            get_run_logger().warning("asks again in %.0f s: %s", delay_s, error)
            await asyncio.sleep(delay_s)
    return await what()
