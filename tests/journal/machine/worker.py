"""A process that runs a machine; `python -m tests.journal.machine.worker URL LOG [before|after N]`.

It kills itself before, or right after, the N-th time that it writes to the journal. Its agents write to a log apart
from the journal: whenever they begin, with what names the work.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coterie import Orchestrator, TaskContext, Team
from coterie.journal import Journal
from coterie.machine import StateMachine
from coterie.machine_run import execute_machine, handle
from coterie.ports import JournalStore
from coterie.state import Action, Go, Guard, State
from coterie.stores.opening import open_journal_store

RUN = "review-1"
NAMESPACE = "kills"
# Two drafts that the checker finds too short, two that people reject, one that they approve.
MACHINE = StateMachine(
    "review",
    [
        State(
            "draft",
            action=Action("writer", input={"time": {"$data": "/visit"}}),
            max_visits=9,
            transitions=[Go("check"), Go("lost", "failed"), Go("lost", "exhausted")],
        ),
        State(
            "check",
            action=Action("checker", input={"text": {"$data": "/outputs/draft/text"}}),
            transitions=[Go("review", when=[Guard("/words", "ge", 3)]), Go("draft")],
        ),
        State("review", transitions=[Go("done", "approve"), Go("draft", "reject")]),
        State("done", final="succeeded"),
        State("lost", final="failed"),
    ],
    initial="draft",
)
PATH = ["draft", "check", "draft", "check", "draft", "check", "review", "draft", "check", "review", "done"]


@dataclass
class Suicidal:
    """A journal's store that counts what is written, and ends the process at one of these moments."""

    store: JournalStore
    when: str
    number: int
    count: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def change(self, run: str, paths: Any, decide: Any) -> Any:
        wrote: list[bool] = []

        def watched(texts: Mapping[str, str | None], now: int) -> Any:
            changed = decide(texts, now)
            wrote.append(bool(changed.texts))
            # A decision may be run again, so that nothing is known before the call returns; what it writes is.
            if wrote[-1] and self.when == "before" and self.count + 1 == self.number:
                die()
            return changed

        result = await self.store.change(run, paths, watched)
        if wrote and wrote[-1]:
            self.written()
        return result

    async def write(self, run: str, texts: Any, **more: Any) -> None:
        if self.when == "before" and self.count + 1 == self.number:
            die()
        await self.store.write(run, texts, **more)
        self.written()

    def written(self) -> None:
        self.count += 1
        if self.when == "after" and self.count == self.number:
            die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def read_log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


async def main(url: str, log: str, when: str = "never", number: str = "0") -> None:
    team = Team("kills")

    def note(ctx: TaskContext) -> None:
        line = json.dumps({"task": ctx.task_id, "key": ctx.idempotency_key, "pid": os.getpid()})
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    @team.agent("writer")
    async def write(task_input: dict[str, Any], ctx: TaskContext) -> Any:
        note(ctx)
        return {"text": "word " * task_input["time"]}

    @team.agent("checker")
    async def check(task_input: dict[str, Any], ctx: TaskContext) -> Any:
        note(ctx)
        return {"words": len(task_input["text"].split())}

    handle.LOOK_S = 0.02
    store = Suicidal(open_journal_store(url, NAMESPACE), when, int(number))
    journal = Journal(store)  # type: ignore[arg-type]  # a store in all but name
    try:
        await execute_machine(Orchestrator(team, journal=journal), MACHINE, workflow_id=RUN)
    finally:
        await store.store.aclose()
    sys.stdout.write(str(store.count))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
