"""The last task of a plan's DAG: how the run ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context

from airflow_provider_coterie.conclusion import OnPartial, check_on_partial, publish
from airflow_provider_coterie.hook import DEFAULT_CONN_ID, CoterieHook
from airflow_provider_coterie.identity import identity_of
from airflow_provider_coterie.node import PlanNode
from airflow_provider_coterie.upstream import pull_ends, results_of
from airflow_provider_coterie.work import Work
from coterie import Plan, Ref, WorkflowResult
from coterie.conclude import conclude

__all__ = ["CoterieResultOperator"]


class CoterieResultOperator(BaseOperator):
    """Make the plan's `WorkflowResult` from what its tasks left, whatever became of them.

    The return value is a `Ref` to the whole result; the XCom `coterie_status` holds its status and what is missing.
    """

    ui_color = "#dfe8f2"
    shallow_copy_attrs: Sequence[str] = ("plan",)

    def __init__(
        self,
        *,
        plan: Plan,
        plan_group: str | None = None,
        on_partial: OnPartial = "succeed",
        coterie_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,  # Airflow's own arguments, checked by it
    ) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.plan_group = plan_group
        self.on_partial = check_on_partial(on_partial)
        self.coterie_conn_id = coterie_conn_id
        self._work = Work()

    def on_kill(self) -> None:
        """Stop waiting for the store."""
        self._work.stop()

    def execute(self, context: Context) -> Ref:
        """Conclude the run.

        Raises:
            AirflowFailException: the run failed, or is partial where that counts as failure.
        """
        identity = identity_of(context, self.plan_group)
        hook = CoterieHook(self.coterie_conn_id, executor=self.executor)
        store = hook.get_conn()
        nodes = {task.id: PlanNode(self.plan, task, self.plan_group) for task in self.plan.tasks}
        ends = pull_ends(context, {name: node.airflow_id(name) for name, node in nodes.items()})

        async def work() -> tuple[Ref, WorkflowResult]:
            results = await results_of(store, ends)
            result = conclude(self.plan, results, workflow_id=identity.workflow_id)
            return await store.put(result.to_dict()), result

        ref, result = self._work.run(work())
        return publish(context, ref, result, self.on_partial)
