"""Prefect tasks that run one agent: `arun_agent`, and `run_agent` for code that cannot await."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from prefect import task
from prefect.context import FlowRunContext, TaskRunContext

from coterie import Task, TaskResult
from coterie.errors import Misuse, StepFailed
from coterie.task import Placement
from prefect_coterie.instance import instance_here
from prefect_coterie.journalling import intent_here, journal_of
from prefect_coterie.lineage import first_try_of
from prefect_coterie.location import check_state_reach, runner_here
from prefect_coterie.numbered import numbered
from prefect_coterie.placing import calls_of
from prefect_coterie.policy import OPTIONS
from prefect_coterie.record import Record, record_state
from prefect_coterie.session import Job, session
from prefect_coterie.shutdown import graceful
from prefect_coterie.source import ArtifactsSource, StoreSource, TeamSource, artifacts_of, store_of, team_of

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from coterie import JsonValue

__all__ = ["Outcome", "arun_agent", "lone_task", "run_agent", "workflow_id_here"]

# A record, or a state that carries one.
Outcome: TypeAlias = "Record | State[Record]"


@numbered
@task(name="run-agent", task_run_name="{agent_type}", **OPTIONS)
async def arun_agent(
    agent_type: str,
    task_input: Mapping[str, JsonValue] | None = None,
    *,
    team: TeamSource,
    artifacts: ArtifactsSource | None = None,
    store: StoreSource | None = None,
    plan_task: Task | None = None,
    upstream: Iterable[Record] = (),
    workflow_id: str | None = None,
    params: Mapping[str, JsonValue] | None = None,
    force: str | None = None,
    placement: Placement | None = None,
    priority: int = 0,
) -> Record:
    """Run one agent of a team and return the record of how it ended, `TaskResult.to_dict()`.

    agent_type: the skill that is asked for; task_input: a JSON object.
    team, artifacts, store: a block, its name, or a path and a URL.
    store: where the team's policies count, if it has any; by default the team block's own, or `COTERIE_STORE`.
    plan_task: a task of a plan, in place of a lone one of `agent_type` with `task_input`.
    upstream: records of tasks that ended before; the agent finds them in its context.
    workflow_id: by default `prefect.<flow run id>`.
    force: have it done anew, though the journal knows how it ended; the same text a second time is the same demand.
    placement: "remote": a worker elsewhere performs it, which has the same store; "local": an agent here, whatever the
        team says. priority: of a lone task.

    Raises:
        StepFailed: the agent failed, or was refused for longer than its policies wait; `.record` is its record.
        UnknownAgentType, PolicyError, Misuse: nothing has run.
        Unavailable: a store failed; Prefect tries again.
    """
    records = list(upstream)
    wanted = plan_task or lone_task(agent_type, task_input, records, priority=priority)
    if placement is not None:
        wanted = replace(wanted, placement=placement)
    known = await team_of(team)
    state = await store_of(store, known)
    if state is not None:
        await check_state_reach(state, runner_here(), kept=False)
    calls = await calls_of(store, known, [wanted], runner_here())
    place, name = await artifacts_of(artifacts), workflow_id or await workflow_id_here()
    journal = await journal_of(store, known, await intent_here(force=force), runner_here(), kept=False)
    job = Job(known, place, name, dict(params or {}), state, journal, calls)
    instance = instance_here(agent_type, wanted.input) if plan_task is None else None
    return _record_or_raise(await perform(wanted, job, records, instance=instance))


@numbered
@task(name="run-agent", task_run_name="{agent_type}", **OPTIONS)
def run_agent(
    agent_type: str,
    task_input: Mapping[str, JsonValue] | None = None,
    *,
    team: TeamSource,
    artifacts: ArtifactsSource | None = None,
    store: StoreSource | None = None,
    plan_task: Task | None = None,
    upstream: Iterable[Record] = (),
    workflow_id: str | None = None,
    params: Mapping[str, JsonValue] | None = None,
    force: str | None = None,
    placement: Placement | None = None,
    priority: int = 0,
) -> Record:
    """`arun_agent`, blocking; not to be called where an event loop runs.

    Prefect cannot interrupt a blocking task in a worker thread: give the agent itself a time-out.
    """
    from coterie.sync import run

    with graceful():
        found: Record = run(
            arun_agent.fn(
                agent_type,
                task_input,
                team=team,
                artifacts=artifacts,
                store=store,
                plan_task=plan_task,
                upstream=upstream,
                workflow_id=workflow_id,
                params=params,
                force=force,
                placement=placement,
                priority=priority,
            )
        )
    return found


async def perform(wanted: Task, job: Job, upstream: Iterable[Record], *, instance: str | None = None) -> TaskResult:
    """Run one task with the job's team and store. instance: as of `Orchestrator.execute_task`."""
    before = {record["task_id"]: TaskResult.from_dict(record) for record in upstream}
    async with session(job) as runtime:
        return await runtime.orchestrator.execute_task(
            wanted,
            upstream=before,
            workflow_id=job.workflow_id,
            params=job.params,
            intent=job.intent,
            instance=instance,
        )


async def workflow_id_here() -> str:
    """The identity of the run around: the same for all its tasks and their retries, and for the retries of a flow that
    called it.

    Raises:
        Misuse: there is no run around. Unavailable: the server does not tell.
    """
    flow, one = FlowRunContext.get(), TaskRunContext.get()
    if flow is not None and flow.flow_run is not None:
        return f"prefect.{await first_try_of(flow.flow_run)}"
    if one is not None:
        return f"prefect.{one.task_run.flow_run_id or one.task_run.id}"
    raise Misuse("this runs outside of any Prefect run; call it in a flow or task, or give a workflow_id")


def lone_task(
    agent_type: str, task_input: Mapping[str, Any] | None, upstream: list[Record], *, priority: int = 0
) -> Task:
    """The task that stands for a single call of an agent."""
    before = tuple(record["task_id"] for record in upstream)
    return Task(agent_type, agent_type, input=dict(task_input or {}), depends_on=before, priority=priority)


def _record_or_raise(result: TaskResult) -> Record:
    if result.state in ("succeeded", "skipped"):
        return result.to_dict()
    error = AgentFailed(f"{result.task_id!r} ended {result.state}: {result.error}")
    error.record = result.to_dict()
    raise error


class AgentFailed(StepFailed):
    """An agent that was run on its own failed. `record` is what became of it."""

    record: Record


def returned(result: TaskResult) -> Outcome:
    """What a plan's task run returns: its record, in a state that says the same."""
    return result.to_dict() if result.state == "succeeded" else record_state(result)
