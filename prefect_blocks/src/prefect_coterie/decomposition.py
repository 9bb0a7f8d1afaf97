"""A Prefect task that turns an objective into a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import CachePolicy
from prefect.context import FlowRunContext

from coterie.errors import CoterieError
from prefect_coterie.instance import instance_here
from prefect_coterie.policy import OPTIONS
from prefect_coterie.source import TeamSource, open_team, team_of

if TYPE_CHECKING:
    from prefect.context import TaskRunContext

    from coterie import JsonValue
    from coterie.decompose import Decomposer

__all__ = ["decompose"]


def _run_of(task: TaskRunContext) -> str:
    """What stays the same in all tries of the run around, and of a flow that called it."""
    flow = FlowRunContext.get()
    if flow is None or flow.flow_run is None:
        return str(task.task_run.flow_run_id or task.task_run.id)
    return str(flow.flow_run.parent_task_run_id or flow.flow_run.id)


class _KeptForRun(CachePolicy):
    """A flow run that is tried again, or goes on after it was suspended, has the plan that it began with.

    Whoever makes plans may make another each time; then what the journal knows would be of another plan.
    """

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],  # noqa: ARG002  # the signature is Prefect's
        **kwargs: Any,  # noqa: ARG002
    ) -> str | None:
        """The key of the result in Prefect's storage."""
        try:
            which = instance_here("decompose", {name: inputs[name] for name in ("objective", "context")})
        except CoterieError:
            # The task itself says what is wrong with them.
            which = str(task_ctx.task_run.id)
        return f"coterie-{_run_of(task_ctx)}-decompose-{which.replace('#', '-')}"


@task(name="decompose", task_run_name="decompose", **{**OPTIONS, "cache_policy": _KeptForRun()})
async def decompose(
    objective: str,
    context: Mapping[str, JsonValue] | None = None,
    *,
    decomposer: Decomposer,
    team: TeamSource,
) -> dict[str, Any]:
    """A plan that reaches `objective`, as JSON: `run_plan(Plan.from_dict(plan), …)` runs it.

    The same in every attempt of the flow run, as long as Prefect's result storage has it.

    context: facts for the decomposer. decomposer: such as `coterie.decompose.TemplateDecomposer`.
    team: whose agents the plan may use.

    Raises:
        PlanRejected: no acceptable plan was found. Misuse: the objective cannot be used as it is.
        Unavailable: whoever makes the plan did not answer; Prefect tries again.
    """
    known = open_team(await team_of(team))
    plan = await decomposer.decompose(objective, dict(context or {}), team=known)
    return plan.to_dict()
