"""Processes at one newspaper: `python -m tests.journal.approvals.worker FOLDER URL run [before|after N]`, or `answer`.

The first runs the plan, and may kill itself before, or right after, the N-th time that it writes to the journal; its
agents write to a log apart from the journal, and whenever it begins to wait, it writes to another one. The second, a
person's, is given CHOICE and NAME, answers as soon as a file `go` is in the folder, and prints what came of it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from coterie import Approvals, Event, Orchestrator, TaskContext, Team
from coterie.approvals import waiting
from coterie.errors import AlreadyDecided
from coterie.journal import Journal
from coterie.stores.opening import open_journal_store
from tests.journal.approvals.conftest import RUN, plan_of
from tests.journal.machine.worker import Suicidal

NAMESPACE = "paper"


async def run(folder: Path, url: str, when: str = "never", number: str = "0") -> None:
    team = Team("paper")

    @team.agent("writer")
    async def write(_: dict[str, Any], ctx: TaskContext) -> Any:
        with (folder / "log").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"task": ctx.task_id, "key": ctx.idempotency_key}) + "\n")
        return {"text": "hello"}

    def told(event: Event) -> None:
        if event.name == "approval.asked":
            with (folder / "waits").open("a", encoding="utf-8") as file:
                file.write("waits\n")

    waiting.FIRST_LOOK_S = waiting.LONGEST_LOOK_S = 0.02
    store = Suicidal(open_journal_store(url, NAMESPACE), when, int(number))
    try:
        journal = Journal(store)  # type: ignore[arg-type]  # a store in all but name
        result = await Orchestrator(team, journal=journal, on_event=told).execute_workflow(plan_of(), workflow_id=RUN)
    finally:
        await store.store.aclose()
    output = result["sign-off"].output
    sys.stdout.write(json.dumps({"status": result.status, "decision": output, "writes": store.count}))


async def answer(folder: Path, url: str, choice: str, by: str) -> None:
    store = open_journal_store(url, NAMESPACE)
    people = Approvals(Journal(store))
    (folder / f"ready-{by}").touch()
    while not (folder / "go").exists():  # noqa: ASYNC110  # another process makes it
        await asyncio.sleep(0.001)
    try:
        found = {"decided": (await people.answer(RUN, "sign-off", choice, by=by)).to_dict()}
    except AlreadyDecided as error:
        found = {"told": dict(error.decision)}
    finally:
        await store.aclose()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    work = {"run": run, "answer": answer}[sys.argv[3]]
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], *sys.argv[4:]))
