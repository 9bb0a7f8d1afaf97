"""One of two processes that attempt the same tasks at once: `python -m tests.journal.attempting URL SEED TASKS`.

Writes a line for each task: how its own attempt ended. A stall holds up the whole process for longer than its claims
are believed, so that the other takes over.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import Any

from coterie import Intent, Journal, Orchestrator, Task
from coterie.errors import LeaseLost
from coterie.stores.opening import open_journal_store

__all__ = ["LEASE_S"]

LEASE_S = 1.0
_STALLS = 0.01


async def main(url: str, seed: int, tasks: int) -> None:
    """Attempt each task, a few at a time."""
    rng = random.Random(seed)
    journal = Journal(open_journal_store(url, "attempts"), lease_s=LEASE_S)
    orchestrator = Orchestrator(journal=journal)
    token = f"{seed}"

    async def work(task_input: dict[str, Any]) -> str:
        await asyncio.sleep(rng.uniform(0, 0.01))
        if rng.random() < _STALLS:
            # Not `asyncio.sleep`: nothing of this process goes on, its heartbeats neither.
            time.sleep(LEASE_S * 1.6)  # noqa: ASYNC251
        return token

    orchestrator.register_agent("worker", "worker", capacity=8, handler=work)
    gate = asyncio.Semaphore(8)

    async def attempt(number: int) -> None:
        async with gate:
            await asyncio.sleep(rng.uniform(0, 0.005))
            try:
                result = await orchestrator.execute_task(
                    Task(f"t{number}", "worker"), workflow_id=f"run-{number % 7}", intent=Intent("scheduler")
                )
            except LeaseLost:
                how, by = "refused", None
            else:
                how, by = ("replayed" if result.replayed else "recorded"), result.output
            sys.stdout.write(json.dumps({"task": number, "how": how, "by": by}) + "\n")

    await asyncio.gather(*map(attempt, range(tasks)))
    await journal.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
