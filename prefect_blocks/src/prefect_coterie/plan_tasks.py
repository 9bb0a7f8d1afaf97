"""The Prefect tasks that one plan task becomes: one, or for a foreach a split, its parts and a gathering.

Each takes a `title`, the name of its task run: an option per task run would cost a copy of the Prefect task.
"""

# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import task

from coterie import Part, PartResult, Parts, Task, TaskResult
from coterie.errors import LeaseLost, Unavailable
from prefect_coterie.policy import OPTIONS
from prefect_coterie.record import Record, failure, record_state
from prefect_coterie.session import Job, session
from prefect_coterie.tasks import Outcome, perform, returned

__all__ = ["gather_parts", "perform_part", "perform_task", "split_items", "stand_in"]


@task(name="coterie-task", task_run_name="{title}", **OPTIONS)
async def perform_task(title: str, wanted: Task, job: Job, upstream: Sequence[Record]) -> Outcome:
    """Run one task of a plan. Its failure is in the state that is returned, with the record."""
    try:
        return returned(await perform(wanted, job, upstream))
    except (Unavailable, LeaseLost):
        raise
    # A condition or input that cannot be read is the task's failure, as in the in-process engine.
    except Exception as error:  # noqa: BLE001
        return record_state(failure(wanted.id, error))


@task(name="coterie-split", task_run_name="{title}", **OPTIONS)
async def split_items(title: str, wanted: Task, job: Job, upstream: Sequence[Record], max_parts: int) -> dict[str, Any]:
    """Cut the list of a foreach: `{"cut": serialised Parts}`, or null for it where the condition says no.

    Raises:
        Misuse: there is no list where the foreach points.
    """
    before = {record["task_id"]: TaskResult.from_dict(record) for record in upstream}
    async with session(job) as runtime:
        parts = await runtime.orchestrator.split(
            wanted, max_parts=max_parts, upstream=before, workflow_id=job.workflow_id, params=job.params
        )
    return {"cut": parts.serialize() if parts is not None else None}


@task(name="coterie-part", task_run_name="{title}", **OPTIONS)
async def perform_part(
    title: str, wanted: Task, job: Job, *, upstream: Sequence[Record], split: dict[str, Any], index: int
) -> dict[str, Any]:
    """Run the items of part `index`; the serialised `PartResult`. Items that fail are in it, not raised."""
    before = {record["task_id"]: TaskResult.from_dict(record) for record in upstream}
    part: Part = Parts.deserialize(split["cut"])[index]
    async with session(job) as runtime:
        done = await runtime.orchestrator.execute_part(
            wanted, part, upstream=before, workflow_id=job.workflow_id, params=job.params, intent=job.intent
        )
    return done.serialize()


@task(name="coterie-gather", task_run_name="{title}", **OPTIONS)
async def gather_parts(
    title: str, wanted: Task, job: Job, split: dict[str, Any], ended: Sequence[dict[str, Any]]
) -> Outcome:
    """Stand for a foreach in the run: its record, from those of its parts. A part that is absent was lost."""
    parts = Parts.deserialize(split["cut"])
    async with session(job) as runtime:
        result = await runtime.orchestrator.gather(
            wanted, parts, [PartResult.deserialize(one) for one in ended], workflow_id=job.workflow_id
        )
    return returned(result)


@task(name="coterie-absent", task_run_name="{title}", **OPTIONS)
async def stand_in(title: str, result: TaskResult, upstream: Sequence[Record] = ()) -> Outcome:
    """Stand for a task that no agent ran, so that the run shows every task of its plan."""
    return record_state(result)
