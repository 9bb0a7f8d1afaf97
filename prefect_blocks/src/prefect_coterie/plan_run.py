"""Run a plan inside a flow: one Prefect task run for each plan task, started when the plan's rules allow."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

from prefect.context import FlowRunContext
from prefect.states import Completed

from coterie import Plan, SagaResult, WorkflowResult
from coterie.conclude import conclude
from coterie.errors import Misuse, PolicyError
from coterie.ids import check_workflow_id
from coterie.saga.telling import undo_summary
from coterie.walk import walk
from prefect_coterie.journalling import intent_here, journal_of
from prefect_coterie.location import check_reach, check_state_reach
from prefect_coterie.people.approval import People
from prefect_coterie.people.standstill import Person, check_person
from prefect_coterie.placing import calls_of
from prefect_coterie.run_state import cancelled, failed
from prefect_coterie.session import Job, recorded, shared_session
from prefect_coterie.shutdown import graceful
from prefect_coterie.source import (
    ArtifactsSource,
    StoreSource,
    TeamSource,
    artifacts_of,
    open_team,
    store_of,
    team_of,
)
from prefect_coterie.steps import Steps
from prefect_coterie.tasks import workflow_id_here
from prefect_coterie.undoing import conclude_or_undo

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from coterie import JsonValue, Ref

__all__ = ["OnPartial", "final_state", "run_plan"]

OnPartial = Literal["succeed", "fail"]

_NAMED_IN_MESSAGE = 10


async def run_plan(
    plan: Plan,
    *,
    team: TeamSource,
    artifacts: ArtifactsSource | None = None,
    store: StoreSource | None = None,
    params: Mapping[str, JsonValue] | None = None,
    workflow_id: str | None = None,
    foreach_parts: int = 8,
    submit: bool = False,
    force: str | None = None,
    allow_changes: bool = False,
    approvals: Person = "pause",
    poll_s: float = 5.0,
) -> WorkflowResult:
    """Run `plan` inside the surrounding flow run and say how each task ended; failures are in the result.

    team, artifacts, store: a block, its name, or a path and a URL. params: over the plan's own.
    store: where the team's policies count, if it has any; by default the team block's own, or `COTERIE_STORE`.
    workflow_id: by default `prefect.<flow run id>`; another run's continues it under the same identity.
    foreach_parts: into how many task runs a foreach is cut, at most.
    submit: hand the tasks to the flow's task runner. By default they run in the flow's own event loop, where
    agents' capacities hold for the whole run; a runner's task runs know nothing of each other.
    force: have everything done anew, though the journal knows how it ended; the same text a second time is the same
    demand. allow_changes: whether a run that began with another plan goes on with this one.

    approvals: what the flow run does once nothing but tasks that ask a person are left to run. `pause`: it waits, and
        shows them as forms, one after another; the process stays. `suspend`: the process ends too, and is started again
        by the answer, or by `wake_suspended`; needs a deployment and a journal. `wait`: it runs on, for answers that
        are given elsewhere, such as by `coterie approve`; those count in any case. poll_s: how often a paused flow run
        asks the server for the answer.

    Where tasks name compensations, a run that failed is undone before this returns, and the result is a `SagaResult`.

    Raises:
        PlanChanged: it does not.
        UnknownAgentType, PolicyError, Misuse: nothing has run.
    """
    context = FlowRunContext.get()
    if context is None:
        raise Misuse("run_plan was called outside of a flow run; call it in a flow, or use plan_to_flow")
    name = check_workflow_id(workflow_id or await workflow_id_here())
    asks = any(task.approval is not None for task in plan.tasks)
    if asks:
        check_person(approvals, "approvals")
    source = await team_of(team)
    known = open_team(source)
    known.check(plan)
    runner = context.task_runner if submit else None
    intent = await intent_here(force=force, allow_changes=allow_changes)
    journal = await journal_of(store, source, intent, runner, kept=not submit)
    if asks and approvals == "suspend" and journal is None:
        raise PolicyError(
            f"approvals is 'suspend', and nothing of {plan.name!r} is kept in a journal, so that the answer would have "
            "all of it run and paid for again; name a store whose journal is on, or choose 'pause'"
        )
    state = await store_of(store, source)
    calls = await calls_of(store, source, plan.tasks, runner)
    job = Job(source, await artifacts_of(artifacts), name, plan.bind(params), state, journal, calls)
    await check_reach(job.artifacts, runner)
    if job.store is not None:
        await check_state_reach(job.store, runner, kept=not submit)
    people = People(job, how=approvals, poll_s=poll_s)
    steps = Steps(job, known, foreach_parts=foreach_parts, submit=submit, plan=plan, people=people)
    # Where a run may have to be undone, that is done in this loop.
    here = nullcontext() if submit and not plan.has_compensations else shared_session(job)
    with graceful():
        async with recorded(job, plan) as record_end, here:
            results = await walk(plan, steps.perform, steps.note)
            if plan.has_compensations:
                result: WorkflowResult = await conclude_or_undo(job, plan, results)
            else:
                result = conclude(plan, results, workflow_id=name)
            await record_end(result)
    return result


def final_state(result: WorkflowResult, stored: Ref | None = None, *, on_partial: OnPartial = "succeed") -> State[Any]:
    """The state for a flow to return: Completed, Completed/Partial, Failed/Partial, Failed or Cancelled.

    Its data is a small JSON object: workflow_id, status, plan (name and hash) and `stored`, the reference to the
    whole `WorkflowResult` if it was stored. Where the run was undone, `saga` says what came of that, and the first of
    what is left. A partial result fails the flow only where `on_partial` is "fail". Where it is not Completed, calling
    the flow raises `RunFailed`; with `return_state=True` it returns this state.
    """
    data = {
        "workflow_id": result.workflow_id,
        "status": result.status,
        "plan": {"name": result.plan_name, "hash": result.plan_hash},
        "stored": stored.serialize() if stored is not None else None,
    }
    if isinstance(result, SagaResult) and result.went_back:
        left = [{"id": letter.task_id, "left": letter.left} for letter in result.dead_letters[:_NAMED_IN_MESSAGE]]
        data["saga"] = {"outcome": result.outcome, "left": left}
    message = _summary(result)
    if result.status == "succeeded":
        return Completed(message=message, data=data)
    if result.status == "partial":
        if on_partial == "fail":
            return failed(data, message, name="Partial")
        return Completed(name="Partial", message=message, data=data)
    return cancelled(data, message) if result.status == "cancelled" else failed(data, message)


def _summary(result: WorkflowResult) -> str:
    lacking = [f"{one.task_id} {one.state}" for one in result if one.state not in ("succeeded", "skipped")]
    if not lacking:
        return f"{len(result.tasks)} tasks ended well"
    more = f" and {len(lacking) - _NAMED_IN_MESSAGE} more" if len(lacking) > _NAMED_IN_MESSAGE else ""
    named = ", ".join(lacking[:_NAMED_IN_MESSAGE])
    told = f"{len(lacking)} of {len(result.tasks)} tasks did not succeed: {named}{more}"
    if isinstance(result, SagaResult) and result.went_back:
        told += f"; {undo_summary(result)}"
    return told
