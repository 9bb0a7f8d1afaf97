"""A whole plan in one Airflow task, for plans that are known only when the DAG runs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from itertools import count
from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_coterie.conclusion import OnPartial, check_on_partial, publish
from airflow_provider_coterie.identity import RunIdentity, identity_of
from airflow_provider_coterie.ledger import keeping
from airflow_provider_coterie.operators.journalled import JournalledOperator
from airflow_provider_coterie.waiting import ClaimWait, claim_wait
from coterie import ArtifactStore, Orchestrator, Plan, Ref, WorkflowResult
from coterie.errors import ClaimedElsewhere, CoterieError, LeaseLost, Misuse, PolicyError, Unavailable
from coterie.journal import Intent
from coterie.journal.place import RUN

__all__ = ["CoterieWorkflowOperator"]


# Between two looks of a task that waits in its worker.
_LOOK_S = 1.0


class CoterieWorkflowOperator(JournalledOperator):
    """Run a plan in this task's process, all its agents with their own capacity.

    plan: a `Plan`; the path of a plan file; or the output of a `CoterieDecomposeOperator` (templated).
    plan_params: the run's parameters, over the plan's defaults (templated).
    team_path: `package.module:team`; by default the connection's. Never templated: importing it runs code.
    on_clear: as of every operator: what a cleared task does with those of the plan's tasks that succeeded.
    deferrable: whether to wait outside of any worker while another process is at the run, such as an earlier try.

    A later try goes on where an earlier one ended. The return value is a `Ref` to the `WorkflowResult`.
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
        deferrable: bool = True,
        **kwargs: Any,  # the journal's and Airflow's own arguments
    ) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.plan_params = plan_params
        self.team_path = team_path
        self.on_partial = check_on_partial(on_partial)
        self.deferrable = deferrable

    def execute(self, context: Context) -> Ref:
        """Run the plan to its end.

        Raises:
            AirflowFailException: the run failed, or the plan cannot run; a retry would not help.
            Unavailable, LeaseLost: a store did not answer, or another process has the run; a later try may succeed.
            TaskDeferred: another process is at the run.
        """
        with self.journalled():
            try:
                ended = self._work.run(self._run(context))
            except (Unavailable, LeaseLost):
                raise
            except CoterieError as error:
                raise AirflowFailException(f"{type(error).__name__}: {error}") from error
            if isinstance(ended, ClaimWait):
                self.defer_until_free(ended)
            ref, result = ended
            return publish(context, ref, result, self.on_partial)

    def resume(self, context: Context, event: Mapping[str, Any]) -> Ref:  # noqa: ARG002  # what woke it says nothing more
        """Run what is left of the plan, as `execute`."""
        return self.execute(context)

    def _run(self, context: Context) -> Coroutine[Any, Any, tuple[Ref, WorkflowResult] | ClaimWait]:
        map_index = context["ti"].map_index
        identity = identity_of(context, self.task_id, on_clear=self.on_clear, map_index=map_index)
        self.lead_to(context, identity.workflow_id, alone=True)
        team = self.hook.team(self.team_path)
        ledger = self.open_ledger(identity)
        runtime = self.runtime(team, ledger)

        async def run() -> tuple[Ref, WorkflowResult] | ClaimWait:
            async with runtime, keeping(ledger, identity) as intent:
                store = runtime.artifacts
                assert store is not None
                plan = await _plan_from(self.plan, store)
                team.check(plan)
                _check_unattended(plan)
                result = await self._ask(runtime.orchestrator, plan, identity, intent)
                if isinstance(result, ClaimWait):
                    return result
                return await store.put(result.to_dict()), result

        return run()

    async def _ask(
        self, orchestrator: Orchestrator, plan: Plan, identity: RunIdentity, intent: Intent
    ) -> WorkflowResult | ClaimWait:
        """Have the plan run; or say what there is to wait for, outside of this process."""
        for look in count():
            try:
                return await orchestrator.execute_workflow(
                    plan, workflow_id=identity.workflow_id, params=self.plan_params, intent=intent
                )
            except ClaimedElsewhere as busy:
                if not look:
                    self.log.info("waiting: %s", busy)
                if self.deferrable:
                    return claim_wait(busy, identity.workflow_id, RUN)
                await asyncio.sleep(min(busy.retry_after_s, _LOOK_S))
        raise AssertionError("unreachable")


def _check_unattended(plan: Plan) -> None:
    """Refuse a plan in which a person decides: this task would hold its worker for as long as they think."""
    asking = [task.id for task in plan.tasks if task.approval is not None]
    if asking:
        raise PolicyError(
            f"the task {asking[0]!r} of {plan.name!r} waits for a person, and CoterieWorkflowOperator would hold a "
            "worker meanwhile; make a DAG, or a task group, of the plan with plan_to_dag or plan_to_task_group"
        )


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
