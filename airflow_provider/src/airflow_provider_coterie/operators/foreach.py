"""A foreach as three Airflow tasks: cut the list into parts, perform the parts, gather their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_provider_coterie.node import PlanNode
from airflow_provider_coterie.operators.plan_task import PlanTaskOperator, Surroundings
from airflow_provider_coterie.upstream import Ended, pull_ends
from airflow_provider_coterie.wire import unpack_record
from coterie import ArtifactStore, Part, PartResult, Parts, Ref, Task, TaskResult
from coterie.conclude import lost, never_ran
from coterie.ids import TaskId

__all__ = ["CoterieGatherOperator", "CoteriePartOperator", "CoterieSplitOperator"]


class _ForEachOperator(PlanTaskOperator):
    """A step of a plan's foreach."""

    has_agents: ClassVar[bool] = False

    def __init__(self, *, plan_node: PlanNode, **kwargs: Any) -> None:  # Airflow's own arguments
        super().__init__(plan_node=plan_node, **kwargs)
        self._node = plan_node

    def task_of(self) -> Task:
        """The plan's task."""
        return self._node.task

    def pre_execute(self, context: Context) -> None:
        """Nothing to bound: only parts have agents at work."""

    def _sibling(self, step: str) -> str:
        """The Airflow id of another step of the same foreach."""
        return f"{self._node.airflow_id(self._node.task.id).rpartition('.')[0]}.{step}"


class CoterieSplitOperator(_ForEachOperator):
    """Read the list of a foreach and return its `Parts`, at most `max_parts`: the same few bytes for any length."""

    def __init__(self, *, max_parts: int, **kwargs: Any) -> None:  # Airflow's own arguments
        super().__init__(**kwargs)
        self.max_parts = max_parts

    def execute(self, context: Context) -> Parts:
        """Cut the list.

        Raises:
            AirflowSkipException: the task's condition is false.
            AirflowFailException: there is no list where the foreach points; the record says so.
        """

        async def work(around: Surroundings) -> Parts | None:
            return await around.orchestrator.split(
                self.task_of(),
                max_parts=self.max_parts,
                upstream=around.upstream,
                workflow_id=around.identity.workflow_id,
                params=around.params,
            )

        parts = self.perform(context, work)
        if parts is None:
            raise AirflowSkipException(f"the condition of {self.task_of().id!r} is false")
        return parts


class CoteriePartOperator(_ForEachOperator):
    """Perform the items of one part.

    Failed items do not fail the part, as long as the foreach may tolerate some: only all parts together can tell.
    Where it tolerates none, the part fails after leaving its result, so that clearing what failed repeats it: then
    those items that succeeded are replayed. An item that another process is at is waited for here.
    """

    template_fields: Sequence[str] = ("part",)
    has_agents: ClassVar[bool] = True

    def __init__(self, *, part: Part, **kwargs: Any) -> None:  # Airflow's own arguments
        super().__init__(**kwargs)
        self.part = part

    def pre_execute(self, context: Context) -> None:
        """Bound the whole part by what its items may take."""
        PlanTaskOperator.pre_execute(self, context)

    def units(self) -> int:
        """The part's items."""
        return self.part.stop - self.part.start

    def execute(self, context: Context) -> PartResult:
        """Perform the part.

        Raises:
            AirflowFailException: items failed, and the foreach tolerates none.
        """

        async def work(around: Surroundings) -> PartResult:
            return await around.orchestrator.execute_part(
                self.task_of(),
                self.part,
                upstream=around.upstream,
                workflow_id=around.identity.workflow_id,
                params=around.params,
                epoch=around.identity.epoch,
                plan=around.plan,
                intent=around.intent,
                correlation_id=around.correlation_id,
            )

        with self.journalled():
            result = self.perform(context, work)
            foreach = self.task_of().foreach
            if result.failed and foreach is not None and not foreach.tolerate_failures:
                context["ti"].xcom_push("return_value", result)
                raise AirflowFailException(f"{result.failed} of {result.total} items failed; `gather` lists them")
            return result


class CoterieGatherOperator(_ForEachOperator):
    """The foreach's own state and result, from those of its parts; runs whatever became of them."""

    def upstream_ids(self) -> Mapping[TaskId, str]:
        """None: the items have been performed."""
        return {}

    def execute(self, context: Context) -> Ref | None:
        """Gather the parts; see `PlanTaskOperator.finish` for what is raised."""
        ti = context["ti"]
        split = pull_ends(context, {"parts": self._sibling("parts")}).get("parts", Ended("failed"))
        if split.state == "skipped":
            raise AirflowSkipException(f"{self.task_of().id!r} was skipped")
        parts = ti.xcom_pull(task_ids=self._sibling("parts"), map_indexes=-1) if split.state == "success" else None
        found = ti.xcom_pull(task_ids=self._sibling("each")) if isinstance(parts, Parts) else []
        results = [one for one in _listed(found) if isinstance(one, PartResult)]

        async def work(around: Surroundings) -> tuple[ArtifactStore, TaskResult]:
            if not isinstance(parts, Parts):
                return around.store, await self._without_parts(around.store, split)
            gathered = await around.orchestrator.gather(
                self.task_of(), parts, results, workflow_id=around.identity.workflow_id
            )
            return around.store, gathered

        return self.finish(context, *self.perform(context, work))

    async def _without_parts(self, store: ArtifactStore, split: Ended) -> TaskResult:
        """The list was never cut: the foreach ended as its split did."""
        if split.state == "upstream_failed":
            return never_ran(self.task_of().id, "upstream_failed")
        record = await unpack_record(store, split.record)
        return record if record is not None and record.state == "failed" else lost(self.task_of().id)


def _listed(found: object) -> list[object]:
    """Airflow gives one value alone, several in a list."""
    return found if isinstance(found, list) else [found]
