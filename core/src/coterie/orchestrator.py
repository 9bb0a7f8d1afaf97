"""The orchestrator: agents with their capacity, and plans run on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from coterie._json import JsonValue
from coterie._rules.params import bind_params
from coterie.approvals.asking import Asking
from coterie.artifacts import ArtifactStore, using_artifacts
from coterie.attempt import Ended, perform, wait_for_slot
from coterie.clock import Clock
from coterie.context import Run, TaskContext
from coterie.ends import as_result
from coterie.engine import PlanRun
from coterie.errors import ClaimedElsewhere, LeaseLost, Misuse, PlanChanged, Refused, Unavailable, WorkTakenOver
from coterie.events import Listener
from coterie.foreach import (
    condition_says_run,
    perform_foreach,
)
from coterie.foreach_parts import ForeachParts
from coterie.ids import TaskId, WorkflowId
from coterie.journal import Intent, Journal
from coterie.journal.book import once
from coterie.journal.keeping import keeping
from coterie.journal.run_book import RunBook
from coterie.orchestrator_status import AgentStatus, OrchestratorStatus, RunProgress
from coterie.plan import Plan
from coterie.ports import StateStore
from coterie.remote.serving import Serving
from coterie.result import ErrorInfo, TaskResult, WorkflowResult
from coterie.shutdown import GRACEFUL_SHUTDOWN_TIMEOUT_S, check_timeout_s, finished
from coterie.slots import TypeSlots
from coterie.task import Task
from coterie.team import Team
from coterie.telemetry.counting import counted, show
from coterie.telemetry.logs import bound_to
from coterie.telemetry.recording import open_trace
from coterie.trail import Lap, Trail

if TYPE_CHECKING:
    from coterie.bus import EventBus
    from coterie.machine import StateMachine
    from coterie.machine_run import MachineStatus
    from coterie.remote.call import Call
    from coterie.remote.calls import RemoteCalls

__all__ = ["AgentStatus", "Orchestrator", "OrchestratorStatus", "RunProgress"]


class Orchestrator(ForeachParts, Asking, Serving):
    """Runs tasks and plans on the agents that are registered with it, in this process and event loop, or at workers.

    team: agents to begin with, and the policies of their types. journal: what runs have finished; without it they
    begin from nothing each time. artifacts: where outputs go; without it they stay in
    memory. store: where what the policies count lies, for all that share it; without it, in this process.
    namespace: keeps identities of separate deployments apart. on_event: called for each `Event`, must not block;
    what it raises is logged, and changes nothing. graceful_shutdown_timeout_s: how long `shut_down` lets agents go on.
    remote: the way to workers, for tasks that are placed there. bus: that tasks publish to. Of both, what gives them
    may be given instead, and is asked when they are needed.
    """

    def __init__(
        self,
        team: Team | None = None,
        *,
        artifacts: ArtifactStore | None = None,
        store: StateStore | None = None,
        journal: Journal | None = None,
        namespace: str = "default",
        on_event: Listener | None = None,
        clock: Clock | None = None,
        graceful_shutdown_timeout_s: float = GRACEFUL_SHUTDOWN_TIMEOUT_S,
        remote: RemoteCalls | Callable[[], RemoteCalls] | None = None,
        bus: EventBus | Callable[[], EventBus] | None = None,
    ) -> None:
        super().__init__(
            team,
            artifacts=artifacts,
            store=store,
            journal=journal,
            namespace=namespace,
            on_event=counted(on_event),
            clock=clock,
            remote=remote,
            bus=bus,
        )
        show(self)
        self.graceful_shutdown_timeout_s = check_timeout_s(graceful_shutdown_timeout_s)
        self._runs: dict[WorkflowId, PlanRun] = {}

    async def execute_workflow(
        self,
        plan_or_tasks: Plan | Sequence[Task],
        *,
        workflow_id: WorkflowId | None = None,
        params: Mapping[str, JsonValue] | None = None,
        intent: Intent | None = None,
        correlation_id: str | None = None,
    ) -> WorkflowResult:
        """Run a plan to its end and say how each task ended; failures are in the result, not raised.

        correlation_id: of the events that its tasks publish; by default the workflow id.

        With a journal, what an earlier run of that workflow id has finished is not done again; see `Intent`. A plan
        whose tasks name compensations is undone if it fails; see `Saga`. A task with an approval waits for a person,
        who answers with `coterie approve` or `Approvals`.

        Cancelled, it ends every agent first (commands with their children), then raises CancelledError.

        Raises:
            PlanError: the tasks are no plan. UnknownAgentType: nobody serves a task; nothing has run.
            Misuse: an undeclared parameter, a run of that id is in progress here, or a person is to be asked and there
            is no journal.
            ClaimedElsewhere: another process is at the run. PlanChanged: it began with another plan.
            Unavailable, LeaseLost: the journal failed, or the run was taken over; what ended before is recorded.
        """
        plan = plan_or_tasks if isinstance(plan_or_tasks, Plan) else Plan("workflow", plan_or_tasks)
        self._check_people(plan)
        if plan.has_compensations:
            # Imported here: a saga is built from an orchestrator.
            from coterie.saga import Saga

            saga = Saga(self, on_event=self._listener)
            return await saga.run(
                plan, workflow_id=workflow_id, params=params, intent=intent, correlation_id=correlation_id
            )
        run = self._run(workflow_id, bind_params(plan.params, params), correlation_id=correlation_id)
        if run.workflow_id in self._runs:
            raise Misuse(f"the run {run.workflow_id!r} is in progress here; give this one another workflow_id")
        if self.keeping is None:
            return await self._execute(plan, run, None)
        with self.seen_out():
            async with self.keeping.whole(plan, run, intent or Intent()) as book:
                result = await self._execute(plan, run, book)
                book.status = result.status
            return result

    def _check_people(self, plan: Plan) -> None:
        asking = next((task for task in plan.tasks if task.approval is not None), None)
        if asking is not None and self.keeping is None:
            raise Misuse(
                f"the task {asking.id!r} of the plan {plan.name!r} asks a person, who answers in the journal; run it "
                "with one: Orchestrator(team, journal=Journal(...)), or 'coterie run' without --journal off"
            )

    async def execute_machine(
        self,
        machine: StateMachine,
        *,
        workflow_id: WorkflowId | None = None,
        params: Mapping[str, JsonValue] | None = None,
        intent: Intent | None = None,
    ) -> MachineStatus:
        """Run a state machine to its end, from wherever it is; a failure is in the result, not raised.

        Needs a journal. See `coterie.machine_run.execute_machine`.
        """
        from coterie.machine_run import execute_machine

        with self._call():
            return await execute_machine(
                self, machine, workflow_id=workflow_id, params=params, intent=intent, on_event=self._listener
            )

    async def _execute(self, plan: Plan, run: Run, book: RunBook | None) -> WorkflowResult:
        plan_run = PlanRun(plan, run, self._slots, self._clock, self._listener, book=book)
        self._runs[run.workflow_id] = plan_run
        try:
            with using_artifacts(self.artifacts):
                return await bound_to(run, plan_run.execute)
        finally:
            del self._runs[run.workflow_id]

    async def execute_task(
        self,
        task: Task,
        *,
        upstream: Mapping[TaskId, TaskResult] | None = None,
        workflow_id: WorkflowId | None = None,
        params: Mapping[str, JsonValue] | None = None,
        epoch: int = 0,
        waits: bool = True,
        patience_s: float | None = None,
        place: str | None = None,
        plan: Plan | None = None,
        intent: Intent | None = None,
        instance: str | None = None,
        correlation_id: str | None = None,
        called_by: str | None = None,
        lap: Lap | None = None,
        trail: Trail | None = None,
        alone: bool = False,
    ) -> TaskResult:
        """Run one task, given the results of those before it; schedulers call this for each task of a plan.

        The trigger rule is the caller's business; the condition (`when`) is decided here. A foreach runs here
        with all its items.

        waits: whether a refusal (a breaker, a pool, a limit, a budget) is waited for here, as long as the type's
        policies allow and at most `patience_s`; else it is raised, for a caller that waits without this process. One
        that would take longer is the task's failure. Items of a foreach always wait here.

        plan: that the task belongs to, for the journal. intent: what is to become of what the journal has finished.
        instance: sets work apart that is asked for under the same task id in one run, where there is no plan.
        correlation_id: as of `execute_workflow`. called_by: the `traceparent` of whoever asked for it, to link to.
        lap: what is first on its trail, as that it is an undo. trail: its trail, where who asks has begun one.
        alone: whether the whole run is this process's, so that without a journal its trace is that of the current span.

        Raises:
            UnknownAgentType: nobody serves the task. Misuse: a person does; see `ask`.
            Unavailable: a store failed, so that a later try may succeed.
            Refused: not now; only without `waits`.
        """
        if task.approval is not None:
            raise Misuse(f"{task.id!r} asks a person; use ask and decide, or run its plan with execute_workflow")
        run = self._run(workflow_id, dict(params or {}), upstream, epoch, correlation_id)
        run.waits, run.patience_s, run.place = waits or task.foreach is not None, patience_s, place
        pool = self._slots.of(task.agent_type, task_id=task.id, placement=task.placement)
        context = self._context(run, task)
        context.item_key = instance
        try:
            if not await condition_says_run(context):
                return TaskResult(task.id, "skipped")
            self._emit("task.started", run, task, agent_type=task.agent_type)
            with using_artifacts(self.artifacts), self._call():
                async with keeping(self.keeping, plan, run, intent):
                    run.trace = open_trace(
                        run, alone=alone or (workflow_id is None and plan is None), called_by=called_by
                    )
                    if trail is not None and run.is_followed:
                        context.noted = trail
                    if lap is not None and context.trail is not None:
                        context.trail.extend((lap,))
                    result = await self._perform(context, pool)
        except Refused as refusal:
            self._tell_refusal(run, task, refusal)
            raise
        except (Unavailable, LeaseLost, PlanChanged):
            raise
        # A list or condition that cannot be read is the task's failure, as in a whole plan.
        except Exception as error:  # noqa: BLE001
            result = TaskResult(task.id, "failed", None, ErrorInfo.of(error), 1)
        ended_by = str(result.error) if result.error is not None else None
        fields = {"state": result.state, "duration_s": result.duration_s, "attempt": result.attempts}
        self._emit("task.finished", run, task, **fields, error=ended_by)
        return result

    def _tell_refusal(self, run: Run, task: Task, refusal: Refused) -> None:
        # Whoever asked waits for it, and for a claim as often as he looks.
        if not isinstance(refusal, ClaimedElsewhere):
            told = f"{type(refusal).__name__}: {refusal}"
            self._emit("task.refused", run, task, agent_type=task.agent_type, wait_s=refusal.retry_after_s, error=told)

    async def _execute_call(
        self, call: Call, *, waits: bool, patience_s: float | None, trail: Trail | None
    ) -> TaskResult:
        return await self.execute_task(
            replace(call.task, placement="local"),
            upstream=call.upstream,
            workflow_id=call.workflow_id,
            params=call.params,
            epoch=call.epoch,
            waits=waits,
            patience_s=patience_s,
            place=call.place,
            intent=call.intent,
            instance=call.instance,
            correlation_id=call.correlation_id,
            called_by=call.traceparent,
            trail=trail,
        )

    async def _perform(self, context: TaskContext, pool: TypeSlots) -> TaskResult:
        task = context.task
        if task.foreach is not None:
            return await perform_foreach(context, pool, self._clock, self._listener)

        async def work() -> Ended:
            return await perform(context, await wait_for_slot(context, pool), self._clock, self._listener)

        ended = await once(context, pool, work)
        if isinstance(ended, TaskResult):
            return ended
        if isinstance(ended.error, (Unavailable, WorkTakenOver)):
            raise ended.error
        return as_result(task.id, ended, self._clock.now() - self._clock.monotonic())

    def cancel(self, workflow_id: WorkflowId) -> None:
        """Stop a run: its agents are ended and `execute_workflow` returns with status `cancelled`.

        Raises:
            Misuse: no such run is in progress here.
        """
        run = self._runs.get(workflow_id)
        if run is None:
            raise Misuse(f"no run {workflow_id!r} is in progress here; in progress: {', '.join(self._runs) or 'none'}")
        run.cancel()

    async def stop(self, *, grace_s: float) -> None:
        """Cancel all that is performed here and wait up to `grace_s` seconds until the agents have ended.

        Runs return with status `cancelled`; calls of `execute_task` and `execute_part` raise CancelledError.
        """
        ends = [*self._ends(), *self._open]
        for run in self._runs.values():
            run.cancel()
        for call in self._calls - {asyncio.current_task()}:
            call.cancel()
        if ends:
            await asyncio.wait(ends, timeout=grace_s)

    def _ends(self) -> list[asyncio.Task[Any]]:
        """What ends when all that is performed here has ended."""
        runs = [asyncio.create_task(run.wait()) for run in self._runs.values()]
        return [*runs, *(self._calls - {asyncio.current_task()})]

    async def shut_down(self, *, timeout_s: float | None = None, grace_s: float = 10.0) -> None:
        """Let nothing begin any more, let agents that are at work finish, and then end what is left.

        What ends within `timeout_s` seconds, by default `graceful_shutdown_timeout_s`, counts, and is recorded; all
        else is cancelled as by `stop`, which is also how to cut the time short, and waited for up to `grace_s` seconds:
        claims, leases, reservations and half-open trials go back to whoever asks next. A run of which nothing is left
        to do ends as it would have; others return with status `cancelled`, and can be resumed.

        For good: whatever is asked for afterwards is cancelled.
        """
        await self.drain(timeout_s=timeout_s)
        await self.stop(grace_s=grace_s)

    @property
    def has_left_undone(self) -> bool:
        """After `drain`: whether anything is left that was asked for, or was asked for since."""
        return self._in_vain or bool(self._runs) or bool(self._calls)

    async def drain(self, *, timeout_s: float | None = None) -> None:
        """The first half of `shut_down`: afterwards what is left waits for what never comes, and is to be cancelled."""
        self._slots.close()
        for run in self._runs.values():
            run.hold()
        timeout_s = self.graceful_shutdown_timeout_s if timeout_s is None else timeout_s
        try:
            await finished(self._slots, self._ends, timeout_s)
        finally:
            self._over = True

    def get_status(self) -> OrchestratorStatus:
        """What the agents and runs of this process are doing now."""
        agents = (AgentStatus(s.agent.id, s.agent.type, s.capacity, s.in_use) for s in self._slots.all())
        runs = (RunProgress(name, r.plan.name, len(r.plan.tasks), r.done) for name, r in self._runs.items())
        return OrchestratorStatus(tuple(agents), tuple(runs), self._slots.waiting())
