"""Stores that fail at random, and lose answers: every call ends all the same, and once."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from typing import Any

import pytest

from coterie import Plan, Task, TaskContext, Team
from coterie.journal import Journal
from coterie.remote import Worker, waiting
from coterie.runtime import Runtime
from coterie.testing import FaultyLogStore, FaultyStateStore
from tests.fleet.remote.fleet import Fleet, until

STORM_S = 4.0
TASKS = 40
CHOICES = ("refusing", "mute", None, None)


async def storm(chance: random.Random, stores: list[Any], over: asyncio.Event) -> None:
    """Let stores fail now and then, until it is over; then none does."""
    while not over.is_set():
        chance.choice(stores).down = chance.choice(CHOICES)
        await asyncio.sleep(chance.uniform(0.0, 0.05))
    for store in stores:
        store.down = None


async def test_all_tasks_end_through_a_storm(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    seed = secrets.randbits(64)
    print(f"seed {seed}")  # noqa: T201  # shown when the test fails
    chance = random.Random(seed)
    monkeypatch.setattr(waiting, "LOOK_S", 0.2)
    monkeypatch.setattr(waiting, "SEND_AGAIN_S", 0.5)
    ended: Counter[str] = Counter()
    team = Team("worker")

    @team.agent("worker", capacity=3)
    async def work(task_input: dict[str, Any], context: TaskContext) -> str:
        await asyncio.sleep(task_input["seconds"])
        ended[context.task_id] += 1
        return context.task_id

    caller = Team("caller")
    caller.remote("worker", capacity=20)
    stores: list[Any] = []

    async def process(team: Team) -> Runtime:
        state, log = FaultyStateStore(fleet.store), FaultyLogStore(fleet.log)
        stores.extend((state, log))
        # The journal holds: what it does when it fails is tried elsewhere.
        runtime = Runtime(team, store=state, log=log, journal=Journal(fleet.books))
        return await fleet.held.enter_async_context(runtime)

    workers = [Worker(await process(team), lease_s=1.0) for _ in range(2)]
    works = [asyncio.create_task(worker.run()) for worker in workers]
    await until(lambda: all(worker.status()["ready"] is True for worker in workers))
    orchestrator = (await process(caller)).orchestrator
    tasks = [Task(f"t{n}", "worker", input={"seconds": chance.choice((0.0, 0.01, 0.2))}) for n in range(TASKS)]
    over = asyncio.Event()
    blowing = asyncio.create_task(storm(chance, stores, over))
    run = asyncio.create_task(orchestrator.execute_workflow(Plan("p", tasks), workflow_id="r"))
    await asyncio.wait({run}, timeout=STORM_S)
    over.set()
    await blowing
    result = await asyncio.wait_for(run, 60)

    assert {end.task_id: (end.state, end.output) for end in result} == {
        task.id: ("succeeded", task.id) for task in tasks
    }
    # Who was cut off for longer than its lease may have been replaced while it was at work: seldom, and no more.
    assert sum(ended.values()) <= 2 * TASKS
    for worker in workers:
        worker.stop()
    await asyncio.wait_for(asyncio.gather(*works), 30)
    (group,) = await fleet.log.groups("tasks/worker")
    assert (group.held, group.dead) == (0, 0)
