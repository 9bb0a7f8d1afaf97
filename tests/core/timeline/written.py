"""Runs as a journal has them that nobody ran: their times are what a test says."""

from __future__ import annotations

import asyncio
from typing import Any

from coterie import ForEach, Intent, Plan, Task
from coterie._rules.journal_text import Record
from coterie._rules.lap import Lap
from coterie.journal import Journal
from coterie.journal.header import Header
from coterie.journal.journal import status_text
from coterie.journal.place import place_of
from coterie.stores.opening import open_journal_store

__all__ = ["BEGUN_S", "opened", "record", "write"]

BEGUN_S = 1_795_841_820.0


def opened() -> Journal:
    return Journal(open_journal_store(None, "default", durability="relaxed"))


def write(
    times: dict[str, tuple[float, float]],
    *,
    items: dict[str, tuple[float, float]] | None = None,
    laps: tuple[Lap, ...] = (),
    failed: frozenset[str] | set[str] = frozenset(),
    claimed: str | None = None,
    ahead: tuple[str, ...] = (),
    waits_for: str | None = None,
    is_over: bool = True,
    error: str = "m",
) -> None:
    """A run `big` of tasks that began and ended so many seconds after it was begun.

    items: of the task `each`. error: with what all failed that did. claimed: a task that somebody is at, after all of
    these; ahead: tasks that wait for it, or for waits_for.
    """
    foreach = ForEach(items=[{"key": key} for key in items], key="/key", tolerate_failures=1.0) if items else None
    tasks = [Task(name, "work", foreach=foreach if name == "each" else None) for name in times]
    if claimed is not None:
        tasks.append(Task(claimed, "work", depends_on=list(times)))
    tasks += [Task(name, "work", depends_on=[claimed or waits_for or "a"]) for name in ahead]
    plan = Plan("big", tasks)
    units = {f"task/{name}": (name, each) for name, each in times.items() if foreach is None or name != "each"}
    units |= {f"item/each/{key}": (f"each/{key}", each) for key, each in (items or {}).items()}
    texts: dict[str, str | None] = {
        path: record(begun, ended, laps, error=error if name in failed else None)
        for path, (name, (begun, ended)) in units.items()
    }
    last_s = BEGUN_S + max(ended for _, (_, ended) in units.values())
    if is_over:
        texts["status"] = status_text("partial" if failed else "succeeded", last_s, "local")

    async def written() -> None:
        journal = opened()
        header = Header(plan.name, plan.hash, document=plan.to_dict(), begun_at=BEGUN_S)
        await journal.begin("big", header, Intent())
        await journal.store.write("big", texts)
        if claimed is not None:
            asked = journal.asked(Intent(), "fp", "somebody")
            await journal.claim("big", place_of(claimed), asked, what=claimed, patience_s=0)
        await journal.aclose()

    asyncio.run(written())


def record(begun_s: float, ended_s: float, laps: tuple[Lap, ...], *, error: str | None = None) -> str:
    result: dict[str, Any] = {"state": "succeeded" if error is None else "failed", "attempts": 1, "agent_id": "work"}
    result["duration_s"] = ended_s - begun_s
    result |= {"output": {"value": None}} if error is None else {"error": {"type": "E", "message": error}}
    return Record(0, "0" * 32, result, "local", BEGUN_S + ended_s, laps=laps).text()
