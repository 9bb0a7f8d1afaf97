"""Walking through a plan whose tasks somebody else performs: order, verdicts, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from coterie import ArtifactStore, ForEach, Plan, Runtime, Task, TaskResult, Team
from coterie.conclude import conclude
from coterie.items import recall_failed_items
from coterie.stores.blobs import FsspecBlobs
from coterie.walk import walk

Upstream = Mapping[str, TaskResult]

diamond = Plan(
    "diamond",
    [
        Task("last", "any", depends_on=("left", "right")),
        Task("left", "any", depends_on=("first",)),
        Task("right", "any", depends_on=("first",)),
        Task("first", "any"),
        Task("always", "any", depends_on=("last",), trigger_rule="all_done"),
    ],
)


class Performer:
    """Performs tasks as it is told, and notes in which order."""

    def __init__(self, **states: str) -> None:
        self.states = states
        self.performed: list[str] = []
        self.noted: dict[str, str] = {}

    async def perform(self, task: Task, upstream: Upstream) -> TaskResult:
        assert set(upstream) == set(task.upstream)
        self.performed.append(task.id)
        await asyncio.sleep(0)
        return TaskResult(task.id, self.states.get(task.id, "succeeded"), attempts=1)  # type: ignore[arg-type]

    async def note(self, task: Task, result: TaskResult) -> None:
        self.noted[task.id] = result.state


async def test_tasks_are_performed_after_those_that_they_wait_for():
    performer = Performer()

    results = await walk(diamond, performer.perform, performer.note)

    assert performer.performed == ["first", "left", "right", "last", "always"]
    assert list(results) == ["last", "left", "right", "first", "always"]
    assert performer.noted == {}


async def test_what_a_failure_blocks_is_noted_and_not_performed():
    performer = Performer(left="failed")

    results = await walk(diamond, performer.perform, performer.note)

    assert performer.performed == ["first", "left", "right", "always"]
    assert performer.noted == {"last": "upstream_failed"}
    assert results["last"].error is not None


async def test_an_end_agrees_with_what_is_concluded_without_the_blocked_tasks():
    performer = Performer(first="skipped")
    results = await walk(diamond, performer.perform, performer.note)

    ran = {name: result for name, result in results.items() if name in performer.performed}

    whole, derived = (conclude(diamond, given, workflow_id="run") for given in (results, ran))
    assert whole.status_document() == derived.status_document()


async def test_an_exception_ends_what_runs_and_goes_on_as_it_is():
    ended = []

    class Stop(BaseException):
        pass

    async def perform(task: Task, upstream: Upstream) -> TaskResult:
        if task.id == "right":
            raise Stop
        if task.id == "left":
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(task.id)
        return TaskResult(task.id, "succeeded")

    with pytest.raises(Stop):
        await walk(diamond, perform, Performer().note)
    assert ended == ["left"]


async def test_a_task_that_is_cancelled_alone_ends_the_walk_once_the_others_have_ended():
    ended = []

    async def perform(task: Task, upstream: Upstream) -> TaskResult:
        if task.id == "right":
            raise asyncio.CancelledError
        await asyncio.sleep(0)
        ended.append(task.id)
        return TaskResult(task.id, "succeeded")

    with pytest.raises(asyncio.CancelledError, match="'last' did not run"):
        await walk(diamond, perform, Performer().note)
    assert ended == ["first", "left"]


async def test_cancelling_waits_for_what_runs():
    ended, started = [], asyncio.Event()

    async def perform(task: Task, upstream: Upstream) -> TaskResult:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(task.id)
        return TaskResult(task.id, "succeeded")

    walking = asyncio.create_task(walk(diamond, perform, Performer().note))
    await started.wait()

    walking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await walking
    assert ended == ["first"]


async def test_failed_items_are_read_back_behind_a_record(tmp_path):
    team = Team("half")
    team.agent("odd")(_odd)
    plan = Plan("half", [Task("each", "odd", foreach=ForEach(items=[1, 2, 3]))])
    store = ArtifactStore(f"file://{tmp_path}")
    async with Runtime(team, artifacts=store) as runtime:
        original = (await runtime.orchestrator.execute_workflow(plan))["each"]

    record = original.to_dict()

    assert TaskResult.from_dict(record).failed_items == ()
    recalled = await recall_failed_items(store, TaskResult.from_dict(record))
    assert recalled.status_document() == original.status_document()
    assert [item.index for item in recalled.failed_items] == [1]


def test_a_plan_binds_its_parameters():
    plan = Plan("bound", [Task("a", "any", input={"x": {"$param": "n"}})], params={"n": 1, "m": 2})

    assert plan.bind({"n": 5}) == {"n": 5, "m": 2}
    with pytest.raises(ValueError, match="'k'"):
        plan.bind({"k": 1})


def test_options_reach_the_driver_of_a_store_elsewhere():
    blobs = FsspecBlobs("memory://trial", options={"use_listings_cache": False})

    assert blobs._backend._fs.storage_options["use_listings_cache"] is False


async def _odd(task_input: dict[str, int]) -> int:
    if task_input["item"] % 2 == 0:
        raise ValueError("even")
    return task_input["item"]
