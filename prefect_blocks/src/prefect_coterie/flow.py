"""Turn a plan into a Prefect flow whose parameters are the plan's."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias

from prefect import Flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from coterie import ArtifactStore, Plan, Ref, WorkflowResult
from coterie.errors import Misuse
from prefect_coterie.plan_run import OnPartial, final_state, run_plan
from prefect_coterie.publication import publish_result
from prefect_coterie.source import ArtifactsSource, StoreSource, TeamSource, artifacts_of

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State
    from prefect.task_runners import TaskRunner

__all__ = ["Publish", "plan_to_flow"]

# Shows a result to people; what it raises is logged, and does not change how the run ended.
Publish: TypeAlias = Callable[[WorkflowResult, ArtifactStore], Awaitable[None]]

_RUN_ID, _FORCE = "coterie_run_id", "coterie_force"
_RESERVED = frozenset({_RUN_ID, _FORCE, "return_state", "wait_for"})
_TYPES: dict[type, Any] = {bool: bool, int: int, float: float, str: str, list: list[Any], dict: dict[str, Any]}


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

    Raises:
        Misuse: a parameter of the plan cannot be a parameter of a flow.
    """
    _check_names(plan)
    title = name or plan.name

    async def run(**parameters: Any) -> State[Any]:  # a plan's parameters are any JSON
        run_id, force = parameters.pop(_RUN_ID, None), parameters.pop(_FORCE, None)
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
        )
        outputs = place.get_store()
        stored = await _stored(outputs, result)
        if publish is not None:
            await _published(publish, result, outputs)
        return final_state(result, stored, on_partial=on_partial)

    _pretend(run, plan, title, _globals_of_caller(inspect.currentframe()))
    return Flow(
        run,
        name=title,
        version=plan.hash[:12],
        description=description,
        flow_run_name=_run_name(title),
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


def _globals_of_caller(frame: FrameType | None) -> dict[str, Any]:
    return frame.f_back.f_globals if frame is not None and frame.f_back is not None else {}


def _run_name(title: str) -> Callable[[], str]:
    def name() -> str:
        given = (flow_run.parameters or {}).get(_RUN_ID)
        return f"{title}/{given or str(flow_run.id)[-12:]}"

    return name


def _pretend(run: Callable[..., Any], plan: Plan, title: str, caller: dict[str, Any]) -> None:
    """Give the function the plan's signature, and the place of the variable that will hold the flow.

    Prefect reads parameters from the signature, and finds a deployed flow by module, file and name.
    """
    parameters = [_parameter(name, default) for name, default in plan.params.items()]
    parameters += [_parameter(name, None, str | None) for name in (_RUN_ID, _FORCE)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect.signature
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__ = run.__qualname__ = title.replace("-", "_")
    run.__module__ = caller.get("__name__", run.__module__)
    run.__doc__ = f"Run the coterie plan {plan.name!r}."


def _parameter(name: str, default: Any, annotation: Any = None) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation or _TYPES.get(type(default), Any))


def _check_names(plan: Plan) -> None:
    for name in plan.params:
        if not name.isidentifier() or name in _RESERVED:
            raise Misuse(
                f"the parameter {name!r} of the plan {plan.name!r} cannot be a flow's parameter; "
                "rename it to a Python name that Prefect does not use"
            )
