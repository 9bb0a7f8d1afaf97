"""Turn a plan into a Prefect flow whose parameters are the plan's."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

from prefect import Flow
from prefect.logging import get_run_logger

from coterie import ArtifactStore, Plan, Ref, WorkflowResult
from prefect_coterie.people.standstill import Person
from prefect_coterie.plan_run import OnPartial, final_state, run_plan
from prefect_coterie.publication import publish_result
from prefect_coterie.shutdown import graceful
from prefect_coterie.signature import FORCE, RUN_ID, check_names, globals_of_caller, pretend, run_name
from prefect_coterie.source import ArtifactsSource, StoreSource, TeamSource, artifacts_of

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State
    from prefect.task_runners import TaskRunner

__all__ = ["Publish", "plan_to_flow"]

# Shows a result to people; what it raises is logged, and does not change how the run ended.
Publish: TypeAlias = Callable[[WorkflowResult, ArtifactStore], Awaitable[None]]


def plan_to_flow(
    plan: Plan,
    *,
    team: TeamSource,
    artifacts: ArtifactsSource | None = None,
    store: StoreSource | None = None,
    name: str | None = None,
    on_partial: OnPartial = "succeed",
    foreach_parts: int = 8,
    task_runner: TaskRunner[Any] | None = None,
    publish: Publish | None = publish_result,
    timeout_seconds: float | None = None,
    description: str | None = None,
    allow_changes: bool = False,
    approvals: Person = "pause",
    poll_s: float = 5.0,
) -> Flow[..., Coroutine[Any, Any, Any]]:
    """An async flow that runs `plan`: assign it to a module's variable, then call, serve or deploy it.

    Its parameters are the plan's, with their defaults, and two more. `coterie_run_id` is the identity of the run, by
    default `prefect.<flow run id>`: that of a run which another engine began goes on with it. `coterie_force`, any
    text, has everything done anew, though the journal knows how it ended. Each plan task is one task run of that name;
    a foreach has task runs for its parts too.

    team, artifacts, store: a block, its name, or a path and a URL; looked up when the flow runs.
    store: where the team's policies count, if it has any; by default the team block's own, or `COTERIE_STORE`.
    name: of the flow and of the variable (with `_` for `-`), by default the plan's.
    on_partial: whether a partial result completes the flow, as `Completed(name="Partial")`, or fails it.
    foreach_parts: into how many task runs a foreach is cut, at most.
    task_runner: hand tasks to this runner (processes, Dask); by default they run in the flow's event loop.
    publish: shows the result, by default as a table among the run's artifacts; None shows nothing.
    timeout_seconds: for the whole flow run; agents and their children are ended then.
    allow_changes: whether a run that began with another plan goes on with this one.
    approvals, poll_s: how people are asked, as for `run_plan`.

    Raises:
        Misuse: a parameter of the plan cannot be a parameter of a flow.
    """
    check_names(plan.params, f"the plan {plan.name!r}")
    title = name or plan.name

    async def run(**parameters: Any) -> State[Any]:  # a plan's parameters are any JSON
        with graceful(ends_flow=True):
            return await perform(parameters)

    async def perform(parameters: dict[str, Any]) -> State[Any]:
        run_id, force = parameters.pop(RUN_ID, None), parameters.pop(FORCE, None)
        place = await artifacts_of(artifacts)
        result = await run_plan(
            plan,
            team=team,
            artifacts=place,
            store=store,
            params=parameters,
            workflow_id=run_id,
            foreach_parts=foreach_parts,
            submit=task_runner is not None,
            force=force,
            allow_changes=allow_changes,
            approvals=approvals,
            poll_s=poll_s,
        )
        outputs = place.get_store()
        stored = await _stored(outputs, result)
        if publish is not None:
            await _published(publish, result, outputs)
        return final_state(result, stored, on_partial=on_partial)

    run.__doc__ = f"Run the coterie plan {plan.name!r}."
    pretend(run, plan.params, title=title, caller=globals_of_caller(inspect.currentframe()))
    return Flow(
        run,
        name=title,
        version=plan.hash[:12],
        description=description,
        flow_run_name=run_name(title),
        task_runner=task_runner,
        timeout_seconds=timeout_seconds,
        persist_result=True,
        result_serializer="json",
    )


async def _stored(store: ArtifactStore, result: WorkflowResult) -> Ref:
    return await store.put(result.to_dict())


async def _published(publish: Publish, result: WorkflowResult, store: ArtifactStore) -> None:
    try:
        await publish(result, store)
    # Whatever a display does wrong is its own: the work is done and its result stands.
    except Exception:
        logger: logging.Logger | logging.LoggerAdapter[logging.Logger] = get_run_logger()
        logger.exception("the result of %s could not be published", result.workflow_id)
