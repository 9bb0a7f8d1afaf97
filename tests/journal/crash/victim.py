"""What a victim does: begin a run, or go on with it, until it ends or is killed; then say how it ended, in a file.

engine: "whole", the local engine, which has the whole run; "workers", which claims each task by itself, a layer at a
time, as a scheduler's workers do. Two that are wrong, for those who look for faults: "forgetful", whose store loses
every other record that it acknowledged; "keyless", which pays with a new key each time.

What is acknowledged is written down at once, in a file that no kill can take back.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from coterie import Orchestrator, Plan
from coterie.artifacts import ArtifactStore
from coterie.conclude import conclude
from coterie.errors import CoterieError
from coterie.events import Event
from coterie.journal import Journal
from coterie.ports import JournalStore
from coterie.result import TaskResult, WorkflowResult
from coterie.stores.blobs import FsspecBlobs
from coterie.stores.opening import open_journal_store
from coterie.testing.faults_journal import FaultyJournalStore
from tests.journal.crash.billing import pay
from tests.journal.crash.killer import KilledBlobs, Killer
from tests.journal.crash.layered import Done, layered_plan, team_of, units_of

__all__ = ["NAMESPACE", "main"]

NAMESPACE = "crash"


def main(settings: dict[str, Any]) -> None:
    """settings: journal, artifacts (URLs), billing (port), run, size, engine, kill (a point or None), out, acknowledged
    (files).
    """
    Path(settings["out"]).write_text(json.dumps(asyncio.run(_ended(settings))))


async def _ended(settings: dict[str, Any]) -> dict[str, Any]:
    killer = Killer(settings.get("kill"))
    store = open_journal_store(settings["journal"], NAMESPACE)
    faulty = FaultyJournalStore(store, on_write=partial(killer.meet, "journal"))
    artifacts = ArtifactStore(KilledBlobs(FsspecBlobs(settings["artifacts"]), killer), namespace=NAMESPACE)
    plan, engine = layered_plan(settings["size"]), settings["engine"]
    acknowledged = os.open(settings["acknowledged"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def done(unit: str) -> None:
        os.write(acknowledged, f"{unit}\n".encode())

    orchestrator = Orchestrator(
        team_of(partial(_paid, settings, killer), done),
        journal=Journal(Forgetful(faulty) if engine == "forgetful" else faulty, lease_s=settings.get("lease_s", 30.0)),
        artifacts=artifacts,
        on_event=partial(_tell, done, units_of(plan)),
    )
    try:
        result = await (_workers if engine == "workers" else _whole)(orchestrator, plan, settings["run"])
    except CoterieError as error:
        return {"error": f"{type(error).__name__}: {error}", "counts": killer.counts}
    finally:
        await store.aclose()
    return {"result": result.status_document(), "counts": killer.counts}


def _tell(done: Done, units: Mapping[str, Sequence[str]], event: Event) -> None:
    """An end is told of once it is durable; where the journal failed, it is none, and not recorded."""
    if event.name != "task.finished" or event.task_id is None:
        return
    failed_itself = str(event.fields["error"]).startswith("ValueError")
    if event.fields["state"] == "succeeded" or failed_itself:
        for unit in units[event.task_id]:
            done(unit)


class Forgetful:
    """A journal store that loses every other record of a task, and says that it is written."""

    def __init__(self, wrapped: JournalStore) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    async def write(self, run: str, texts: Mapping[str, str | None], **more: Any) -> None:
        kept = {path: text for path, text in texts.items() if not path.startswith("task/") or int(path[-1]) % 2}
        await self._wrapped.write(run, kept, **more)


async def _paid(settings: dict[str, Any], killer: Killer, unit: str, key: str) -> None:
    """Agents take different times, each the same in every attempt."""
    await asyncio.sleep(random.Random(unit).uniform(0, settings.get("work_s", 0.003)))
    number = killer.next("bill")
    killer.meet("bill", number, "before")
    await pay(
        settings["billing"], settings["run"], unit, os.urandom(8).hex() if settings["engine"] == "keyless" else key
    )
    killer.meet("bill", number, "after")


async def _whole(orchestrator: Orchestrator, plan: Plan, run: str) -> WorkflowResult:
    return await orchestrator.execute_workflow(plan, workflow_id=run)


async def _workers(orchestrator: Orchestrator, plan: Plan, run: str) -> WorkflowResult:
    results: dict[str, TaskResult] = {}
    waiting = dict.fromkeys(plan.graph.ids)
    tasks = {task.id: task for task in plan.tasks}
    while waiting:
        ready = [name for name in waiting if not any(before in waiting for before in tasks[name].upstream)]
        done = await asyncio.gather(
            *(
                orchestrator.execute_task(
                    tasks[name],
                    upstream={before: results[before] for before in tasks[name].upstream},
                    workflow_id=run,
                    plan=plan,
                )
                for name in ready
            )
        )
        for name, result in zip(ready, done, strict=True):
            results[name] = result
            del waiting[name]
    return conclude(plan, results, workflow_id=run)
