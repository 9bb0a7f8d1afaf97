"""The local engine's run of a plan that is undone if it fails: it stops as soon as that is certain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from coterie._json import JsonValue
from coterie._rules.saga_policy import Verdict
from coterie.artifacts import using_artifacts
from coterie.attempt import Ended, perform
from coterie.clock import Clock
from coterie.context import Run, TaskContext
from coterie.engine import PlanRun
from coterie.errors import Misuse
from coterie.events import Listener
from coterie.foreach import condition_says_run
from coterie.ids import TaskId, WorkflowId
from coterie.journal.book import once
from coterie.journal.run_book import RunBook
from coterie.orchestrator import Orchestrator
from coterie.plan import Plan
from coterie.result import TaskResult, WorkflowResult
from coterie.slots import Slot, Slots
from coterie.task import Task

__all__ = ["SagaRun", "check_agents", "new_run_id", "run_forward", "run_of", "under_way"]

_ABSENT = Ended("cancelled", None, None, 0, None, 0.0, 0.0)


class SagaRun(PlanRun):
    """One run, forward. Once its failure is certain no task begins; those that have begun go on to their ends.

    A foreach that has begun performs all its items.

    mark: notes durably that a task with a compensation begins, before it does.
    """

    def __init__(
        self,
        plan: Plan,
        run: Run,
        slots: Slots,
        clock: Clock,
        listener: Listener | None,
        *,
        book: RunBook | None = None,
        mark: Callable[[TaskId], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(plan, run, slots, clock, listener, book=book)
        self._mark = mark
        self._verdict = Verdict(plan.saga, [plan.graph.position[name] for name in plan.output_ids])
        self._stopping = False

    @property
    def failed(self) -> bool:
        """Whether it is to be undone: a person who stopped it may want to go on instead."""
        return self._verdict.fails and not self._cancelled

    def _settle(self, i: int, ended: Ended | TaskResult) -> None:
        super()._settle(i, ended)
        if self._verdict.fails and not self._stopping:
            self._stopping = True
            self._stop()

    def _record(self, i: int, ended: Ended | TaskResult) -> None:
        self._verdict.note(i, ended.state)
        super()._record(i, ended)

    def _stop(self) -> None:
        """Nothing begins any more: what waits never will, and nobody is asked."""
        self._people.withdraw()
        for pool in set(self._pools):
            pool.withdraw(self)
        while self._queue:
            self._queue.popleft()[1].release()
        for i in self._progress.cancel():
            self._record(i, _ABSENT)
        for i, state in enumerate(self._progress.states):
            if state is None and not self._begun[i]:
                super()._settle(i, _ABSENT)

    async def _perform(self, i: int, slot: Slot) -> Ended:
        try:
            await self._note_begun(self._tasks[i])
        # As when a listener is broken: the run stops and `execute` raises it.
        except BaseException:
            slot.release()
            raise
        return await super()._perform(i, slot)

    async def _conditional(self, i: int, task: Task) -> None:
        # Called for before the run began to stop, and settled since.
        if self._progress.states[i] is None:
            await super()._conditional(i, task)

    async def _perform_unusual(self, context: TaskContext) -> Ended | TaskResult:
        task, pool = context.task, self._pools[self.plan.graph.position[context.task.id]]
        if task.foreach is not None:
            try:
                await self._note_begun(task)
            except BaseException as error:  # noqa: BLE001  # as above
                return self._crashed(error)
            return await super()._perform_unusual(context)
        if task.approval is not None:
            # Nothing that is undone: no need to note that it begins.
            return await super()._perform_unusual(context)
        if not await condition_says_run(context):
            return _ABSENT._replace(state="skipped")
        self._emit("task.started", task.id, agent_type=task.agent_type)

        async def work() -> Ended:
            slot = await pool.acquire(task.priority)
            if self._stopping:
                slot.release()
                return _ABSENT
            try:
                await self._note_begun(task)
            except BaseException as error:  # noqa: BLE001  # as above
                slot.release()
                return self._crashed(error)
            return await perform(context, slot, self._clock, self._listener)

        return await once(context, pool, work)

    async def _note_begun(self, task: Task) -> None:
        if self._mark is not None and task.compensation is not None:
            await self._mark(task.id)

    def _emit(self, name: str, task_id: TaskId | None, **fields: Any) -> None:
        # A run that is to be undone is not over yet.
        if name != "run.finished" or not self._stopping:
            super()._emit(name, task_id, **fields)


# The orchestrator's other engine: it shares what is the orchestrator's own.
# ruff: noqa: SLF001


async def run_forward(
    orchestrator: Orchestrator,
    plan: Plan,
    run: Run,
    *,
    book: RunBook | None = None,
    mark: Callable[[TaskId], Awaitable[None]] | None = None,
) -> tuple[WorkflowResult, bool]:
    """Run a plan forward, where `Orchestrator.cancel` and `stop` find it; how it ended, and whether it is to be undone.

    Raises:
        Misuse: a run of that id is in progress here.
    """
    runs, name = orchestrator._runs, run.workflow_id
    if name in runs:
        raise Misuse(f"the run {name!r} is in progress here; give this one another workflow_id")
    forward = SagaRun(plan, run, orchestrator._slots, orchestrator._clock, orchestrator._listener, book=book, mark=mark)
    runs[name] = forward
    try:
        with using_artifacts(orchestrator.artifacts):
            result = await forward.execute()
    finally:
        del runs[name]
    return result, forward.failed


def under_way(orchestrator: Orchestrator) -> AbstractContextManager[None]:
    """Around a run's way back: `Orchestrator.stop` finds it, also while it waits for others and no agent is called."""
    return orchestrator._call()


def run_of(
    orchestrator: Orchestrator, name: WorkflowId, params: Mapping[str, JsonValue], correlation_id: str | None
) -> Run:
    """What its tasks share: as of every run of the orchestrator, the way to workers and the bus."""
    return orchestrator._run(name, params, correlation_id=correlation_id)


def new_run_id(orchestrator: Orchestrator, workflow_id: WorkflowId | None) -> WorkflowId:
    """The id given, checked, or a new one."""
    return orchestrator._run(workflow_id, {}).workflow_id


def check_agents(orchestrator: Orchestrator, plan: Plan) -> None:
    """Refuse a plan that could not be undone, before anything runs.

    Raises:
        UnknownAgentType: nobody serves a compensation.
    """
    for task in plan.tasks:
        if task.compensation is not None:
            orchestrator._slots.of(task.compensation.agent_type, task_id=task.id)
