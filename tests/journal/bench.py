"""Agents that write down what they are called for, and orchestrators that share a journal, as processes would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from coterie import Orchestrator, Task, TaskContext, Team
from coterie.artifacts import ArtifactStore
from coterie.events import Event
from coterie.ids import WorkflowId
from coterie.journal import Intent, Journal
from coterie.policies import Policies
from coterie.ports import JournalStore
from coterie.result import TaskResult, WorkflowResult
from coterie.stores.journal_memory import MemoryJournalStore

__all__ = ["RUN_ID", "Bench", "Busy", "Gate", "cancelled_at", "name_of", "step_of"]

RUN_ID = "run"


class Busy(MemoryJournalStore):
    """A store that takes its time, as those outside the process do."""

    async def write(self, *arguments: Any, **more: Any) -> None:
        await asyncio.sleep(0)
        await super().write(*arguments, **more)
        await asyncio.sleep(0)

    async def change(self, *arguments: Any, **more: Any) -> Any:
        await asyncio.sleep(0)
        changed = await super().change(*arguments, **more)
        await asyncio.sleep(0)
        return changed


async def cancelled_at(tick: int, work: Coroutine[Any, Any, Any]) -> bool:
    """Cancel it after so many ticks of the event loop; False: it had ended before. It ends as one that is cancelled."""
    running = asyncio.create_task(work)
    for _ in range(tick):
        await asyncio.sleep(0)
    if running.done():
        return False
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled(), f"cancelled at tick {tick}, it went on"
    return True


class Gate:
    """Where an agent waits until a test lets it go on. `reached` is set once it does."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.open.wait()


class Bench:
    """calls: the work that agents were called for, by `name_of`, in order; keys: the idempotency keys they were given.

    does: what the agent does for a task, by its id: a value to return, an exception to raise, or a function of
    (input, context), async or not, to be called; for others it returns the task's id.
    """

    def __init__(self, store: JournalStore | None = None, *, lease_s: float = 30.0, **does: Any) -> None:
        self.store = store or MemoryJournalStore()
        self.lease_s = lease_s
        self.does: dict[str, Any] = does
        self.calls: list[str] = []
        self.keys: list[str] = []
        self.events: list[Event] = []

    def orchestrator(
        self,
        *,
        versions: dict[str, str] | None = None,
        artifacts: ArtifactStore | None = None,
        types: Sequence[str] = ("work", "other"),
        policies: dict[str, Policies] | None = None,
        capacity: int = 50,
    ) -> Orchestrator:
        """Another process: its own agents and its own journal object, on the store that all share."""
        team = Team("bench", policies=policies or {})
        for name in types:
            version = (versions or {}).get(name, "1")
            team.agent(name, version=version, capacity=capacity)(self._agent)
        return Orchestrator(team, journal=self.journal(), artifacts=artifacts, on_event=self.events.append)

    def journal(self) -> Journal:
        return Journal(self.store, lease_s=self.lease_s)

    async def run(
        self, plan: Any, *, versions: dict[str, str] | None = None, run: WorkflowId = RUN_ID, **intent: Any
    ) -> WorkflowResult:
        """A whole run, in a process of its own."""
        return await self.orchestrator(versions=versions).execute_workflow(
            plan, workflow_id=run, intent=Intent(**intent)
        )

    async def task(
        self,
        task: Task,
        *,
        upstream: dict[str, TaskResult] | None = None,
        versions: dict[str, str] | None = None,
        waits: bool = True,
        **intent: Any,
    ) -> TaskResult:
        """One task, by a scheduler's worker, in a process of its own."""
        return await self.orchestrator(versions=versions).execute_task(
            task, upstream=upstream, workflow_id=RUN_ID, waits=waits, intent=Intent(**intent)
        )

    def told(self, name: str) -> list[Event]:
        """The events of that name."""
        return [event for event in self.events if event.name == name]

    def forget_calls(self) -> None:
        self.calls.clear()
        self.keys.clear()

    async def _agent(self, task_input: dict[str, Any], ctx: TaskContext) -> Any:
        self.calls.append(name_of(ctx))
        self.keys.append(ctx.idempotency_key)
        does = self.does.get(ctx.task_id, ctx.task_id)
        if isinstance(does, BaseException):
            raise does
        if not callable(does):
            return does
        done = does(task_input, ctx)
        return await done if asyncio.iscoroutine(done) else done


def name_of(ctx: TaskContext) -> str:
    """The task's id, with the item if it has one."""
    return ctx.task_id if ctx.item_key is None else f"{ctx.task_id}[{ctx.item}]"


def step_of(log: list[Any], value: Any = None) -> Callable[..., Any]:
    """A step's function that writes down what it was called with."""

    async def step(*arguments: Any) -> Any:
        log.append(arguments[0] if len(arguments) == 1 else arguments)
        return arguments[0] if value is None and arguments else value

    return step
