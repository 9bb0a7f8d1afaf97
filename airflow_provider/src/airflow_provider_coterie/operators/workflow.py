"""A whole plan in one Airflow task, for plans that are known only when the DAG runs."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_coterie.conclusion import OnPartial, check_on_partial, publish
from airflow_provider_coterie.hook import DEFAULT_CONN_ID, CoterieHook
from airflow_provider_coterie.identity import identity_of
from airflow_provider_coterie.work import Work
from coterie import ArtifactStore, Plan, Ref, WorkflowResult
from coterie.errors import CoterieError, Misuse, Unavailable

__all__ = ["CoterieWorkflowOperator"]


class CoterieWorkflowOperator(BaseOperator):
    """Run a plan in this task's process, all its agents with their own capacity.

    plan: a `Plan`; the path of a plan file; or the output of a `CoterieDecomposeOperator` (templated).
    plan_params: the run's parameters, over the plan's defaults (templated).
    team_path: `package.module:team`; by default the connection's. Never templated: importing it runs code.

    The return value is a `Ref` to the `WorkflowResult`.
    """

    template_fields: Sequence[str] = ("plan", "plan_params")
    ui_color = "#e8f0e4"

    def __init__(
        self,
        *,
        plan: Plan | str | Any,  # an XComArg stands for its value
        plan_params: Mapping[str, Any] | None = None,
        team_path: str | None = None,
        on_partial: OnPartial = "succeed",
        coterie_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,  # Airflow's own arguments, checked by it
    ) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.plan_params = plan_params
        self.team_path = team_path
        self.on_partial = check_on_partial(on_partial)
        self.coterie_conn_id = coterie_conn_id
        self._work = Work()

    def on_kill(self) -> None:
        """End every agent, and the processes that they started."""
        self._work.stop()

    def execute(self, context: Context) -> Ref:
        """Run the plan to its end.

        Raises:
            AirflowFailException: the run failed, or the plan cannot run; a retry would not help.
            Unavailable: a store did not answer; a later try may succeed.
        """
        try:
            ref, result = self._work.run(self._run(context))
        except Unavailable:
            raise
        except CoterieError as error:
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error
        return publish(context, ref, result, self.on_partial)

    def _run(self, context: Context) -> Coroutine[Any, Any, tuple[Ref, WorkflowResult]]:
        hook = CoterieHook(self.coterie_conn_id, executor=self.executor)
        runtime = hook.runtime(self.team_path)
        identity = identity_of(context, self.task_id)

        async def run() -> tuple[Ref, WorkflowResult]:
            async with runtime:
                store = runtime.artifacts
                assert store is not None
                plan = await _plan_from(self.plan, store)
                if runtime.team is not None:
                    runtime.team.check(plan)
                result = await runtime.orchestrator.execute_workflow(
                    plan, workflow_id=identity.workflow_id, params=self.plan_params
                )
                return await store.put(result.to_dict()), result

        return run()


async def _plan_from(given: object, store: ArtifactStore) -> Plan:
    if isinstance(given, Plan):
        return given
    if isinstance(given, Ref):
        return Plan.from_dict(await store.load(given))
    if isinstance(given, Mapping):
        return Plan.from_dict(given)
    if isinstance(given, str):
        return Plan.from_file(given)
    raise Misuse(f"{given!r} is no plan; pass a Plan, the path of a plan file, or the output of a decompose task")
