"""A newspaper: a writer who is an agent, an editor who is a person, a journal in memory whose clock a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from coterie import Approval, Approvals, Event, Orchestrator, Plan, Task, Team, WorkflowResult
from coterie.approvals import PendingApproval, waiting
from coterie.journal import Journal
from coterie.ports import JournalStore
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.testing import ManualClock

RUN = "run-1"
PATIENCE_S = 30.0


def plan_of(approval: Approval | None = None, *, after: bool = True, **more: Any) -> Plan:
    """Draft, sign off, publish."""
    asked = Task(
        "sign-off", "editor", depends_on=("draft",), approval=approval or Approval("Publish the report?"), **more
    )
    last = [Task("publish", "writer", depends_on=("sign-off",))] if after else []
    return Plan("paper", [Task("draft", "writer"), asked, *last])


@dataclass
class Desk:
    """Runs are at work here. text: what the writer gives."""

    store: JournalStore
    clock: ManualClock = field(default_factory=ManualClock)
    text: str = "hello"
    wrote: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    running: list[asyncio.Task[WorkflowResult]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journal = Journal(self.store)
        self.people = Approvals(self.journal)

    def orchestrator(self, **more: Any) -> Orchestrator:
        team = Team("paper")

        @team.agent("writer")
        async def writer(_: dict[str, Any], ctx: Any) -> Any:
            self.wrote.append(ctx.task_id)
            return {"text": self.text}

        @team.agent("undoer")
        async def undoer(_: dict[str, Any], ctx: Any) -> Any:
            self.wrote.append(ctx.task_id)

        @team.agent("breaker")
        async def breaker(_: dict[str, Any]) -> Any:
            raise RuntimeError("broken")

        return Orchestrator(team, **{"journal": self.journal, "on_event": self.events.append, **more})

    def start(self, plan: Plan, run: str = RUN, **more: Any) -> asyncio.Task[WorkflowResult]:
        task = asyncio.create_task(self.orchestrator().execute_workflow(plan, workflow_id=run, **more))
        self.running.append(task)
        return task

    async def asked(self, run: str = RUN) -> PendingApproval:
        """Wait until the run asks."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for one in await self.people.pending():
                    if one.workflow_id == run:
                        return one
                for task in self.running:
                    if task.done() and not task.cancelled():
                        task.result()
                await asyncio.sleep(0.001)

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not what():  # noqa: ASYNC110  # whatever it is, it is no event
                await asyncio.sleep(0.001)

    async def ended(self, running: asyncio.Task[WorkflowResult]) -> WorkflowResult:
        async with asyncio.timeout(PATIENCE_S):
            return await running

    async def dies(self, running: asyncio.Task[WorkflowResult]) -> None:
        """As if the process were gone: nothing says how the run ended."""
        running.cancel()
        await asyncio.wait([running])

    def told(self, name: str) -> list[dict[str, Any]]:
        return [dict(event.fields) for event in self.events if event.name == name]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    # Who waits looks this often; the tests have no time.
    monkeypatch.setattr(waiting, "FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(waiting, "LONGEST_LOOK_S", 0.02)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    clock = ManualClock()
    desk = Desk(MemoryJournalStore(clock=clock), clock)
    yield desk
    for task in desk.running:
        task.cancel()
    await asyncio.gather(*desk.running, return_exceptions=True)
    await desk.store.aclose()
