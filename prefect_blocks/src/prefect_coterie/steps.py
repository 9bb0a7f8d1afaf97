"""The Prefect side of a walk through a plan: a task run for whatever the plan does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect.utilities.annotations import opaque

from coterie import Parts, Plan, Task, TaskResult
from coterie.conclude import never_ran
from coterie.errors import CoterieError, LeaseLost, PlanChanged, Unavailable
from coterie.items import recall_failed_items
from prefect_coterie.people.approval import People
from prefect_coterie.plan_tasks import gather_parts, perform_part, perform_task, split_items, stand_in
from prefect_coterie.record import Record, failure, read_record
from prefect_coterie.session import Job, stop_sessions
from prefect_coterie.time_limit import timeout_seconds_for
from prefect_coterie.undoing import admits

if TYPE_CHECKING:
    from prefect import Task as PrefectTask
    from prefect.client.schemas.objects import State
    from prefect.futures import PrefectFuture

    from coterie import Team

__all__ = ["Steps"]

_NOTHING: Mapping[str, TaskResult] = {}


class Steps:
    """What `coterie.walk` calls. One of them serves one plan run.

    people: who decide what is asked of them. submit: hand task runs to the flow's task runner, else await them in this
    event loop. plan: that the tasks belong to; where they name compensations, those of a run that was undone never run.
    """

    def __init__(
        self,
        job: Job,
        team: Team,
        *,
        foreach_parts: int,
        submit: bool,
        plan: Plan | None = None,
        people: People | None = None,
    ) -> None:
        self._job = job
        self._team = team
        self._people = people or People(job)
        self._plan = plan
        self._store = job.artifacts.get_store()
        self._foreach_parts = foreach_parts
        self._submit = submit
        # The very objects that Prefect handed out: it draws a task run's dependencies from their identity.
        self._records: dict[str, Record] = {}

    async def perform(self, task: Task, upstream: Mapping[str, TaskResult]) -> TaskResult:
        """Run a plan task as one task run; a foreach as several, the last of which stands for it.

        One that asks a person is shown by a task run once it is decided.
        """
        plan = self._plan
        with self._people.busy():
            if plan is not None and plan.has_compensations and not await admits(self._job, plan, task, upstream):
                absent = never_ran(task.id, "cancelled")
                await self.note(task, absent)
                return absent
            if task.approval is None:
                return await self._perform(task, upstream)
            return await self._decide(task, upstream)

    async def _decide(self, task: Task, upstream: Mapping[str, TaskResult]) -> TaskResult:
        try:
            result = await self._people.decide(task, upstream)
        except (Unavailable, LeaseLost, PlanChanged):
            raise
        # An input that cannot be read is the task's failure, as in the in-process engine.
        except CoterieError as error:
            result = failure(task.id, error)
        await self.note(task, result, upstream)
        return result

    async def _perform(self, task: Task, upstream: Mapping[str, TaskResult]) -> TaskResult:
        before = self._before(upstream)
        if task.foreach is None:
            return await self._settle(task, await self._call(perform_task, task, task.id, upstream=before))
        began = time.time(), time.monotonic()
        found = await self._foreach(task, before)
        if found.state == "skipped":
            return found
        found = await recall_failed_items(self._store, found)
        return replace(found, started_at=began[0], duration_s=time.monotonic() - began[1])

    async def note(self, task: Task, result: TaskResult, upstream: Mapping[str, TaskResult] = _NOTHING) -> None:
        """Show a task that no agent runs, in a state that says why."""
        before = self._before(upstream)
        with self._people.busy():
            state = await self._run(stand_in, {"title": task.id, "result": opaque(result), "upstream": before})
        await self._settle(task, state)

    def _before(self, upstream: Mapping[str, TaskResult]) -> list[Record]:
        # A task that never runs is known at once, its stand-in's record a little later.
        return [self._records.get(name) or result.to_dict() for name, result in upstream.items()]

    async def _foreach(self, task: Task, before: list[Record]) -> TaskResult:
        split = await read_record(
            await self._call(split_items, task, f"{task.id}.parts", upstream=before, max_parts=self._foreach_parts)
        )
        if isinstance(split, BaseException):
            return await self._without_parts(task, failure(task.id, split))
        if split["cut"] is None:
            return await self._without_parts(task, never_ran(task.id, "skipped"))
        # Not `gather`, which leaves the other parts at work when one cannot be run at all.
        async with asyncio.TaskGroup() as group:
            parts = Parts.deserialize(split["cut"])
            ended = [group.create_task(self._part(task, before, split, part.index)) for part in parts]
        done = [record for one in ended if (record := one.result()) is not None]
        state = await self._call(gather_parts, task, task.id, split=split, ended=done)
        return await self._settle(task, state)

    async def _part(self, task: Task, before: list[Record], split: Record, index: int) -> Record | None:
        part = Parts.deserialize(split["cut"])[index]
        name = f"{task.id}.{part.start}-{part.stop - 1}"
        found = await read_record(await self._call(perform_part, task, name, upstream=before, split=split, index=index))
        return None if isinstance(found, BaseException) else found

    async def _without_parts(self, task: Task, result: TaskResult) -> TaskResult:
        await self.note(task, result)
        return result

    async def _settle(self, task: Task, state: State[Any]) -> TaskResult:
        found = await read_record(state)
        if isinstance(found, BaseException):
            result = failure(task.id, found)
            self._records[task.id] = result.to_dict()
            return result
        self._records[task.id] = found
        return TaskResult.from_dict(found)

    async def _call(self, what: PrefectTask[..., Any], task: Task, title: str, **parameters: Any) -> State[Any]:
        # Only where task runs wait for nobody: in the shared loop a task's queueing would count as its time.
        timeout_s = timeout_seconds_for(task, self._team) if self._submit and what is perform_task else None
        limited = what if timeout_s is None else what.with_options(timeout_seconds=timeout_s)
        return await self._run(
            limited, {"title": title, "wanted": opaque(task), "job": opaque(self._job), **parameters}
        )

    async def _run(self, what: PrefectTask[..., Any], parameters: dict[str, Any]) -> State[Any]:
        if not self._submit:
            state: State[Any] = await what(**parameters, return_state=True)
            return state
        try:
            return await _ended(what.submit(**parameters))
        except asyncio.CancelledError:
            stop_sessions(self._job.workflow_id)
            raise


async def _ended(future: PrefectFuture[Any]) -> State[Any]:
    """The final state of a submitted task run, without blocking the loop."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not done.done():
            done.set_result(None)

    def tell(_: object) -> None:
        loop.call_soon_threadsafe(settle)

    future.add_done_callback(tell)
    await done
    await asyncio.to_thread(future.wait)
    return future.state
