"""The last task of a plan's DAG: how the run ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from airflow.sdk import Context

from airflow_provider_coterie.conclusion import OnPartial, check_on_partial, publish
from airflow_provider_coterie.identity import RunIdentity, identity_of
from airflow_provider_coterie.node import PlanNode
from airflow_provider_coterie.operators.journalled import JournalledOperator
from airflow_provider_coterie.upstream import Ended, pull_ends, results_of
from coterie import Plan, Ref, WorkflowResult
from coterie.conclude import conclude
from coterie.errors import CoterieError
from coterie.ids import TaskId
from coterie.journal import Journal
from coterie.telemetry.recording import record_run

__all__ = ["CoterieResultOperator"]

_CONCLUDE_S = 5.0


class CoterieResultOperator(JournalledOperator):
    """Make the plan's `WorkflowResult` from what its tasks left, whatever became of them.

    The return value is a `Ref` to the whole result; the XCom `coterie_status` holds its status and what is missing. The
    journal's list of runs shows the status too.
    """

    ui_color = "#dfe8f2"
    shallow_copy_attrs: Sequence[str] = ("plan",)

    def __init__(
        self,
        *,
        plan: Plan,
        plan_group: str | None = None,
        on_partial: OnPartial = "succeed",
        **kwargs: Any,  # the connection's and Airflow's own arguments
    ) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.plan_group = plan_group
        self.on_partial = check_on_partial(on_partial)

    def execute(self, context: Context) -> Ref:
        """Conclude the run.

        Raises:
            AirflowFailException: the run failed, or is partial where that counts as failure.
            Unavailable: a store did not answer; a later try may succeed.
        """
        identity = identity_of(context, self.plan_group, map_index=context["ti"].map_index)
        self.lead_to(context, identity.workflow_id)
        store, journal = self.hook.get_conn(), self.hook.get_journal()
        ends = self._ends(context)

        async def work() -> tuple[Ref, WorkflowResult]:
            try:
                results = await results_of(store, ends)
                result = conclude(self.plan, results, workflow_id=identity.workflow_id)
                ref = await store.put(result.to_dict())
                # Counted only now: what fails before is tried again.
                await self._conclude(journal, identity, result)
            finally:
                if journal is not None:
                    await journal.aclose()
            return ref, result

        ref, result = self._work.run(work())
        return publish(context, ref, result, self.on_partial)

    def _ends(self, context: Context) -> dict[TaskId, Ended]:
        """How the plan's tasks ended, as Airflow knows them."""
        return pull_ends(context, {name: node.airflow_id(name) for name, node in self._nodes().items()})

    def _nodes(self) -> dict[TaskId, PlanNode]:
        return {task.id: PlanNode(self.plan, task, self.plan_group) for task in self.plan.tasks}

    async def _conclude(self, journal: Journal | None, identity: RunIdentity, result: WorkflowResult) -> None:
        """Record the status: a courtesy to whoever lists runs, nothing depends on it. The run's span likewise."""
        await self._trace(journal, result)
        if journal is None:
            return
        try:
            async with asyncio.timeout(_CONCLUDE_S):
                await journal.conclude(identity.workflow_id, result.status, by=identity.intent.engine_run)
        except (CoterieError, TimeoutError) as error:
            self.log.warning("the journal was not told how the run ended: %r", error)

    async def _trace(self, journal: Journal | None, result: WorkflowResult, *, again: bool | None = None) -> None:
        """Make the span of the run, where spans are recorded: those of its tasks lie in it. again: see `record_run`."""
        with suppress(CoterieError, TimeoutError):
            async with asyncio.timeout(_CONCLUDE_S):
                await record_run(result, namespace=self.hook.settings.namespace, journal=journal, again=again)
