"""An orchestrator with a journal in memory, whose clock a test may move, and agents that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from coterie import Orchestrator, TaskContext, Team
from coterie.journal import Journal
from coterie.machine import StateMachine
from coterie.machine_run import MachineStatus, StateMachineRun, execute_machine, handle
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.testing import ManualClock

RUN = "run-1"
PATIENCE_S = 30.0


@dataclass
class Desk:
    """Machines are run here. work: what the agents of type `worker` do; seen: the inputs that they were given."""

    clock: ManualClock = field(default_factory=ManualClock)
    work: Callable[[dict[str, Any], TaskContext], Awaitable[Any]] | None = None
    seen: list[dict[str, Any]] = field(default_factory=list)
    contexts: list[TaskContext] = field(default_factory=list)
    running: list[asyncio.Task[MachineStatus]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = MemoryJournalStore(clock=self.clock)
        self.journal = Journal(self.store)
        self.run = StateMachineRun(self.journal, RUN)

    def orchestrator(self, **more: Any) -> Orchestrator:
        team = Team("desk")

        @team.agent("worker", capacity=4)
        async def worker(task_input: dict[str, Any], ctx: TaskContext) -> Any:
            self.seen.append(task_input)
            self.contexts.append(ctx)
            return await self.work(task_input, ctx) if self.work is not None else {"n": len(self.seen)}

        return Orchestrator(team, **{"journal": self.journal, **more})

    async def execute(self, machine: StateMachine, **more: Any) -> MachineStatus:
        async with asyncio.timeout(PATIENCE_S):
            return await execute_machine(self.orchestrator(), machine, workflow_id=RUN, **more)

    def start(self, machine: StateMachine, **more: Any) -> asyncio.Task[MachineStatus]:
        task = asyncio.create_task(self.execute(machine, **more))
        self.running.append(task)
        return task

    async def until(self, state: str, *, visit: int = 0, phase: str | None = None) -> MachineStatus:
        """Wait until the machine is in a state."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                texts, _ = await self.store.get(RUN, ("machine",))
                if texts:
                    status = await self.run.status()
                    if status.state == state and status.visit >= visit and phase in (None, status.phase):
                        return status
                for task in self.running:
                    if task.done() and not task.cancelled() and task.exception() is not None:
                        task.result()
                await asyncio.sleep(0.001)


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> Any:
    # Who waits looks this often; the tests have no time.
    monkeypatch.setattr(handle, "LOOK_S", 0.01)
    desk = Desk()
    yield desk
    for task in desk.running:
        task.cancel()
    await asyncio.gather(*desk.running, return_exceptions=True)
    await desk.store.aclose()
