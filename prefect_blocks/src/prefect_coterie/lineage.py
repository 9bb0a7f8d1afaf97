"""Flow runs that flows call: which runs are tries of one call, and whose call that was.

Where a flow that called others is tried again, Prefect gives those that had not completed a fresh run: only the task
run that stands for the call, in the caller, stays the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentTaskRunId
from prefect.client.schemas.sorting import FlowRunSort

from coterie.errors import Unavailable

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

__all__ = ["callers_of", "first_try_of"]

# By flow run: single tasks ask as often as plans.
_first: dict[UUID, UUID] = {}
_MOST = 1_000


async def first_try_of(flow_run: FlowRun) -> UUID:
    """The first run of the call that this is a run of: itself, where no flow has called it, or not twice.

    Raises:
        Unavailable: the server does not answer.
    """
    call = flow_run.parent_task_run_id
    if call is None:
        return flow_run.id
    if flow_run.id not in _first:
        tries = FlowRunFilter(parent_task_run_id=FlowRunFilterParentTaskRunId(any_=[call]))
        try:
            async with get_client() as client:
                found = await client.read_flow_runs(
                    flow_run_filter=tries, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=1
                )
        except HTTPError as error:
            raise Unavailable(f"the Prefect server does not tell which try of its call this is: {error}") from error
        if len(_first) >= _MOST:
            _first.clear()
        _first[flow_run.id] = found[0].id if found else flow_run.id
    return _first[flow_run.id]


async def callers_of(client: PrefectClient, flow_run: FlowRun) -> list[UUID]:
    """The flow runs that called this one, the outermost first."""
    found: list[UUID] = []
    call = flow_run.parent_task_run_id
    while call is not None:
        caller = (await client.read_task_run(call)).flow_run_id
        if caller is None:
            break
        found.insert(0, caller)
        call = (await client.read_flow_run(caller)).parent_task_run_id
    return found
