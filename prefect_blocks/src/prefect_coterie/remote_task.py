"""Have a worker elsewhere perform a task, and go on: `submit_remote` returns a Prefect future."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from prefect.context import FlowRunContext

from coterie import Task, Team
from coterie.errors import Misuse
from prefect_coterie.record import Record
from prefect_coterie.shutdown import stand_by
from prefect_coterie.source import ArtifactsSource, StoreSource, TeamSource
from prefect_coterie.tasks import arun_agent, lone_task

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture

    from coterie import JsonValue

__all__ = ["submit_remote"]

_REMEMBERED = 1000
# How many calls of each agent type there were, by flow run and its try.
_counts: OrderedDict[tuple[str, int], Counter[str]] = OrderedDict()


def submit_remote(
    agent_type: str,
    task_input: Mapping[str, JsonValue] | None = None,
    *,
    team: TeamSource | None = None,
    artifacts: ArtifactsSource | None = None,
    store: StoreSource | None = None,
    plan_task: Task | None = None,
    upstream: Iterable[Record] = (),
    workflow_id: str | None = None,
    params: Mapping[str, JsonValue] | None = None,
    force: str | None = None,
    priority: int = 0,
    wait_for: Iterable[PrefectFuture[object]] | None = None,
) -> PrefectFuture[Record]:
    """Ask `coterie worker`s for a task, and return at once: a future whose result is the record, as of `run_agent`.

    The task run only waits. It is called like the plan's task, or else `<agent_type>-<number>`, from 1. Its retry, and
    that of the flow run, join the call that is under way; when a runner cancels the flow run, the call is cancelled,
    and the agent at the worker. The end is in the journal, outputs are among the artifacts.

    However the flow ends, Prefect waits for its task runs: a flow that gives up, or is interrupted by Ctrl-C, leaves
    its process there until the calls have ended. SIGTERM ends it sooner.

    team: by default one that knows nothing but that workers serve the type.
    store: where workers are asked: that which they have. by default the team block's own, or `COTERIE_STORE`.
    priority: calls of a higher one are begun first. wait_for: futures that end before. Others: as of `run_agent`.

    Raises:
        Misuse: this is no flow, or the task cannot be one.
    """
    if FlowRunContext.get() is None:
        raise Misuse("submit_remote was called outside of a flow run; call it in a flow, or use run_agent")
    stand_by()
    records = list(upstream)
    wanted = plan_task or lone_task(agent_type, task_input, records, priority=priority)
    # Prefect's overloads know of no `wait_for` beside parameters of the task's own.
    future: Any = arun_agent.with_options(task_run_name=_called(plan_task, agent_type)).submit(
        agent_type,
        task_input,
        team=team if team is not None else _workers(agent_type),
        artifacts=artifacts,
        store=store,
        plan_task=None if plan_task is None else wanted,
        upstream=records,
        workflow_id=workflow_id,
        params=params,
        force=force,
        placement="remote",
        priority=priority,
        wait_for=wait_for,
        return_state=False,
    )
    return cast("PrefectFuture[Record]", future)


def _called(plan_task: Task | None, agent_type: str) -> str:
    """What people see the task run as: the task's id; or the type, and which one of it in this try of the flow run."""
    flow = FlowRunContext.get()
    if plan_task is not None or flow is None or flow.flow_run is None:
        return agent_type if plan_task is None else plan_task.id
    counts = _counts.setdefault((str(flow.flow_run.id), flow.flow_run.run_count), Counter())
    while len(_counts) > _REMEMBERED:
        _counts.popitem(last=False)
    counts[agent_type] += 1
    return f"{agent_type}-{counts[agent_type]}"


def _workers(agent_type: str) -> Team:
    team = Team("workers")
    team.remote(agent_type)
    return team
