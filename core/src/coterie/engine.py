"""The local engine: one run of a plan in this process, as fast as its agents allow.

The rules (`_rules.progress`) say what may run; this starts it, waits, and reports each end back. Cost is
O(tasks + edges); a task that waits for a slot is an entry in a queue, not a coroutine.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Coroutine, Sequence
from contextvars import Context, copy_context
from functools import partial
from itertools import count
from typing import Any

from coterie._rules.params import fill
from coterie._rules.progress import Progress
from coterie._rules.status import run_status
from coterie.approvals.question import slots_for
from coterie.approvals.waiting import People
from coterie.attempt import Ended, perform, wait_for_slot
from coterie.clock import Clock
from coterie.context import Run, TaskContext
from coterie.ends import Ends
from coterie.errors import CoterieError, LeaseLost, StepFailed, WorkTakenOver
from coterie.events import Event, Listener
from coterie.foreach import condition_says_run, perform_foreach
from coterie.ids import TaskId
from coterie.journal.book import once
from coterie.journal.run_book import Entered, RunBook
from coterie.kept import KeptTasks
from coterie.plan import Plan
from coterie.result import ErrorInfo, TaskResult, WorkflowResult
from coterie.slots import Slot, Slots, TypeSlots
from coterie.task import Placement, Task
from coterie.telemetry.recording import open_trace

__all__ = ["PlanRun"]

# Tasks that a worker performs before it lets others have the event loop.
_TURNS = 64
_ABSENT: Ended = Ended("cancelled", None, None, 0, None, 0.0, 0.0)


class PlanRun:
    """One run of a plan. `execute` once; `cancel` from the same event loop.

    Ready tasks with a slot lie in a queue that workers drain. A worker is an asyncio task that performs one task
    after another, each alone in it; whenever one might suspend and leave others waiting, another worker is on its
    way. So as many workers exist as tasks are suspended, not as many as there are tasks.

    book: of a run that this process has claimed in a journal; a task that ended is settled once that is durable.
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
    ) -> None:
        self.plan = plan
        self.run = run
        self._clock = clock
        self._listener = listener
        self._tasks = plan.tasks
        self._pools = _pools_of(plan, slots)
        self._unusual = [
            task.when is not None or task.foreach is not None or task.approval is not None for task in plan.tasks
        ]
        self._progress = Progress(plan.graph, [task.trigger_rule for task in plan.tasks])
        self._ended: list[Ended | TaskResult | None] = [None] * len(plan.tasks)
        self._queue: deque[tuple[int, Slot]] = deque()
        self._begun = bytearray(len(plan.tasks))
        # Since when tasks wait for a slot, where anybody records that.
        self._queued_us: dict[int, int] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._worker_coming = False
        self._settling = False
        self._cancelled = False
        self._people = People(clock, listener)
        self._crash: BaseException | None = None
        self._over = asyncio.Event()
        self._context = copy_context()
        self._kept = KeptTasks(book, run, plan.tasks, self._pools) if book is not None else None
        if book is not None:
            book.lost, book.settle = self._lost, self._durable
            run.traceparent, run.was_concluded = book.traceparent, book.was_concluded
        run.results = Ends(plan, self._ended, clock.now() - clock.monotonic())

    @property
    def done(self) -> int:
        """Tasks that have ended."""
        return len(self._tasks) - self._progress.unsettled

    async def execute(self) -> WorkflowResult:
        """Run to the end. Cancelled itself, it first ends every task, then raises CancelledError."""
        trace = self.run.trace = open_trace(self.run, alone=self._kept is None)
        if trace is None:
            return await self._execute()
        with trace.run(self.plan) as ended:
            result = await self._execute()
            ended(result.status)
            return result

    async def _execute(self) -> WorkflowResult:
        # What workers begin with: they are often called for in the midst of another run, or of an agent.
        self._context = copy_context()
        started_at, began = self._clock.now(), self._clock.monotonic()
        self._emit("run.started", None, tasks=len(self._tasks))
        for i in self._progress.start():
            self._start(i)
        self._settle_known()
        # All may be known.
        self._finish_if_over()
        try:
            await self._over.wait()
        except BaseException:
            self.cancel()
            await self._end_workers()
            raise
        if self._crash is not None:
            raise self._crash
        states = [state for state in self._progress.states if state is not None]
        position = self.plan.graph.position
        result = WorkflowResult(
            self.run.workflow_id,
            self.plan.name,
            self.plan.hash,
            self.run.results,
            self.plan.output_ids,
            run_status(states, [states[position[name]] for name in self.plan.output_ids]),
            started_at,
            self._clock.monotonic() - began,
        )
        self._emit("run.finished", None, status=result.status)
        return result

    async def wait(self) -> None:
        """Until every task has ended."""
        await self._over.wait()

    def cancel(self) -> None:
        """Stop: what runs is cancelled, what has not started never will; `execute` then returns."""
        if self._cancelled:
            return
        self._cancelled = True
        for pool in set(self._pools):
            pool.withdraw(self)
        self.hold()
        for i in self._progress.cancel():
            self._record(i, _ABSENT)
        for i, state in enumerate(self._progress.states):
            if state is None and not self._begun[i]:
                # Started, but still in a queue.
                self._settle(i, _ABSENT)
        for worker in self._workers:
            worker.cancel()
        self._finish_if_over()

    def hold(self) -> None:
        """Take their slots from those that have not begun: until `cancel` they wait for what never comes."""
        while self._queue:
            self._queue.popleft()[1].release()

    async def _end_workers(self) -> None:
        while self._workers:
            try:
                await asyncio.wait(self._workers)
            except asyncio.CancelledError:
                # Cancelled once more while the agents clean up: they are told, and still waited for.
                for worker in self._workers:
                    worker.cancel()

    def _start(self, i: int) -> None:
        if self._unusual[i]:
            self._hire(self._conditional(i, self._tasks[i]))
            return
        if self._kept is not None:
            beginning = self._kept.begin(i)
            if beginning == "wait":
                self._hire(self._conditional(i, self._tasks[i]))
            if beginning != "run":
                # Who waits has not begun before its worker has: cancelled first, that one never settles it.
                self._begun[i] = beginning == "known"
                return
        pool = self._pools[i]
        slot = pool.take() if not pool.waiting else None
        if slot is None:
            if self.run.trace is not None:
                self._queued_us[i] = int(self.run.now() * 1e6)
            pool.enqueue(self._tasks[i].priority, partial(self._granted, i), self)
        else:
            self._enqueue(i, slot)

    def _granted(self, i: int, slot: Slot) -> bool:
        if self._cancelled:
            return False
        self._enqueue(i, slot)
        return True

    def _enqueue(self, i: int, slot: Slot) -> None:
        self._queue.append((i, slot))
        # A worker that is just settling a task looks at the queue next.
        if not self._settling:
            self._call_worker()

    def _call_worker(self) -> None:
        if self._queue and not self._worker_coming:
            self._worker_coming = True
            self._hire(self._work())

    def _hire(self, work: Coroutine[Any, Any, None]) -> None:
        worker = asyncio.create_task(work, context=self._context.copy())
        self._workers.add(worker)
        worker.add_done_callback(self._dismiss)

    def _dismiss(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self._finish_if_over()

    async def _work(self) -> None:
        self._worker_coming = False
        me, queue = asyncio.current_task(), self._queue
        for turn in count(1):
            if not queue:
                return
            i, slot = queue.popleft()
            self._begun[i] = True
            if queue:
                self._call_worker()
            try:
                ended = await self._perform(i, slot)
            # Cancelled, or what breaks the run: it stops then, and `execute` raises it.
            except BaseException as error:  # noqa: BLE001
                ended = self._crashed(error)
            if self._kept is None or not self._entered(i, ended, self._kept):
                self._settling = True
                self._settle(i, ended)
                self._settling = False
                self._settle_known()
            # What an agent left behind in its asyncio task must not reach the next one: a fresh worker takes over.
            if _has_changed(self._context) or (me is not None and me.cancelling()):
                self._call_worker()
                return
            if turn % _TURNS == 0:
                # Tasks that never suspend must not keep the event loop from everybody else.
                self._call_worker()
                await asyncio.sleep(0)

    def _perform(self, i: int, slot: Slot) -> Awaitable[Ended]:
        """Begin a task; no coroutine itself, as one costs as much as all that is done here."""
        task, run = self._tasks[i], self.run
        try:
            if self._kept is not None:
                context = self._kept.context(i)
            else:
                context = TaskContext(run, task, fill(task.input, run.params) if task.input else {})
            if self._listener is not None:
                self._emit("task.started", task.id, agent_type=task.agent_type, agent_id=slot.agent.id)
        # A listener is broken: the run stops and `execute` raises it.
        except BaseException:
            slot.release()
            raise
        if run.trace is None:
            return perform(context, slot, self._clock, self._listener)
        work = partial(perform, context, slot, self._clock, self._listener)
        return run.trace.work(context, work, queued_us=self._queued_us.pop(i, None))

    async def _conditional(self, i: int, task: Task) -> None:
        """Perform a task with a condition, a foreach or an approval."""
        self._begun[i] = True
        ended: Ended | TaskResult
        try:
            ended = await self._perform_unusual(TaskContext(self.run, task, fill(task.input, self.run.params)))
        except (asyncio.CancelledError, LeaseLost) as error:
            ended = self._crashed(error)
        # A list or condition that cannot be read is the task's failure, not the engine's.
        except Exception as error:  # noqa: BLE001
            ended = _ABSENT._replace(state="failed", error=error, attempts=1, began_s=self._clock.monotonic())
        except BaseException as error:  # noqa: BLE001
            ended = self._crashed(error)
        self._settle(i, ended)
        self._settle_known()

    async def _perform_unusual(self, context: TaskContext) -> Ended | TaskResult:
        task, pool = context.task, self._pools[self.plan.graph.position[context.task.id]]
        if not await condition_says_run(context):
            return _ABSENT._replace(state="skipped")
        self._emit("task.started", task.id, agent_type=task.agent_type)
        if task.foreach is not None:
            return await perform_foreach(context, pool, self._clock, self._listener)
        if task.approval is not None:
            return await self._people.decide(context, pool) or _ABSENT

        async def work() -> Ended:
            return await perform(context, await wait_for_slot(context, pool), self._clock, self._listener)

        return await once(context, pool, work)

    def _entered(self, i: int, ended: Ended, kept: KeptTasks) -> bool:
        """Have the end recorded; whether it is settled later."""
        if isinstance(ended.error, WorkTakenOver):
            self._crash = self._crash or ended.error
        try:
            return kept.end(i, ended)
        # Whatever it is, the run must not wait for a record that never comes.
        except Exception as error:  # noqa: BLE001
            self._crash = self._crash or error
            return False

    def _durable(self, entered: Sequence[Entered], error: CoterieError | None) -> None:
        """The records of tasks are durable; or the journal failed, and with it the run."""
        self._settling = True
        for i, ended in entered:
            self._settle(i, ended if error is None else self._crashed(error))
        self._settle_known()
        self._settling = False
        self._call_worker()
        self._finish_if_over()

    def _lost(self, error: CoterieError) -> None:
        self._crash = self._crash or error
        self.cancel()

    def _settle_known(self) -> None:
        """Settle what needs no doing, as its ends are known; without recursion, however many there are."""
        known = self._kept.known if self._kept is not None else None
        while known:
            self._settle(*known.popleft())

    def _settle(self, i: int, ended: Ended | TaskResult) -> None:
        self._record(i, ended)
        ready, never = self._progress.settle(i, ended.state)
        # First: what starts now may wait for them, and its fingerprint names the end of each.
        for position, state in never:
            self._record(position, _ABSENT._replace(state=state))
        for position in ready:
            self._start(position)
        if self._crash is not None:
            self.cancel()

    def _crashed(self, error: BaseException) -> Ended:
        """The end of a task that was cancelled, or that broke the run itself."""
        if not isinstance(error, asyncio.CancelledError):
            self._crash = self._crash or error
        elif not self._cancelled:
            outside = StepFailed("the task was cancelled from outside its run")
            return _ABSENT._replace(state="failed", error=outside, attempts=1)
        return _ABSENT

    def _finish_if_over(self) -> None:
        if not self._progress.unsettled and not self._workers:
            self._over.set()

    def _record(self, i: int, ended: Ended | TaskResult) -> None:
        self._ended[i] = ended
        if self._listener is not None:
            self._tell_end(i, ended)

    def _tell_end(self, i: int, ended: Ended | TaskResult) -> None:
        error = ended.error
        text = str(error if isinstance(error, ErrorInfo) or error is None else ErrorInfo.of(error))
        fields: dict[str, Any] = {"state": ended.state, "duration_s": ended.duration_s, "attempt": ended.attempts}
        fields["agent_type"] = self._tasks[i].agent_type
        if isinstance(ended, TaskResult) and ended.replayed:
            fields["replayed"] = True
        self._emit("task.finished", self._tasks[i].id, **fields, error=text if error is not None else None)

    def _emit(self, name: str, task_id: TaskId | None, **fields: Any) -> None:
        if self._listener is not None:
            self._listener(Event(name, self.run.workflow_id, task_id, fields))


def _pools_of(plan: Plan, slots: Slots) -> list[TypeSlots]:
    known: dict[tuple[str, Placement | None], TypeSlots] = {}
    pools = []
    for task in plan.tasks:
        wanted = task.agent_type, task.placement
        pool = known.get(wanted) if task.approval is None else None
        if pool is None:
            pool = slots_for(task, slots)
            if task.approval is None:
                known[wanted] = pool
        pools.append(pool)
    return pools


def _has_changed(pristine: Context) -> bool:
    """Whether the code that ran here set context variables, or changed their values."""
    try:
        return copy_context() != pristine
    # Values are compared by their own `__eq__`, which may raise anything: a fresh worker is always right.
    except Exception:  # noqa: BLE001
        return True
