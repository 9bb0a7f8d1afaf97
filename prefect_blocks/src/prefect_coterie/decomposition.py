"""A Prefect task that turns an objective into a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect import task

from prefect_coterie.policy import OPTIONS
from prefect_coterie.source import TeamSource, open_team, team_of

if TYPE_CHECKING:
    from coterie import JsonValue
    from coterie.decompose import Decomposer

__all__ = ["decompose"]


@task(name="decompose", task_run_name="decompose", **OPTIONS)
async def decompose(
    objective: str,
    context: Mapping[str, JsonValue] | None = None,
    *,
    decomposer: Decomposer,
    team: TeamSource,
) -> dict[str, Any]:
    """A plan that reaches `objective`, as JSON: `run_plan(Plan.from_dict(plan), …)` runs it.

    context: facts for the decomposer. decomposer: such as `coterie.decompose.TemplateDecomposer`.
    team: whose agents the plan may use.

    Raises:
        PlanRejected: no acceptable plan was found. Misuse: the objective cannot be used as it is.
        Unavailable: whoever makes the plan did not answer; Prefect tries again.
    """
    known = open_team(await team_of(team))
    plan = await decomposer.decompose(objective, dict(context or {}), team=known)
    return plan.to_dict()
