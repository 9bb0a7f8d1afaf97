"""Run plans whose tasks name compensations: forward, and if that fails, back; through whatever processes it takes."""

from __future__ import annotations

from collections.abc import Mapping

from coterie._json import JsonValue
from coterie._rules.journal import judge
from coterie._rules.journal_text import Claim, Record
from coterie._rules.params import bind_params
from coterie._rules.saga import Why
from coterie._rules.saga_text import MARKER
from coterie.context import Run
from coterie.errors import Misuse
from coterie.events import Event, Listener
from coterie.ids import TaskId, WorkflowId, check_workflow_id
from coterie.journal import Intent, Journal
from coterie.orchestrator import Orchestrator
from coterie.plan import Plan
from coterie.result import TaskResult, WorkflowResult
from coterie.saga.back import Back, progress_of
from coterie.saga.book import SagaBook
from coterie.saga.by_hand import leftovers, settle
from coterie.saga.forward import check_agents, new_run_id, run_forward, run_of
from coterie.saga.letter import DeadLetter
from coterie.saga.recall import builds_on_undone, is_stale, recall
from coterie.saga.result import SagaResult
from coterie.workplace import unharming

__all__ = ["Saga"]


class Saga:
    """Runs that are undone if they fail, on the agents of an orchestrator.

    Once a run has failed, as its plan's `saga` says, no task begins, those that have begun go on to their ends, and
    then each that is due is undone: after all that depend on it, side by side where nothing says otherwise. A
    compensation is retried as its policy says; one that fails for good becomes a dead letter.

    With the orchestrator's journal all this survives the process: whoever runs it again, on whatever engine, goes on
    where it ended. A compensation that is recorded as done never runs again; one that was under way when its process
    ended runs again with the same idempotency key. A run of which anything was undone goes forward again only when
    nothing is left to undo and a person asks for it (`Intent`); then what was undone is done anew.

    on_event: called with `saga.undoing` (why, tasks), `saga.left` (left, error), `saga.finished` (outcome, left), and
    with `run.finished`; what it raises is logged, and changes nothing. Each compensation is told of by the
    orchestrator, as the task `undo-<task>`.
    """

    def __init__(self, orchestrator: Orchestrator, *, on_event: Listener | None = None) -> None:
        self._orchestrator = orchestrator
        self._listener = unharming(on_event)

    async def run(
        self,
        plan: Plan,
        *,
        workflow_id: WorkflowId | None = None,
        params: Mapping[str, JsonValue] | None = None,
        intent: Intent | None = None,
        correlation_id: str | None = None,
    ) -> SagaResult:
        """Run a plan to its end, forward or back; failures are in the result, not raised.

        correlation_id: of the events that its tasks publish, and those that undo them; by default the workflow id.

        Cancelled, or stopped by `Orchestrator.cancel`, it ends its agents and undoes nothing by itself: the run can go
        on under its id, or be undone with `compensate`.

        Raises:
            As `Orchestrator.execute_workflow`; Unavailable also while it is undone: run it again then.
        """
        with self._orchestrator.seen_out():
            return await self._run(plan, workflow_id, params, intent, correlation_id)

    async def _run(
        self,
        plan: Plan,
        workflow_id: WorkflowId | None,
        params: Mapping[str, JsonValue] | None,
        intent: Intent | None,
        correlation_id: str | None,
    ) -> SagaResult:
        bound = bind_params(plan.params, params)
        name, intent = new_run_id(self._orchestrator, workflow_id), intent or Intent()
        check_agents(self._orchestrator, plan)
        if not plan.has_compensations:
            return await self._plain(plan, name, bound, intent, correlation_id)
        await self._check_plan(plan, name, bound, intent)
        back = self._back(plan, name, bound, intent)
        back.correlation_id, back.alone = correlation_id, True
        if await self._goes_forward(plan, name, bound, intent):
            run = run_of(self._orchestrator, name, bound, correlation_id)
            result, failed = await self._forward(plan, run, intent)
            if not failed:
                return SagaResult.after(result, None if result.status == "cancelled" else "succeeded", result.status)
            undone = await back.go(result.tasks)
        else:
            self._emit(Event("run.started", name, None, {"tasks": len(plan.tasks)}))
            undone = await back.go({})
        self._emit(Event("run.finished", name, None, {"status": undone.status}))
        return undone

    async def compensate(
        self,
        plan: Plan,
        results: Mapping[TaskId, TaskResult] | None = None,
        *,
        workflow_id: WorkflowId,
        params: Mapping[str, JsonValue] | None = None,
        intent: Intent | None = None,
        why: Why | None = None,
        waits: bool = True,
        patience_s: float | None = None,
    ) -> SagaResult:
        """Conclude a run whose tasks a scheduler performed, and undo it if it failed: the last task of its DAG or flow.

        Call it when the scheduler performs no other task of the run, and again after any interruption.

        results: of the tasks that ran, as the scheduler knows them; what it has lost is looked up in the journal.
        why: `cancelled`, to undo a run that a person has stopped, or that succeeded.
        waits: whether processes that still are at a task of the run, and refusals (a breaker, a pool, a limit), are
        waited for here, at most `patience_s`; else they are raised, for a caller that waits without this process.

        Raises:
            ClaimedElsewhere: another process is still at the run. Refused: an agent cannot be had now.
            PlanChanged: the run began with another plan. UnknownAgentType: nobody serves a compensation.
            Unavailable: the journal's store failed.
        """
        name, bound, intent = check_workflow_id(workflow_id), bind_params(plan.params, params), intent or Intent()
        back = self._back(plan, name, bound, intent)
        back.waits, back.patience_s = waits, patience_s
        if plan.has_compensations:
            await self._check_plan(plan, name, bound, intent)
        return await back.go(results or {}, why=why)

    async def admits(
        self,
        plan: Plan,
        task_id: TaskId | None = None,
        upstream: Mapping[TaskId, TaskResult] | None = None,
        *,
        workflow_id: WorkflowId,
        intent: Intent | None = None,
    ) -> bool:
        """Whether a scheduler's task of the run may begin: nothing of it was undone, or a person wants it anew.

        task_id: the one that asks; the run begins anew at tasks of which nothing that they build on was undone, so that
        a person who has only a later one done again has it stay undone. upstream: what the task would build on.
        """
        book = self._book(workflow_id, intent or Intent())
        if book is None:
            return True
        built_on = [(plan.task(name), result) for name, result in (upstream or {}).items()]
        texts = await book.glance([task for task, _ in built_on])
        if MARKER in texts:
            if task_id is not None and builds_on_undone(plan, task_id, texts):
                return False
            return await book.begin_anew(plan, texts)
        return not any(is_stale(task, result, texts) for task, result in built_on)

    async def note_begun(self, task_id: TaskId, *, workflow_id: WorkflowId) -> None:
        """Note durably that a task with a compensation begins, where it is not claimed by itself in the journal."""
        book = self._book(workflow_id, Intent())
        if book is not None:
            await book.note_begun(task_id)

    async def dead_letters(self, workflow_id: WorkflowId) -> tuple[DeadLetter, ...]:
        """What is left of a run for a person to look at.

        Raises:
            Misuse: the orchestrator has no journal. UnknownRun: the journal does not know the run.
        """
        return (await leftovers(self._kept(), workflow_id)).letters

    async def undone_by_hand(self, workflow_id: WorkflowId, task_id: TaskId, *, by: str = "", note: str = "") -> None:
        """Keep that a person has undone a step; then run or `compensate` again for what was waiting for that.

        by: who, taken on trust. `coterie.saga.settle`, and `coterie runs settle`, do the same without any agents.

        Raises:
            NoDeadLetter: there is none about it. UnknownRun: the journal does not know the run.
            Misuse: the orchestrator has no journal; or `by` or `note` cannot be kept.
        """
        await settle(self._kept(), workflow_id, task_id, by=by, note=note)

    async def _check_plan(self, plan: Plan, name: WorkflowId, params: Mapping[str, JsonValue], intent: Intent) -> None:
        """Before anything is decided about the run.

        Raises:
            PlanChanged: it began with another plan, and may not go on, or back, with this one.
        """
        keeping = self._orchestrator.keeping
        if keeping is not None:
            run = Run(name, self._orchestrator.namespace, self._orchestrator.artifacts, params)
            await keeping.begin(plan, run, intent)

    async def _plain(
        self,
        plan: Plan,
        name: WorkflowId,
        params: Mapping[str, JsonValue],
        intent: Intent,
        correlation_id: str | None,
    ) -> SagaResult:
        """Of a plan that names no compensation: there is nothing to stop for, and nothing to undo."""
        result = await self._orchestrator.execute_workflow(
            plan, workflow_id=name, params=params, intent=intent, correlation_id=correlation_id
        )
        return SagaResult.after(result, None if result.status == "cancelled" else "succeeded", result.status)

    async def _goes_forward(
        self, plan: Plan, name: WorkflowId, params: Mapping[str, JsonValue], intent: Intent
    ) -> bool:
        """Whether the run is not one that failed before, or whose failure a person wants tried again."""
        book, journal = self._book(name, intent), self._journal
        if book is None or journal is None:
            return True
        texts = await book.read()
        if not await book.begin_anew(plan, texts):
            return False
        if MARKER in texts or _is_retried(texts, journal, intent):
            return True
        run = Run(name, self._orchestrator.namespace, self._orchestrator.artifacts, params)
        progress = progress_of(plan)
        progress.resume((await recall(plan, run, texts, {})).steps, {})
        return progress.why is None

    async def _forward(self, plan: Plan, run: Run, intent: Intent) -> tuple[WorkflowResult, bool]:
        """How the tasks ended, and whether that is to be undone."""
        keeping, notes = self._orchestrator.keeping, self._book(run.workflow_id, intent)
        if keeping is None or notes is None:
            return await run_forward(self._orchestrator, plan, run)
        async with keeping.whole(plan, run, intent) as book:
            result, failed = await run_forward(self._orchestrator, plan, run, book=book, mark=notes.note_begun)
            book.status = None if failed else result.status
        return result, failed

    def _back(self, plan: Plan, name: WorkflowId, params: Mapping[str, JsonValue], intent: Intent) -> Back:
        return Back(
            orchestrator=self._orchestrator,
            plan=plan,
            workflow_id=name,
            params=params,
            intent=intent,
            book=self._book(name, intent),
            listener=self._listener,
        )

    def _book(self, name: WorkflowId, intent: Intent) -> SagaBook | None:
        journal = self._journal
        return None if journal is None else SagaBook(journal, name, intent)

    def _kept(self) -> Journal:
        if self._journal is None:
            raise Misuse("without a journal nothing is kept of a run; give the orchestrator one")
        return self._journal

    @property
    def _journal(self) -> Journal | None:
        return self._orchestrator.keeping.journal if self._orchestrator.keeping is not None else None

    def _emit(self, event: Event) -> None:
        if self._listener is not None:
            self._listener(event)


def _is_retried(texts: Mapping[str, str], journal: Journal, intent: Intent) -> bool:
    """Whether a person wants something tried again that failed before; then it is not known to have failed."""
    records = [Record.read(text, path) for path, text in texts.items() if path.startswith(("task/", "item/"))]
    failed = [record for record in records if not record.succeeded]
    return any(judge(one, Claim(), journal.asked(intent, one.fingerprint)).why is not None for one in failed)
