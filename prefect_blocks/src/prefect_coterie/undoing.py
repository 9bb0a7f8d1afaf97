"""What a flow does of a plan whose tasks name compensations: ask before each task, and undo a run that failed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeAlias

from prefect import Task as PrefectTask
from prefect import task
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Failed
from prefect.utilities.annotations import opaque

from coterie import Plan, Ref, Saga, SagaResult, Task, TaskResult
from coterie.ids import TaskId
from coterie.saga.telling import ANEW, undo_summary
from prefect_coterie.policy import OPTIONS, tried_again
from prefect_coterie.record import read_record
from prefect_coterie.session import Job, session
from prefect_coterie.waiting import tell_waiting

__all__ = ["admits", "conclude_or_undo"]

# The name of the task run, as on Airflow.
_LAST = "workflow_result"

_Stored: TypeAlias = "dict[str, Any]"


async def admits(job: Job, plan: Plan, wanted: Task, upstream: Mapping[TaskId, TaskResult]) -> bool:
    """Whether a task of the run may begin: its run may have been undone, or be undone just now.

    Raises:
        Unavailable: the journal does not answer, as often as task runs are tried.
    """
    return await tried_again(partial(_admits, job, plan, wanted, upstream))


async def _admits(job: Job, plan: Plan, wanted: Task, upstream: Mapping[TaskId, TaskResult]) -> bool:
    async with session(job) as runtime:
        admitted = await Saga(runtime.orchestrator).admits(
            plan, wanted.id, upstream, workflow_id=job.workflow_id, intent=job.intent
        )
    if not admitted:
        get_run_logger().warning("%s does not begin: %s", wanted.id, ANEW)
    return admitted


async def conclude_or_undo(job: Job, plan: Plan, results: Mapping[TaskId, TaskResult]) -> SagaResult:
    """How the run ended: if it failed, after what it made is undone, in a task run of its own.

    Raises:
        What undoing it raised, after Prefect's retries: nothing that is done is done again by the next attempt.
    """
    run: PrefectTask[..., Any] = undo
    given = {"plan": opaque(plan), "job": opaque(job), "results": opaque(dict(results))}
    state: State[Any] = await run(title=_LAST, **given, return_state=True)
    found = await read_record(state)
    if isinstance(found, BaseException):
        raise found
    document: Any = await job.artifacts.get_store().load(Ref.deserialize(found["stored"]))
    return SagaResult.from_dict(document)


@task(name="coterie-undo", task_run_name="{title}", **OPTIONS)
async def undo(title: str, plan: Plan, job: Job, results: Mapping[TaskId, TaskResult]) -> _Stored | State[_Stored]:  # noqa: ARG001
    """Undo the run if it failed; refusals, and others who are at it, are waited for here.

    Its result, `{"stored": …, "outcome": …}`, is in the state, which fails where anything had to be undone.
    """
    async with session(job) as runtime:
        result = await Saga(runtime.orchestrator, on_event=tell_waiting).compensate(
            plan, results, workflow_id=job.workflow_id, params=job.params, intent=job.intent
        )
    stored = await job.artifacts.get_store().put(result.to_dict())
    document: _Stored = {"stored": stored.serialize(), "outcome": result.outcome}
    if not result.went_back:
        return document
    name = "Undone" if result.outcome == "compensated" else "CompensationFailed"
    return Failed(name=name, message=undo_summary(result), data=document)
