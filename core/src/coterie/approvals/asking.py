"""Ask for a scheduler, which puts the question to a person in its own way: no process waits meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from coterie._json import JsonValue
from coterie._rules.approval import Sheet
from coterie._rules.approval_answer import at_timeout, checked
from coterie.approval import Decision
from coterie.approvals.asked import Asked, Place, asked_of
from coterie.approvals.question import (
    Nobody,
    approval_of,
    ended_by,
    question_of,
    tell_asked,
    tell_decided,
)
from coterie.artifacts import using_artifacts
from coterie.attempt import Ended
from coterie.context import TaskContext
from coterie.ends import as_result
from coterie.errors import LeaseLost, NotAsked, Unavailable
from coterie.foreach import condition_says_run
from coterie.ids import TaskId, WorkflowId
from coterie.journal import Intent
from coterie.journal.book import once
from coterie.journal.keeping import keeping
from coterie.plan import Plan
from coterie.result import ErrorInfo, TaskResult
from coterie.task import Task
from coterie.workplace import Workplace

__all__ = ["Asking"]

# Whoever else asks for the task, or answers, is at it for a moment; a whole run's engine, for as long as it waits.
_PATIENCE_S = 5.0
# Not recorded: the task has not ended.
_OPEN = Ended("cancelled", None, None, 0, None, 0.0, 0.0)


class _Seen(NamedTuple):
    """The sheet, at an instant of the clock that its time runs by."""

    sheet: Sheet
    now_s: float


class Asking(Workplace):
    """What `coterie.Orchestrator` does of a task that a person decides, where a scheduler puts the question."""

    async def ask(
        self,
        task: Task,
        *,
        place: Place,
        upstream: Mapping[TaskId, TaskResult] | None = None,
        workflow_id: WorkflowId | None = None,
        params: Mapping[str, JsonValue] | None = None,
        epoch: int = 0,
        plan: Plan | None = None,
        intent: Intent | None = None,
    ) -> TaskResult | Asked:
        """What is to be put to a person; or how the task ended, where nobody need be asked.

        It ended if its condition is false, if the journal knows how it ended, if somebody has answered by the journal
        already, or if the time is over; that is recorded then. Asked again for the same, the same is asked: `Asked.id`
        and `Asked.until` are as they were. Without a journal nothing is kept, and time begins anew with each call.

        plan: that the task belongs to. place: where the person is asked; kept with the question.

        Raises:
            Misuse: the task has no approval. PlanChanged: the run began with another plan.
            ClaimedElsewhere: an engine runs the whole of the run, and asks there. Unavailable: a store failed.
        """
        approval_of(task)
        run = self._run(workflow_id, dict(params or {}), upstream, epoch)
        context = self._context(run, task)
        seen: list[_Seen] = []

        async def look() -> Ended:
            found = await self._asked(context, place)
            seen.append(found)
            return await self._end(context, found.sheet)

        ended = await self._once(context, plan, intent, look)
        if ended is not None:
            return ended
        return asked_of(seen[-1].sheet.asked, seen[-1].now_s)

    async def decide(
        self,
        task: Task,
        decision: Decision | None,
        *,
        asked_id: str,
        upstream: Mapping[TaskId, TaskResult] | None = None,
        workflow_id: WorkflowId | None = None,
        params: Mapping[str, JsonValue] | None = None,
        epoch: int = 0,
        plan: Plan | None = None,
        intent: Intent | None = None,
    ) -> TaskResult:
        """How the task ended by a person's decision, which is recorded with it; the same however often it is called.

        decision: None says that the time is over. Its `at` is when the scheduler was told; 0: now. asked_id: of the
        `Asked` that it is the answer to. If another answer stood first, the result is by that one: look at its output.

        Raises:
            NotAsked: something else is asked by now; ask again. Misuse: the decision is none that may be given; nothing
            has changed. ClaimedElsewhere, PlanChanged, Unavailable: as `ask`.
        """
        approval_of(task)
        run = self._run(workflow_id, dict(params or {}), upstream, epoch)
        context = self._context(run, task)

        async def settle() -> Ended:
            return await self._end(context, await self._settled(context, decision, asked_id))

        ended = await self._once(context, plan, intent, settle)
        assert ended is not None
        return ended

    async def _once(
        self,
        context: TaskContext,
        plan: Plan | None,
        intent: Intent | None,
        work: Callable[[], Awaitable[Ended]],
    ) -> TaskResult | None:
        """How the task ended, recorded; None if it did not."""
        run, task = context.run, context.task
        run.patience_s = _PATIENCE_S
        try:
            if not await condition_says_run(context):
                return TaskResult(task.id, "skipped")
        except (Unavailable, LeaseLost):
            raise
        # A condition that cannot be read is the task's failure, as in a whole plan.
        except Exception as error:  # noqa: BLE001
            return self._told(context, TaskResult(task.id, "failed", None, ErrorInfo.of(error), 1))
        with using_artifacts(self.artifacts), self._call():
            async with keeping(self.keeping, plan, run, intent):
                ended = await once(context, Nobody(approval_of(task)), work)
        if isinstance(ended, TaskResult):
            return self._told(context, ended)
        if ended is _OPEN:
            return None
        return self._told(context, as_result(task.id, ended, self._clock.now() - self._clock.monotonic()))

    async def _asked(self, context: TaskContext, place: Place) -> _Seen:
        asked = await question_of(context, place)
        book, unit = context.run.book, context.unit
        if book is None or unit is None:
            now_s = self._clock.now()
            tell_asked(context, place, self._listener)
            return _Seen(Sheet(asked.begun(now_s)), now_s)
        file = book.approval(unit)
        sheet = await file.ask(asked, unit)
        if sheet.fresh:
            tell_asked(context, place, self._listener)
        _, now_s = await file.look()
        if sheet.end is None and sheet.asked.until is not None and now_s >= sheet.asked.until:
            sheet = await file.time_out(sheet.asked.id) or sheet
        return _Seen(sheet, now_s)

    async def _settled(self, context: TaskContext, decision: Decision | None, asked_id: str) -> Sheet:
        book, unit = context.run.book, context.unit
        if book is None or unit is None:
            return await self._settled_here(context, decision, asked_id)
        file = book.approval(unit)
        if decision is None:
            sheet = await file.time_out(asked_id, due=True)
        else:
            verdict, sheet = await file.answer(decision, asked_id=asked_id)
            sheet = None if verdict == "not_asked" else sheet
        if sheet is None:
            raise _not_asked(context)
        return sheet

    async def _settled_here(self, context: TaskContext, decision: Decision | None, asked_id: str) -> Sheet:
        """Without a journal: there is one question, and nobody else answers it."""
        asked, now_s = await question_of(context, Place("process")), self._clock.now()
        if asked.id != asked_id:
            raise _not_asked(context)
        if decision is None:
            return Sheet(asked.begun(now_s), at_timeout(asked.approval, now_s))
        decided = checked(asked.approval, decision if decision.at else replace(decision, at=now_s))
        return Sheet(asked.begun(decided.at), decided)

    async def _end(self, context: TaskContext, sheet: Sheet) -> Ended:
        if sheet.end is None:
            return _OPEN
        tell_decided(context, sheet.decision, self._listener)
        return await ended_by(context, sheet, self._clock)

    def _told(self, context: TaskContext, result: TaskResult) -> TaskResult:
        fields = {"state": result.state, "duration_s": result.duration_s, "attempt": result.attempts}
        error = str(result.error) if result.error is not None else None
        self._emit("task.finished", context.run, context.task, **fields, error=error)
        return result


def _not_asked(context: TaskContext) -> NotAsked:
    return NotAsked(
        f"{context.task_id!r} of the run {context.workflow_id!r} asks something else by now, or nothing: what it is "
        "about has changed, or a person wants it asked anew; ask it again, and decide on that"
    )
