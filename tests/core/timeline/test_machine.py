"""The timeline of a state machine: its visits, one after the other, each with what was done in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from coterie import Action, Go, Orchestrator, State, StateMachine, StateMachineRun, TaskContext, Team
from coterie.cli.trace.telling import lines_of
from coterie.journal import Journal
from coterie.machine_run import execute_machine
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.testing import ManualClock
from coterie.timeline import Timeline, timeline_of
from tests.core.timeline.checks import checked

RUN = "m1"
MACHINE = StateMachine(
    "review",
    [
        State("draft", action=Action("work"), transitions=[Go("review")]),
        State("review", transitions=[Go("done", "approve"), Go("draft", "reject")]),
        State("done", final="succeeded"),
    ],
    initial="draft",
    max_steps=20,
)


async def test_visits_follow_one_another_and_hold_their_actions(journal: Journal):
    running = asyncio.create_task(execute_machine(orchestrator(journal), MACHINE, workflow_id=RUN))
    waiting = await until(journal, "review")
    await StateMachineRun(journal, RUN).send("reject", event_id="e1", who="ann")
    await until(journal, "review", number=4)
    await StateMachineRun(journal, RUN).send("approve", event_id="e2", who="ann")
    await running

    timeline = checked(await timeline_of(journal, RUN))

    visits = [span for span in timeline.spans if span.kind == "visit"]
    assert [span.name for span in visits] == ["draft", "review", "draft", "review"]
    assert visits[1].facts["trigger"] == "reject"
    assert [span.parent for span in timeline.spans if span.kind == "task"] == ["visit/1", "visit/3"]
    assert (timeline.state, timeline.is_over) == ("succeeded", True)
    assert [(span.name, span.ended_us, span.state) for span in waiting.going_on] == [("review", None, "waiting")]


async def test_one_that_is_over_lacks_no_plan(journal: Journal):
    running = asyncio.create_task(execute_machine(orchestrator(journal), MACHINE, workflow_id=RUN))
    waiting = await until(journal, "review")
    await StateMachineRun(journal, RUN).send("approve")
    await running

    assert (waiting.notes, (await timeline_of(journal, RUN)).notes) == ((), ())


async def test_one_that_nobody_is_at_is_gone_on_with_as_a_machine():
    clock = ManualClock()
    journal, at_work = Journal(MemoryJournalStore("test", clock=clock)), asyncio.Event()

    async def never_ends() -> None:
        at_work.set()
        await asyncio.sleep(3600)

    running = asyncio.create_task(execute_machine(orchestrator(journal, never_ends), MACHINE, workflow_id=RUN))
    async with asyncio.timeout(30):
        await at_work.wait()
    # Longer than its lease, as if its process were gone.
    clock.advance(60)
    timeline = await timeline_of(journal, RUN)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    told = {line.about: line.text for line in lines_of(timeline, timeline.critical_path())}
    assert timeline.state == "interrupted"
    assert told["left"] == (f"nobody is at it; it goes on with: coterie machine run MACHINE --team TEAM --run-id {RUN}")
    assert "note" not in told


async def until(journal: Journal, state: str, *, number: int = 2) -> Timeline:
    """The timeline, once the machine waits in that visit."""
    async with asyncio.timeout(30):
        while True:
            if await journal.header(RUN) is not None:
                timeline = checked(await timeline_of(journal, RUN))
                last = [span for span in timeline.spans if span.kind == "visit"][-1:]
                if last and last[0].id == f"visit/{number}" and last[0].state == "waiting":
                    assert last[0].name == state
                    return timeline
            await asyncio.sleep(0.01)


async def nothing() -> None:
    pass


def orchestrator(journal: Journal, act: Callable[[], Awaitable[None]] = nothing) -> Orchestrator:
    team = Team("desk")

    @team.agent("work")
    async def work(task_input: Any, ctx: TaskContext) -> str:
        await act()
        return ctx.task_id

    return Orchestrator(team, journal=journal)
