"""A process that runs tasks of one priority; run as `python -m tests.fleet.pool.ranked URL LOG NAME PRIORITY COUNTS`.

COUNTS: the tasks of every process, as `low=6,high=5`. Each call is written to the log, and lasts until the queue shows
what it will show by then: two of each process, as long as it has so many left.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

from coterie import Agent, Plan, Policies, PoolPolicy, ResourcePool, Runtime, Task, Team
from coterie.stores.opening import open_state_store
from tests.fleet.pool import fire

PATIENCE_S = 60.0


async def main(url: str, path: str, name: str, priority: int, counts: dict[str, int]) -> None:
    log, store = fire.open_log(path), open_state_store(url, "ranked")
    looking = ResourcePool("x", store=store)

    async def work(task_input: Mapping[str, Any]) -> None:
        fire.append(log, "in", name, 0, os.getpid())
        called = Counter(row[0] for row in log.execute("SELECT agent FROM log"))
        shown = sum(min(2, count - called[each]) for each, count in counts.items())
        async with asyncio.timeout(PATIENCE_S):
            while sum((await looking.refresh()).waiting.values()) != shown:  # noqa: ASYNC110  # another process's
                await asyncio.sleep(0.01)

    team = Team("ranked", [Agent("x1", "x", work)], policies={"x": Policies(pool=PoolPolicy())})
    async with Runtime(team, store=store) as runtime:
        tasks = [Task(f"t{number}", "x", priority=priority) for number in range(counts[name])]
        result = await runtime.orchestrator.execute_workflow(Plan("p", tasks))
    await looking.aclose()
    await store.aclose()
    log.close()
    assert result.status == "succeeded", result


if __name__ == "__main__":
    *given, counted = sys.argv[1:]
    named = {each.partition("=")[0]: int(each.partition("=")[2]) for each in counted.split(",")}
    asyncio.run(main(given[0], given[1], given[2], int(given[3]), named))
