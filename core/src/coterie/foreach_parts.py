"""Perform a foreach in parts, each in a process of its own: for schedulers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from coterie._json import JsonValue
from coterie._rules.foreach import keys_of
from coterie.artifacts import using_artifacts
from coterie.context import TaskContext
from coterie.errors import Misuse
from coterie.foreach import condition_says_run, foreach_of, gather_items, load_list, perform_items
from coterie.ids import TaskId, WorkflowId
from coterie.items import Part, PartResult, Parts, load_items, store_items
from coterie.journal import Intent
from coterie.journal.keeping import keeping
from coterie.plan import Plan
from coterie.ref import Ref
from coterie.result import TaskResult
from coterie.task import Task
from coterie.telemetry.counting import count_task
from coterie.telemetry.recording import open_trace
from coterie.workplace import Workplace

__all__ = ["MAX_PARTS", "ForeachParts"]

MAX_PARTS = 1024


class ForeachParts(Workplace):
    """What `coterie.Orchestrator` does of a foreach that is performed in parts."""

    async def split(
        self,
        task: Task,
        *,
        max_parts: int,
        upstream: Mapping[TaskId, TaskResult] | None = None,
        workflow_id: WorkflowId | None = None,
        params: Mapping[str, JsonValue] | None = None,
    ) -> Parts | None:
        """Cut the list of a foreach task into at most `max_parts` parts; None if its condition is false.

        Raises:
            Misuse: there is no list where the foreach points. PolicyError, Unavailable: as for any task.
        """
        if not 1 <= max_parts <= MAX_PARTS:
            raise Misuse(f"max_parts is {max_parts!r}; give a number from 1 to {MAX_PARTS}")
        run = self._run(workflow_id, dict(params or {}), upstream)
        self._slots.of(task.agent_type, task_id=task.id, placement=task.placement)
        context = self._context(run, task)
        if not await condition_says_run(context):
            return None
        _, items = await load_list(context)
        ref = await self._store().put(items)
        return Parts(ref, len(items), min(max_parts, len(items)), self._clock.now())

    async def execute_part(
        self,
        task: Task,
        part: Part,
        *,
        upstream: Mapping[TaskId, TaskResult] | None = None,
        workflow_id: WorkflowId | None = None,
        params: Mapping[str, JsonValue] | None = None,
        epoch: int = 0,
        plan: Plan | None = None,
        intent: Intent | None = None,
        correlation_id: str | None = None,
    ) -> PartResult:
        """Perform the items of one part; failed items are in the result, not raised.

        correlation_id: of the events that they publish; by default the workflow id.

        Raises:
            Misuse: the part is not one of its list. Unavailable: the artifact store failed.
        """
        run = self._run(workflow_id, dict(params or {}), upstream, epoch, correlation_id)
        items = await self._list(part.ref)
        if not 0 <= part.start <= part.stop <= len(items):
            raise Misuse(f"the list has {len(items)} items, and no part {part.start} to {part.stop}; run `split` again")
        keys = keys_of(foreach_of(task), items, task.id)
        entries = [(index, keys[index], items[index]) for index in range(part.start, part.stop)]
        with using_artifacts(self.artifacts), self._call():
            async with keeping(self.keeping, plan, run, intent):
                run.trace = open_trace(run)
                done = await perform_items(
                    self._context(run, task),
                    self._slots.of(task.agent_type, task_id=task.id, placement=task.placement),
                    entries,
                    total=len(items),
                    clock=self._clock,
                    listener=self._listener,
                )
        ref = await store_items(self._store(), done)
        failed = sum(item.state != "succeeded" for item in done)
        return PartResult(ref, part.token, part.index, len(done), failed)

    async def gather(
        self,
        task: Task,
        parts: Parts,
        part_results: Iterable[PartResult],
        *,
        workflow_id: WorkflowId | None = None,
    ) -> TaskResult:
        """The result of a foreach from those of its parts. Results of another list or cut are left out.

        Parts without a result (their worker was lost) count all their items as failed. In this process's metrics the
        foreach is counted here, as one task.
        """
        run = self._run(workflow_id, {})
        fresh = {result.index: result for result in part_results if result.token == parts.token}
        items = []
        for index in sorted(fresh):
            items.extend(await load_items(self._store(), fresh[index].ref))
        # The items have had their input; nobody needs the run's parameters for it here.
        gathered = await gather_items(TaskContext(run, task, {}), items, parts.items)
        took_s = max(0.0, self._clock.now() - parts.cut_at) if parts.cut_at is not None else None
        count_task(task.agent_type, gathered.state, took_s)
        return replace(gathered, item_results=None)

    async def _list(self, ref: Ref) -> list[JsonValue]:
        items = await self._store().load(ref)
        if not isinstance(items, list):
            raise Misuse(f"{ref.uri[:200]!r} is not a list; pass what `split` returned")
        return items
