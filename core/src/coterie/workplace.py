"""What all work of one orchestrator shares: agents with their capacity, stores, policies, whoever listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from coterie._json import JsonValue
from coterie._rules.params import fill
from coterie.agent import Agent, Handler
from coterie.artifacts import ArtifactStore
from coterie.clock import Clock, SystemClock
from coterie.context import Run, TaskContext
from coterie.errors import Misuse
from coterie.events import Event, Listener
from coterie.ids import AgentId, AgentType, TaskId, WorkflowId, check_name, check_workflow_id, new_workflow_id
from coterie.journal import Journal
from coterie.journal.keeping import Keeping
from coterie.pipeline import Pipeline
from coterie.ports import StateStore
from coterie.result import TaskResult
from coterie.slots import Slots
from coterie.task import Retry, Task
from coterie.team import Team
from coterie.telemetry.logs import guarded

if TYPE_CHECKING:
    from coterie.bus import EventBus
    from coterie.remote.calls import RemoteCalls

__all__ = ["Workplace", "unharming"]

T = TypeVar("T")

_log = guarded("coterie.run")


class Workplace:
    """See `coterie.Orchestrator`, which it is the ground of."""

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
        remote: RemoteCalls | Callable[[], RemoteCalls] | None = None,
        bus: EventBus | Callable[[], EventBus] | None = None,
    ) -> None:
        self.namespace = check_name(namespace, "namespace")
        self.artifacts = artifacts
        self._clock: Clock = clock or SystemClock()
        self._listener = unharming(on_event)
        path = team.path if team is not None else None
        self.keeping = Keeping(journal, artifacts, team_path=path, on_event=self._listener) if journal else None
        self.pipeline = Pipeline(team.policies if team else {}, store=store, clock=self._clock, on_event=self._listener)
        self._slots = Slots(team.agents.values() if team else (), gate_of=self.pipeline.gate)
        self.pipeline.connect(self._slots)
        self._remote = _given(remote)
        self._bus = _given(bus)
        self._calls: set[asyncio.Task[Any]] = set()
        self._open: set[asyncio.Future[None]] = set()
        self._over = self._in_vain = False

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

    @contextmanager
    def seen_out(self) -> Iterator[None]:
        """Have `stop` wait for the end of the block: a run is over once its journal is closed, not before."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open.add(ended)
        try:
            yield
        finally:
            self._open.discard(ended)
            ended.set_result(None)

    def _run(
        self,
        workflow_id: WorkflowId | None,
        params: Mapping[str, JsonValue],
        results: Mapping[TaskId, TaskResult] | None = None,
        epoch: int = 0,
        correlation_id: str | None = None,
    ) -> Run:
        if self._over:
            self._in_vain = True
            raise asyncio.CancelledError("this orchestrator was shut down; nothing begins here any more")
        name = (
            check_workflow_id(workflow_id)
            if workflow_id is not None
            else new_workflow_id(int(self._clock.now() * 1000))
        )
        return Run(
            name,
            self.namespace,
            self.artifacts,
            params,
            results or {},
            epoch,
            correlation_id=correlation_id or name,
            remote=self._remote,
            bus=self._bus,
            now=self._clock.now,
        )

    def _context(self, run: Run, task: Task) -> TaskContext:
        return TaskContext(run, task, fill(task.input, run.params))

    def _store(self) -> ArtifactStore:
        if self.artifacts is None:
            raise Misuse("parts of a foreach travel by reference; give the orchestrator an artifact store")
        return self.artifacts

    def _emit(self, name: str, run: Run, task: Task, **fields: JsonValue) -> None:
        if self._listener is not None:
            self._listener(Event(name, run.workflow_id, task.id, fields))


def _given(shell: T | Callable[[], T] | None) -> Callable[[], T] | None:
    """What gives it; it may be opened only when it is needed."""
    if shell is None or callable(shell):
        return shell
    return lambda: shell


def unharming(listener: Listener | None) -> Listener | None:
    """The same listener; what it raises is logged, and changes nothing."""
    return None if listener is None else partial(_tell, listener)


def _tell(listener: Listener, event: Event) -> None:
    try:
        listener(event)
    # Nobody handles it further: whoever only watches must not end what is watched.
    except Exception:  # noqa: BLE001
        _log.exception("listener.failed at %s of %s", event.name, event.workflow_id)
