"""The orchestrator: agents with their capacity, and plans run on them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from coterie._json import JsonValue
from coterie._rules.foreach import keys_of
from coterie._rules.params import bind_params, fill
from coterie.agent import Agent, Handler
from coterie.artifacts import ArtifactStore, using_artifacts
from coterie.attempt import Ended, perform
from coterie.clock import Clock, SystemClock
from coterie.context import Run, TaskContext
from coterie.engine import PlanRun, as_result
from coterie.errors import LeaseLost, Misuse, PlanChanged, Refused, Unavailable, WorkTakenOver
from coterie.events import Event, Listener
from coterie.foreach import (
    condition_says_run,
    foreach_of,
    gather_items,
    load_list,
    perform_foreach,
    perform_items,
)
from coterie.ids import AgentId, AgentType, TaskId, WorkflowId, check_name, check_workflow_id, new_workflow_id
from coterie.items import Part, PartResult, Parts, load_items, store_items
from coterie.journal import Intent, Journal
from coterie.journal.book import once
from coterie.journal.keeping import Keeping, keeping
from coterie.journal.run_book import RunBook
from coterie.orchestrator_status import AgentStatus, OrchestratorStatus, RunProgress
from coterie.pipeline import Pipeline
from coterie.plan import Plan
from coterie.ports import StateStore
from coterie.ref import Ref
from coterie.result import ErrorInfo, TaskResult, WorkflowResult
from coterie.slots import Slots, TypeSlots
from coterie.task import Retry, Task
from coterie.team import Team

if TYPE_CHECKING:
    from coterie.machine import StateMachine
    from coterie.machine_run import MachineStatus

__all__ = ["AgentStatus", "Orchestrator", "OrchestratorStatus", "RunProgress"]

MAX_PARTS = 1024
_log = logging.getLogger("coterie.run")


class Orchestrator:
    """Runs tasks and plans on the agents that are registered with it, in this process and event loop.

    team: agents to begin with, and the policies of their types. journal: what runs have finished; without it they
    begin from nothing each time. artifacts: where outputs go; without it they stay in
    memory. store: where what the policies count lies, for all that share it; without it, in this process.
    namespace: keeps identities of separate deployments apart. on_event: called for each `Event`, must not block;
    what it raises is logged, and changes nothing.
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
    ) -> None:
        self.namespace = check_name(namespace, "namespace")
        self.artifacts = artifacts
        self._clock: Clock = clock or SystemClock()
        self._listener = None if on_event is None else partial(_tell, on_event)
        path = team.path if team is not None else None
        self.keeping = Keeping(journal, artifacts, team_path=path, on_event=self._listener) if journal else None
        self.pipeline = Pipeline(team.policies if team else {}, store=store, clock=self._clock, on_event=self._listener)
        self._slots = Slots(team.agents.values() if team else (), gate_of=self.pipeline.gate)
        self.pipeline.connect(self._slots)
        self._runs: dict[WorkflowId, PlanRun] = {}
        self._calls: set[asyncio.Task[Any]] = set()

    def register_agent(
        self,
        agent_id: AgentId,
        agent_type: AgentType,
        capacity: int = 1,
        *,
        handler: Handler,
        version: str = "0",
        timeout_s: float | None = None,
        retry: Retry | None = None,
    ) -> Agent:
        """Add an agent; tasks that wait for its type may start at once.

        Raises:
            Misuse: the id is taken, or the handler cannot be called with (input) or (input, context).
            PolicyError: a capacity below 1, or a time-out that is not positive.
        """
        agent = Agent(
            agent_id,
            agent_type,
            handler,
            capacity=capacity,
            version=version,
            timeout_s=timeout_s,
            retry=retry,
        )
        self._slots.add(agent)
        return agent

    async def execute_workflow(
        self,
        plan_or_tasks: Plan | Sequence[Task],
        *,
        workflow_id: WorkflowId | None = None,
        params: Mapping[str, JsonValue] | None = None,
        intent: Intent | None = None,
    ) -> WorkflowResult:
        """Run a plan to its end and say how each task ended; failures are in the result, not raised.

        With a journal, what an earlier run of that workflow id has finished is not done again; see `Intent`. A plan
        whose tasks name compensations is undone if it fails; see `Saga`.

        Cancelled, it ends every agent first (commands with their children), then raises CancelledError.

        Raises:
            PlanError: the tasks are no plan. UnknownAgentType: nobody serves a task; nothing has run.
            Misuse: an undeclared parameter, or a run of that id is in progress here.
            ClaimedElsewhere: another process is at the run. PlanChanged: it began with another plan.
            Unavailable, LeaseLost: the journal failed, or the run was taken over; what ended before is recorded.
        """
        plan = plan_or_tasks if isinstance(plan_or_tasks, Plan) else Plan("workflow", plan_or_tasks)
        if plan.has_compensations:
            # Imported here: a saga is built from an orchestrator.
            from coterie.saga import Saga

            saga = Saga(self, on_event=self._listener)
            return await saga.run(plan, workflow_id=workflow_id, params=params, intent=intent)
        run = self._run(workflow_id, bind_params(plan.params, params))
        if run.workflow_id in self._runs:
            raise Misuse(f"the run {run.workflow_id!r} is in progress here; give this one another workflow_id")
        if self.keeping is None:
            return await self._execute(plan, run, None)
        async with self.keeping.whole(plan, run, intent or Intent()) as book:
            result = await self._execute(plan, run, book)
            book.status = result.status
        return result

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
                return await plan_run.execute()
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
    ) -> TaskResult:
        """Run one task, given the results of those before it; schedulers call this for each task of a plan.

        The trigger rule is the caller's business; the condition (`when`) is decided here. A foreach runs here
        with all its items.

        waits: whether a refusal (a breaker, a pool, a limit, a budget) is waited for here, as long as the type's
        policies allow and at most `patience_s`; else it is raised, for a caller that waits without this process. One
        that would take longer is the task's failure. Items of a foreach always wait here.

        plan: that the task belongs to, for the journal. intent: what is to become of what the journal has finished.
        instance: sets work apart that is asked for under the same task id in one run, where there is no plan.

        Raises:
            UnknownAgentType: nobody serves the task.
            Unavailable: a store failed, so that a later try may succeed.
            Refused: not now; only without `waits`.
        """
        run = self._run(workflow_id, dict(params or {}), upstream, epoch)
        run.waits, run.patience_s, run.place = waits or task.foreach is not None, patience_s, place
        pool = self._slots.of(task.agent_type, task_id=task.id)
        context = self._context(run, task)
        context.item_key = instance
        try:
            if not await condition_says_run(context):
                return TaskResult(task.id, "skipped")
            self._emit("task.started", run, task, agent_type=task.agent_type)
            with using_artifacts(self.artifacts), self._call():
                async with keeping(self.keeping, plan, run, intent):
                    result = await self._perform(context, pool)
        except (Unavailable, Refused, LeaseLost, PlanChanged):
            raise
        # A list or condition that cannot be read is the task's failure, as in a whole plan.
        except Exception as error:  # noqa: BLE001
            result = TaskResult(task.id, "failed", None, ErrorInfo.of(error), 1)
        ended_by = str(result.error) if result.error is not None else None
        fields = {"state": result.state, "duration_s": result.duration_s, "attempt": result.attempts}
        self._emit("task.finished", run, task, **fields, error=ended_by)
        return result

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Keep the calling asyncio task where `stop` finds it."""
        task = asyncio.current_task()
        if task is None or task in self._calls:
            yield
            return
        self._calls.add(task)
        try:
            yield
        finally:
            self._calls.discard(task)

    async def _perform(self, context: TaskContext, pool: TypeSlots) -> TaskResult:
        task = context.task
        if task.foreach is not None:
            return await perform_foreach(context, pool, self._clock, self._listener)

        async def work() -> Ended:
            return await perform(context, await pool.acquire(task.priority), self._clock, self._listener)

        ended = await once(context, pool, work)
        if isinstance(ended, TaskResult):
            return ended
        if isinstance(ended.error, (Unavailable, WorkTakenOver)):
            raise ended.error
        return as_result(task.id, ended, self._clock.now() - self._clock.monotonic())

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
        self._slots.of(task.agent_type, task_id=task.id)
        context = self._context(run, task)
        if not await condition_says_run(context):
            return None
        _, items = await load_list(context)
        ref = await self._store().put(items)
        return Parts(ref, len(items), min(max_parts, len(items)))

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
    ) -> PartResult:
        """Perform the items of one part; failed items are in the result, not raised.

        Raises:
            Misuse: the part is not one of its list. Unavailable: the artifact store failed.
        """
        run = self._run(workflow_id, dict(params or {}), upstream, epoch)
        items = await self._list(part.ref)
        if not 0 <= part.start <= part.stop <= len(items):
            raise Misuse(f"the list has {len(items)} items, and no part {part.start} to {part.stop}; run `split` again")
        keys = keys_of(foreach_of(task), items, task.id)
        entries = [(index, keys[index], items[index]) for index in range(part.start, part.stop)]
        with using_artifacts(self.artifacts), self._call():
            async with keeping(self.keeping, plan, run, intent):
                done = await perform_items(
                    self._context(run, task),
                    self._slots.of(task.agent_type, task_id=task.id),
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

        Parts without a result (their worker was lost) count all their items as failed.
        """
        run = self._run(workflow_id, {})
        fresh = {result.index: result for result in part_results if result.token == parts.token}
        items = []
        for index in sorted(fresh):
            items.extend(await load_items(self._store(), fresh[index].ref))
        # The items have had their input; nobody needs the run's parameters for it here.
        gathered = await gather_items(TaskContext(run, task, {}), items, parts.items)
        return replace(gathered, item_results=None)

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
        runs = list(self._runs.values())
        for run in runs:
            run.cancel()
        calls = self._calls - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        ends = [*(asyncio.create_task(run.wait()) for run in runs), *calls]
        if ends:
            await asyncio.wait(ends, timeout=grace_s)

    def get_status(self) -> OrchestratorStatus:
        """What the agents and runs of this process are doing now."""
        agents = (AgentStatus(s.agent.id, s.agent.type, s.capacity, s.in_use) for s in self._slots.all())
        runs = (RunProgress(name, r.plan.name, len(r.plan.tasks), r.done) for name, r in self._runs.items())
        return OrchestratorStatus(tuple(agents), tuple(runs), self._slots.waiting())

    def _run(
        self,
        workflow_id: WorkflowId | None,
        params: Mapping[str, JsonValue],
        results: Mapping[TaskId, TaskResult] | None = None,
        epoch: int = 0,
    ) -> Run:
        name = (
            check_workflow_id(workflow_id)
            if workflow_id is not None
            else new_workflow_id(int(self._clock.now() * 1000))
        )
        return Run(name, self.namespace, self.artifacts, params, results or {}, epoch)

    def _context(self, run: Run, task: Task) -> TaskContext:
        return TaskContext(run, task, fill(task.input, run.params))

    def _store(self) -> ArtifactStore:
        if self.artifacts is None:
            raise Misuse("parts of a foreach travel by reference; give the orchestrator an artifact store")
        return self.artifacts

    async def _list(self, ref: Ref) -> list[JsonValue]:
        items = await self._store().load(ref)
        if not isinstance(items, list):
            raise Misuse(f"{ref.uri[:200]!r} is not a list; pass what `split` returned")
        return items

    def _emit(self, name: str, run: Run, task: Task, **fields: JsonValue) -> None:
        if self._listener is not None:
            self._listener(Event(name, run.workflow_id, task.id, fields))


def _tell(listener: Listener, event: Event) -> None:
    try:
        listener(event)
    # Whoever only watches must not end what is watched.
    except Exception:  # noqa: BLE001
        _log.exception("listener.failed at %s of %s", event.name, event.workflow_id)
