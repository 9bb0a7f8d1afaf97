"""Undo one run that failed: wait for what is still at it, then run its compensations, and say what is left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from coterie._json import JsonValue
from coterie._rules.lap import Lap
from coterie._rules.saga import Next, SagaProgress, Why
from coterie._rules.saga_text import MARKER, Marker, hand_path, standing
from coterie._rules.undo import UndoEnd
from coterie.conclude import conclude, lost, never_ran
from coterie.context import Run
from coterie.events import Event, Listener
from coterie.ids import TaskId, WorkflowId
from coterie.journal import Intent
from coterie.journal.place import place_of
from coterie.journal.results import result_of
from coterie.orchestrator import Orchestrator
from coterie.plan import Plan
from coterie.result import TaskResult
from coterie.saga.book import SagaBook
from coterie.saga.forward import under_way
from coterie.saga.letter import DeadLetter, dead_letter
from coterie.saga.recall import Recalled, recall
from coterie.saga.result import SagaResult
from coterie.saga.undoing import undo_all
from coterie.task import Task

__all__ = ["Back", "progress_of", "undo_task"]

_DONE: UndoEnd = "done"


def progress_of(plan: Plan) -> SagaProgress:
    """The rule's view of a run of a plan, before anything is known of it."""
    return SagaProgress(
        plan.graph,
        [task.trigger_rule for task in plan.tasks],
        [task.compensation.when if task.compensation is not None else None for task in plan.tasks],
        [plan.graph.position[name] for name in plan.output_ids],
        plan.saga,
    )


def undo_task(task: Task) -> Task:
    """A step's compensation, as a task after the step and after those that the step waited for."""
    compensation = task.compensation
    assert compensation is not None
    return Task(
        task.undo_id,
        compensation.agent_type,
        input=compensation.input,
        depends_on=(task.id, *task.upstream),
        trigger_rule="all_done",
        timeout_s=compensation.timeout_s,
        retry=compensation.retry,
        priority=task.priority,
    )


