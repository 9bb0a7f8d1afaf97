"""Runs that really happen, for the tests of what is told of them."""

from __future__ import annotations

import asyncio
from typing import Any

from coterie import (
    ArtifactStore,
    ForEach,
    Intent,
    Orchestrator,
    Plan,
    Policies,
    Retry,
    Task,
    TaskContext,
    Team,
)
from coterie.journal import Journal
from coterie.timeline import Span, Timeline, timeline_of
from tests.core.timeline.checks import checked

__all__ = ["FAST", "RUN", "Crew", "failing", "half_done", "span_of", "within", "work"]

RUN = "r1"
FAST = Retry(max_attempts=3, base_s=0.01, cap_s=0.01)


class Crew:
    """Agents of the type `work` that do what `does` says for a task's id: raise, return, or call."""

    def __init__(self, journal: Journal, **does: Any) -> None:
        self.journal = journal
        self.does = does
        self.policies: dict[str, Policies] = {}
        self.capacity = 4

    def orchestrator(self, artifacts: ArtifactStore | None = None) -> Orchestrator:
        team = Team("crew", policies=self.policies)
        team.agent("work", capacity=self.capacity)(self._work)
        return Orchestrator(team, journal=self.journal, artifacts=artifacts)

    async def run(self, *tasks: Task, **intent: Any) -> Timeline:
        await self.orchestrator().execute_workflow(Plan("plan", tasks), workflow_id=RUN, intent=Intent(**intent))
        return await self.timeline()

    async def timeline(self) -> Timeline:
        return checked(await timeline_of(self.journal, RUN))

    async def _work(self, task_input: dict[str, Any], ctx: TaskContext) -> Any:
        does = self.does.get(ctx.task_id)
        if isinstance(does, BaseException):
            raise does
        if not callable(does):
            return does
        done = does(ctx)
        return await done if asyncio.iscoroutine(done) else done


def work(name: str, *after: str, **fields: Any) -> Task:
    return Task(name, "work", depends_on=after, **fields)


def span_of(timeline: Timeline, name: str) -> Span:
    return next(span for span in timeline.spans if span.id == name)


def within(timeline: Timeline, name: str) -> list[Span]:
    return [span for span in timeline.spans if span.parent == name]


def failing(times: int) -> Any:
    """Fails so often, then succeeds."""
    left = iter(range(times))

    def does(ctx: TaskContext) -> str:
        for n in left:
            raise ValueError(f"not yet {n}")
        return "done"

    return does


async def half_done(journal: Journal) -> Timeline:
    """Of a foreach over two items, when one has ended, and the other has not."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def last_waits(ctx: TaskContext) -> None:
        if ctx.item == 2:
            reached.set()
            await go_on.wait()

    running = asyncio.create_task(Crew(journal, each=last_waits).run(work("each", foreach=ForEach(items=[1, 2]))))
    await reached.wait()
    while not within(timeline := checked(await timeline_of(journal, RUN)), "task/each"):  # noqa: ASYNC110  # of a store
        await asyncio.sleep(0.01)
    go_on.set()
    await running
    return timeline
