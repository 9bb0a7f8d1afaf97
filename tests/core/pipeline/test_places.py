"""Tasks whose agents' slots the fleet shares: who of a process stands in the fleet's queue, and for how long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from coterie import Agent, Orchestrator, Plan, Policies, PoolPolicy, ResourcePool, Task, TaskContext, Team
from coterie.pipeline import Pipeline
from coterie.pipeline.places import PooledSlots
from coterie.slots import Slot, TypeSlots
from coterie.stores.memory import MemoryStateStore
from coterie.testing import ManualClock

PATIENCE_S = 20.0


class Fleet:
    """Orchestrators on one store, each as another process would be. `order`: the workflows of the calls made.

    shown: how many must wait in the queue before each of the calls ends, in their order.
    """

    def __init__(self, capacity: int = 1, shown: Sequence[int] = ()) -> None:
        self.store = MemoryStateStore()
        self.capacity = capacity
        self.shown = list(shown)
        self.order: list[str] = []
        self.patience_s = PATIENCE_S
        self._looking = ResourcePool("x", store=self.store)
        self._all: list[Orchestrator] = []

    def process(self, policies: Policies | None = None, **agent: Any) -> Orchestrator:
        team = Team("t", [Agent("x1", "x", **{"handler": self.work, "capacity": self.capacity, **agent})])
        team.protect("x", policies or Policies(pool=PoolPolicy()))
        self._all.append(Orchestrator(team, store=self.store))
        return self._all[-1]

    async def work(self, task_input: Mapping[str, Any], ctx: TaskContext) -> None:
        self.order.append(ctx.workflow_id)
        shown, self.shown = self.shown[0], self.shown[1:] or [0]
        await self.until_waiting(shown)

    async def until_called(self) -> None:
        while not self.order:  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def waiting(self) -> int:
        return sum((await self._looking.refresh()).waiting.values())

    async def until_waiting(self, count: int) -> None:
        async with asyncio.timeout(self.patience_s):
            try:
                while await self.waiting() != count:  # noqa: ASYNC110  # another's queue
                    await asyncio.sleep(0)
            except asyncio.CancelledError:
                # What has failed is not waited for again.
                self.patience_s = 0.0
                raise

    def begin(self, name: str, priorities: Sequence[int], process: Orchestrator | None = None) -> asyncio.Task[Any]:
        tasks = [Task(f"t{number}", "x", priority=one) for number, one in enumerate(priorities)]
        return asyncio.create_task((process or self.process()).execute_workflow(Plan("p", tasks), workflow_id=name))

    async def aclose(self) -> None:
        for each in self._all:
            await each.pipeline.aclose()
        await self._looking.aclose()


async def test_higher_priorities_of_another_process_go_first():
    # Two of each process, as long as it has so many left.
    fleet = Fleet(shown=[4, 4, 4, 4, 3, 2, 2, 2, 2, 1, 0])

    low = fleet.begin("low", [0] * 6)
    await fleet.until_called()
    high = fleet.begin("high", [500] * 5)
    results = await asyncio.gather(low, high)

    assert {one.status for one in results} == {"succeeded"}
    assert fleet.order == ["low"] + ["high"] * 5 + ["low"] * 5
    await fleet.aclose()


async def test_a_higher_priority_that_comes_late_goes_before_those_of_its_own_process_that_stand_in_the_queue():
    fleet = Fleet(shown=[4, 3, 2, 2, 1, 0])
    process = fleet.process()

    low = fleet.begin("low", [0] * 4, process)
    await fleet.until_called()
    high = fleet.begin("high", [5, 5], process)
    await asyncio.gather(low, high)

    assert fleet.order == ["low", "high", "high", "low", "low", "low"]
    await fleet.aclose()


async def test_a_process_shows_the_queue_one_more_than_it_has_slots_however_many_wait():
    fleet = Fleet(capacity=3)
    async with ResourcePool("x", store=fleet.store) as other:
        other.register_agent("x1", capacity=3)
        held = [other.lease() for _ in range(3)]
        for one in held:
            await one.__aenter__()

        process = fleet.process(handler=_nothing)
        running = fleet.begin("many", [0] * 50, process)
        await fleet.until_waiting(4)

        assert process.get_status().waiting == {"x": 50}
        assert await fleet.waiting() == 4
        for one in held:
            await one.__aexit__(None, None, None)
        assert (await running).status == "succeeded"
    await fleet.aclose()


async def test_standing_in_the_queue_ahead_of_ones_turn_is_no_waiting():
    process = Fleet().process(Policies(pool=PoolPolicy(), max_wait_s=0.01), handler=_slowly)

    result = await process.execute_workflow(Plan("p", [Task(f"t{n}", "x") for n in range(4)]))

    assert result.status == "succeeded"
    await process.pipeline.aclose()


async def test_who_stands_in_the_queue_ahead_of_their_turn_keeps_their_place_there():
    fleet, shown = Fleet(), []
    policies = Policies(pool=PoolPolicy(), max_wait_s=0.01)

    async def longer_than_that(task_input: Mapping[str, Any]) -> None:
        await asyncio.sleep(0.05)
        shown.append(await fleet.waiting())

    result = await fleet.begin("two", [0, 0], fleet.process(policies, handler=longer_than_that))

    assert (result.status, shown) == ("succeeded", [1, 0])
    await fleet.aclose()


async def test_waiting_for_another_process_is():
    fleet = Fleet()
    process = fleet.process(Policies(pool=PoolPolicy(), max_wait_s=0.01), handler=_slowly)
    async with ResourcePool("x", store=fleet.store) as other:
        other.register_agent("x1")
        async with other.lease():
            result = await process.execute_task(Task("t", "x"))

    assert result.error is not None
    assert result.error.type == "PoolBusy"
    await fleet.aclose()


@pytest.mark.parametrize(
    "policies",
    [Policies(pool=PoolPolicy(queue_limit=0)), Policies(pool=PoolPolicy(), max_wait_s=0)],
    ids=["no queue", "no time"],
)
async def test_where_nobody_may_queue_tasks_wait_for_their_turn_in_their_process(policies: Policies):
    events: list[str] = []
    team = Team("t", policies={"x": policies})
    team.add(Agent("x1", "x", _nothing))
    orchestrator = Orchestrator(team, store=MemoryStateStore(), on_event=lambda event: events.append(event.name))

    result = await orchestrator.execute_workflow(Plan("p", [Task(f"t{n}", "x") for n in range(5)]))

    assert result.status == "succeeded"
    assert "task.refused" not in events
    await orchestrator.pipeline.aclose()


async def test_agents_that_hang_keep_nobody_from_their_turn():
    hangs = threading.Event()
    fleet = Fleet(capacity=2)
    process = fleet.process(handler=lambda task_input: hangs.wait(PATIENCE_S), timeout_s=0.01)

    result = await fleet.begin("hung", [0] * 6, process)

    assert [one.error.type for one in result.tasks.values()] == ["TaskTimedOut"] * 6
    hangs.set()
    await fleet.aclose()


async def test_while_calls_hang_a_process_asks_for_no_more_slots_than_it_can_use(manual_clock: ManualClock):
    pipeline = Pipeline({"x": Policies(pool=PoolPolicy())}, clock=manual_clock)
    gate, granted = pipeline.gate("x"), []
    assert gate is not None
    slots = gate.slots()
    agent = Slot(Agent("x1", "x", _nothing, capacity=3), slots)
    slots.agents.append(agent)
    for _ in range(9):
        slots.enqueue(0, lambda place: granted.append(place) or True)
    assert len(granted) == 4

    await granted[0].begin(agent)
    assert len(granted) == 5
    granted[0].abandon()
    await granted[1].begin(agent)
    granted[1].abandon()
    for place in granted[2:4]:
        place.release()

    # One slot is left, and one place stands for it.
    assert len(granted) == 5
    granted[4].release()
    assert len(granted) == 6
    await pipeline.aclose()


async def test_what_was_waited_for_in_a_process_counts_as_age_in_the_fleet(manual_clock: ManualClock):
    pipeline = Pipeline({"x": Policies(pool=PoolPolicy(ageing_s=60))}, clock=manual_clock)
    gate = pipeline.gate("x")
    assert gate is not None
    slots, granted = gate.slots(), []
    slots.agents.append(Slot(Agent("x1", "x", _nothing), slots))
    for priority in (9, 9, 0, 1, -3):
        slots.enqueue(priority, lambda place: granted.append(place) or True)

    manual_clock.advance(179)
    for place in [*granted]:
        place.release()
    slots.enqueue(1, lambda place: granted.append(place) or True)
    while len(granted) < 6:
        granted[-1].release()

    assert [place.priority for place in granted] == [11, 11, 3, 2, 1, -1]
    await pipeline.aclose()


async def test_a_task_that_is_cancelled_in_the_queue_leaves_no_place_behind():
    fleet = Fleet()
    process = fleet.process(handler=_nothing)
    async with ResourcePool("x", store=fleet.store) as other:
        other.register_agent("x1")
        async with other.lease():
            running = fleet.begin("cancelled", [0] * 5, process)
            await fleet.until_waiting(2)
            process.cancel("cancelled")
            await running
            await fleet.until_waiting(0)

    assert process.get_status().waiting == {}
    assert (await fleet.begin("next", [0], process)).status == "succeeded"
    await fleet.aclose()


async def test_who_is_cancelled_just_as_their_turn_comes_is_cancelled_and_no_failure(manual_clock: ManualClock):
    policies = Policies(pool=PoolPolicy())
    pipeline = Pipeline({"x": policies}, store=MemoryStateStore(), clock=manual_clock)
    gate = pipeline.gate("x")
    assert gate is not None
    slots = gate.slots()
    assert isinstance(slots, PooledSlots)
    slots.agents.append(Slot(Agent("x1", "x", _nothing), slots))
    await slots.turn()
    waiting = asyncio.create_task(slots.turn())
    await asyncio.sleep(0)

    waiting.cancel()
    slots.ended()
    await asyncio.wait({waiting})

    assert waiting.cancelled()
    async with asyncio.timeout(10):
        await slots.turn()
    await pipeline.aclose()


def test_without_a_pool_slots_are_given_out_as_ever(manual_clock: ManualClock):
    pipeline = Pipeline({"x": Policies()}, clock=manual_clock)
    gate = pipeline.gate("x")

    assert gate is not None
    assert type(gate.slots()) is TypeSlots


async def _slowly(task_input: Mapping[str, Any]) -> None:
    await asyncio.sleep(0.05)


async def _nothing(task_input: Mapping[str, Any]) -> None:
    await asyncio.sleep(0)
