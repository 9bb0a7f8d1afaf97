"""Agents and a machine for the tests with people in the loop; and a person, who decides from another process."""

from __future__ import annotations

import asyncio
import threading
import time

from coterie import (
    Action,
    Approval,
    Field,
    Go,
    Guard,
    Plan,
    State,
    StateMachine,
    StateMachineRun,
    Task,
    Team,
)
from coterie.errors import IllegalTransition, UnknownRun
from coterie.journal import Journal
from coterie.stores.opening import open_journal_store

TEAM_PATH = "tests.airflow.reviewing:team"
PATIENCE_S = 120.0

team = Team("reviewing")

DRAFT = Action(
    "writer", input={"comment": {"$data": "/event/payload/comment", "default": ""}, "version": {"$data": "/visit"}}
)

machine = StateMachine(
    "review",
    [
        State("draft", action=DRAFT, max_visits=5, transitions=[Go("review"), Go("lost", "exhausted")]),
        State("review", transitions=[Go("done", "approve"), Go("draft", "revise"), Go("lost", "reject")]),
        State("done", final="succeeded"),
        State("lost", final="failed"),
    ],
    initial="draft",
)

# Approved only by whoever says why; nothing else leads on but the time-out.
guarded = StateMachine(
    "guarded",
    [
        State("wait", transitions=[Go("done", "approve", when=[Guard("/comment", "eq", "because")])]),
        State("done", final="succeeded"),
    ],
    initial="wait",
)

timed = StateMachine(
    "timed",
    [
        State("wait", timeout_s=1, transitions=[Go("done", "approve"), Go("late", "timeout")]),
        State("late", final="succeeded"),
        State("done", final="succeeded"),
    ],
    initial="wait",
)


signed = Plan(
    "signed",
    [
        Task("draft", "writer", input={"comment": "", "version": 1}),
        Task(
            "sign-off",
            "editor",
            depends_on=("draft",),
            approval=Approval("Publish it?", fields={"copies": Field("integer", default=1)}),
        ),
        Task("print", "printer", depends_on=("sign-off",)),
    ],
)


@team.agent("printer")
async def print_it(_, ctx):
    """Say what was decided before."""
    return await ctx.output("sign-off")


@team.agent("writer")
async def write(task_input):
    """Say which version this is, and what was said of the one before."""
    return {"text": f"version {task_input['version']}", "heeded": task_input["comment"]}


async def at_run(url, run_id, work):
    journal = Journal(open_journal_store(url, "default"))
    try:
        return await work(StateMachineRun(journal, run_id))
    finally:
        await journal.aclose()


async def until(run, visit, state="review"):
    """Wait until the machine is there."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            status = await run.status()
            if (status.visit, status.state, status.phase) == (visit, state, "waiting"):
                return
        except UnknownRun:
            pass
        await asyncio.sleep(0.05)
    raise TimeoutError(f"the machine never came to visit {visit}")


class Person(threading.Thread):
    """Sends events to a run, each when the machine waits at its visit: `(visit, event, payload)`."""

    def __init__(self, url, run_id, *decisions):
        super().__init__(daemon=True)
        self.url, self.run_id, self.decisions = url, run_id, decisions
        self.refused = []

    def run(self):
        """Decide."""

        async def decide(run):
            for visit, event, payload in self.decisions:
                await until(run, visit)
                try:
                    await run.send(event, payload, who="ann", visit=visit)
                except IllegalTransition as error:
                    self.refused.append(error)

        asyncio.run(at_run(self.url, self.run_id, decide))
