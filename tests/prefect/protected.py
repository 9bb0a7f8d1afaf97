"""A team with policies, whose agents leave marks in a folder; plans for it; and a flow as a program of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from coterie import Agent, ForEach, Plan, Task, Team
from coterie.breaker import BreakerPolicy
from coterie.policies import Policies
from coterie.pool import PoolPolicy

TEAM = "tests.prefect.protected:team"

team = Team("protected")


def mark(folder: str, word: str) -> None:
    """Append a line to the folder's log; whole, whoever else writes."""
    with Path(folder, "log").open("a") as log:
        log.write(f"{word} {os.getpid()}\n")


def marks(folder: Path) -> list[tuple[str, int]]:
    """What was marked, in order, and by which process."""
    path = folder / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(word, int(pid)) for word, pid in (line.split() for line in lines)]


async def appears(path: Path) -> None:
    """Wait for a file, as long as somebody lets it."""
    while not await asyncio.to_thread(path.exists):  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.02)


@team.agent("quick")
async def quick(task_input: dict[str, Any]) -> str:
    """Fail as long as there is a file `broken`; retried soon."""
    return _answer(task_input)


@team.agent("slow")
async def slow(task_input: dict[str, Any]) -> str:
    """The same, but it rests for ten minutes once it has failed."""
    return _answer(task_input)


def _answer(task_input: dict[str, Any]) -> str:
    mark(task_input["folder"], "called")
    if Path(task_input["folder"], "broken").exists():
        raise ConnectionError("it is broken")
    return "fine"


async def work(task_input: dict[str, Any]) -> None:
    """Enter, stay until there is a file `go` and a moment longer, leave."""
    folder = task_input["folder"]
    mark(folder, "enter")
    try:
        await appears(Path(folder, "go"))
        await asyncio.sleep(task_input.get("stays_s", 0.0))
    finally:
        mark(folder, "leave")


team.add(Agent("left", "worker", work, capacity=1))
team.add(Agent("right", "worker", work, capacity=1))

team.protect(
    "quick", Policies(breaker=BreakerPolicy(failure_threshold=1, success_threshold=1, timeout_s=1.0), max_wait_s=60.0)
)
team.protect("slow", Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=600.0), max_wait_s=5.0))
team.protect("worker", Policies(pool=PoolPolicy(), max_wait_s=60.0))

crowd = Plan(
    "crowd",
    [
        Task(
            "work",
            "worker",
            input={"folder": {"$param": "folder"}, "stays_s": 0.3},
            foreach=ForEach(items=[1, 2, 3, 4, 5]),
        )
    ],
    params={"folder": ""},
)


def most_at_once(folder: Path) -> int:
    """How many were between `enter` and `leave` together, at most."""
    inside, most = 0, 0
    for word, _ in marks(folder):
        inside += {"enter": 1, "leave": -1}.get(word, 0)
        most = max(most, inside)
    return most


async def main(what: str, folder: str) -> str:
    """Run one flow; how it ended."""
    from prefect import flow

    from prefect_coterie import arun_agent, run_plan

    artifacts = f"file://{folder}/artifacts"

    @flow
    async def crowded() -> str:
        mark(folder, "ready")
        return (await run_plan(crowd, team=TEAM, artifacts=artifacts, params={"folder": folder})).status

    @flow
    async def refused() -> str:
        state = await arun_agent("slow", {"folder": folder}, team=TEAM, artifacts=artifacts, return_state=True)
        return str(await state.aresult(raise_on_failure=False))

    return await (crowded() if what == "crowd" else refused())


if __name__ == "__main__":
    Path(sys.argv[2], f"status-{sys.argv[1]}").write_text(asyncio.run(main(*sys.argv[1:])))