@dataclass(slots=True, kw_only=True)
class Back:
    """One run on its way back. book: None where there is no journal. waits, patience_s, correlation_id: as of
    `execute_task`. alone: whether this process has done the whole run, in the trace that it is in.
    """

    orchestrator: Orchestrator
    plan: Plan
    workflow_id: WorkflowId
    params: Mapping[str, JsonValue]
    intent: Intent
    book: SagaBook | None
    listener: Listener | None = None
    waits: bool = True
    patience_s: float | None = None
    correlation_id: str | None = None
    alone: bool = False

    async def go(self, given: Mapping[TaskId, TaskResult], *, why: Why | None = None) -> SagaResult:
        """Undo the run, unless it needs no undoing. It is over: what should have run and did not has failed.

        given: how steps ended, as far as the caller knows; the journal knows the rest. why: where a person wants it
        undone, whether it failed or not.
        """
        if not self.plan.has_compensations:
            result = conclude(self.plan, given, workflow_id=self.workflow_id)
            return SagaResult.after(result, "succeeded", result.status)
        with under_way(self.orchestrator):
            return await self._go(given, why)

    async def _go(self, given: Mapping[TaskId, TaskResult], why: Why | None) -> SagaResult:
        known, earlier, marked = await self._look(given)
        progress, _ = self._judged(known, earlier, marked or why)
        if progress.outcome == "succeeded":
            return self._told(progress, known, {})
        if self.book is not None:
            await self._alone(self.book)
            known, earlier, marked = await self._look(given)
            progress, _ = self._judged(known, earlier, marked or why)
            if progress.outcome == "succeeded":
                return self._told(progress, known, {})
            marked = (await self.book.begin_undoing(progress.why or "failed")).why
        progress, following = self._judged(known, earlier, marked or progress.why or "failed")
        if following.compensations:
            self._emit("saga.undoing", why=progress.why, tasks=self._due(progress))
        ended = await undo_all(progress, following, lambda i: self._perform(i, known))
        return await self._close(progress, known, {**earlier, **ended})

    async def _look(self, given: Mapping[TaskId, TaskResult]) -> tuple[Recalled, dict[int, TaskResult], Why | None]:
        """How the steps ended, which compensations are done, and why the run is undone, if it is on record."""
        texts = {} if self.book is None else await self.book.read()
        orchestrator = self.orchestrator
        run = Run(self.workflow_id, orchestrator.namespace, orchestrator.artifacts, self.params)
        marker = Marker.read(texts.get(MARKER))
        earlier = {i: done for i, task in enumerate(self.plan.tasks) if (done := _undone(task, texts)) is not None}
        return await recall(self.plan, run, texts, given), earlier, marker.why if marker is not None else None

    def _judged(self, known: Recalled, earlier: Mapping[int, TaskResult], why: Why | None) -> tuple[SagaProgress, Next]:
        progress = progress_of(self.plan)
        return progress, progress.resume(known.steps, dict.fromkeys(earlier, _DONE), why=why)

    async def _alone(self, book: SagaBook) -> None:
        """Wait until nobody runs the whole or any step of it, and see to it that those who are gone stay so."""
        await book.take_over(patience_s=self._patience_s)
        texts = await book.read()
        for task in self.plan.tasks:
            await book.take_over_step(task, texts, patience_s=self._patience_s)

    @property
    def _patience_s(self) -> float | None:
        return self.patience_s if self.waits else 0.0

    async def _perform(self, i: int, known: Recalled) -> TaskResult:
        task, ended = self.plan.tasks[i], known.results | known.made
        return await self.orchestrator.execute_task(
            undo_task(task),
            upstream={name: ended[name] for name in (task.id, *task.upstream) if name in ended},
            workflow_id=self.workflow_id,
            params=self.params,
            waits=self.waits,
            patience_s=self.patience_s,
            plan=self.plan,
            # Whoever wants steps done anew does not want them undone twice.
            intent=replace(self.intent, force=None, on_clear="replay"),
            correlation_id=self.correlation_id,
            lap=Lap("undo", int(time.time() * 1e6), 0, {"of": task.id}),
            alone=self.alone,
        )

    async def _close(
        self, progress: SagaProgress, known: Recalled, compensations: Mapping[int, TaskResult]
    ) -> SagaResult:
        result = self._told(progress, known, compensations)
        for letter in result.dead_letters:
            self._emit("saga.left", letter.task_id, left=letter.left, error=str(letter.error))
        assert result.outcome is not None
        if self.book is not None:
            await self.book.close(self.plan, result.outcome, result.status, result.dead_letters)
        self._emit("saga.finished", outcome=result.outcome, left=len(result.dead_letters))
        return result

    def _told(self, progress: SagaProgress, known: Recalled, compensations: Mapping[int, TaskResult]) -> SagaResult:
        results, tasks = dict(known.results), self.plan.tasks
        for task, state in zip(tasks, progress.states, strict=True):
            if task.id in results or state is None:
                continue
            if state == "failed":
                results[task.id] = lost(task.id)
            else:
                results[task.id] = TaskResult(task.id, state) if state == "cancelled" else never_ran(task.id, state)
        concluded = conclude(self.plan, results, workflow_id=self.workflow_id)
        letters = tuple(self._letter(progress, i, known, compensations.get(i)) for i in _left(progress))
        undone = {tasks[i].id: compensations[i] for i in sorted(compensations)}
        on_record = self.book is not None and self.book.outlives_the_process
        return SagaResult.after(
            concluded, progress.outcome, progress.status or "failed", undone, letters, on_record=on_record
        )

    def _letter(self, progress: SagaProgress, i: int, known: Recalled, ended: TaskResult | None) -> DeadLetter:
        task = self.plan.tasks[i]
        assert progress.undoing is not None
        left = progress.undoing.states[i]
        assert left in ("failed", "blocked", "unclear")
        step = known.made.get(task.id) or known.results.get(task.id)
        return dead_letter(self.workflow_id, task, left, self.params, step=step, ended=ended)

    def _due(self, progress: SagaProgress) -> list[TaskId]:
        owed = progress.undoing.due if progress.undoing is not None else []
        return [self.plan.tasks[i].id for i, one in enumerate(owed) if one != "nothing"]

    def _emit(self, name: str, task_id: TaskId | None = None, **fields: Any) -> None:
        if self.listener is not None:
            self.listener(Event(name, self.workflow_id, task_id, fields))


def _undone(task: Task, texts: Mapping[str, str]) -> TaskResult | None:
    """The end of a task's compensation that is done for good, by an agent or by hand."""
    if task.compensation is None:
        return None
    if hand_path(task.id) in texts:
        return TaskResult(task.undo_id, "succeeded")
    record = standing(texts, place_of(task.undo_id))
    return result_of(task.undo_id, record) if record is not None and record.succeeded else None


def _left(progress: SagaProgress) -> list[int]:
    return progress.undoing.left if progress.undoing is not None else []
