"""A run whose trace is looked at: its team, of which workers perform a part, and its plan.

Where the folder says so, processes die at their work: `die weigh`, a worker; `die report`, the scheduler's own process.
What spans they were in, which nobody will ever send, they leave behind.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from opentelemetry import trace

from coterie import ForEach, Plan, Retry, Task, TaskContext, Team

__all__ = ["FOLDER", "LIBRARY", "TEAM", "last_words", "order_death", "plan", "team"]

FOLDER = "COTERIE_TEST_TRACED"
TEAM = "tests.support.traced:team"
# Stands for what an agent uses that traces itself.
LIBRARY = "tests.library"

team = Team("traced")
plan = Plan(
    "traced",
    [
        Task("list", "lister"),
        Task(
            "look",
            "looker",
            foreach=ForEach(task="list", bind="item"),
            placement="remote",
            retry=Retry(max_attempts=2, base_s=0.05, cap_s=0.05),
        ),
        Task("weigh", "weigher", depends_on=("look",), placement="remote"),
        Task("report", "reporter", depends_on=("look", "weigh")),
        Task("send", "sender", depends_on=("report",), placement="remote"),
    ],
)


def order_death(folder: Path, *tasks: str) -> None:
    """Have whoever first performs these tasks be killed in the middle of it."""
    for task in tasks:
        (folder / f"die {task}").touch()


def last_words(folder: Path, task: str) -> dict[str, str] | None:
    """The spans that whoever died at a task was in, by name; None as long as nobody has."""
    left = folder / f"dead {task}"
    return json.loads(left.read_text()) if left.exists() else None


def _die_if_ordered(task_id: str) -> None:
    order = Path(os.environ[FOLDER]) / f"die {task_id}"
    if order.exists():
        call: Any = trace.get_current_span()
        order.write_text(
            json.dumps({"call": f"{call.context.span_id:016x}", "work": f"{call.parent.span_id:016x}"}),
        )
        order.rename(order.with_name(f"dead {task_id}"))
        os.kill(os.getpid(), signal.SIGKILL)


@team.agent("lister")
async def list_things(_: dict[str, Any]) -> list[str]:
    """What is to be looked at."""
    return ["a", "b", "c"]


@team.agent("looker", capacity=2)
async def look(task_input: dict[str, Any], context: TaskContext) -> str:
    """Look at a thing with a library that traces itself; at `b` only when asked again."""
    with trace.get_tracer(LIBRARY).start_as_current_span("glass"):
        if task_input["item"] == "b" and context.attempt == 1:
            raise ValueError("the glass is fogged")
    return f"seen {task_input['item']}"


@team.agent("weigher")
async def weigh(_: dict[str, Any], context: TaskContext) -> int:
    """Weigh in two durable steps; between them, the process may be gone, when its first spans have been sent."""

    async def put(number: int) -> int:
        return number

    first = await context.step("left pan", put, 3)
    with trace.get_tracer(LIBRARY).start_as_current_span("balance"):
        pass
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        flush()
    _die_if_ordered(context.task_id)
    return first + await context.step("right pan", put, 4)


@team.agent("reporter")
async def report(_: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """All of it."""
    _die_if_ordered(context.task_id)
    return {"looked": await context.output("look"), "weight": await context.output("weigh")}


@team.agent("sender")
async def send(_: dict[str, Any], context: TaskContext) -> str:
    """Send it off."""
    return f"sent {sorted(await context.output('report'))}"
