"""Several orchestrators in one process, several `Metrics` that watch one, and more agents than a metric shows apart."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from coterie import BreakerPolicy, Orchestrator, Policies, PoolPolicy, Runtime, Task, Team
from coterie.breaker import CircuitBreaker
from coterie.remote import Worker
from coterie.stores.memory import MemoryStateStore
from coterie.telemetry import counting
from coterie.telemetry.exposition import Exposition
from coterie.telemetry.gauges import BREAKER_STATES
from coterie.telemetry.instruments import INSTRUMENTS
from coterie.telemetry.labels import MOST_SETS, OTHER
from coterie.telemetry.meters import Meters
from tests.core.metrics.collected import Collected
from tests.core.metrics.writers import desk, until, watched
from tests.fleet.remote.fleet import Fleet

AT_REST = Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=600), max_wait_s=0)
FAILS = Task("a", "writer", input={"fails": 9})


@pytest.fixture
def collected() -> Collected:
    return Collected()


@pytest.fixture
def of_process(monkeypatch: pytest.MonkeyPatch) -> Collected:
    """What the process collects of itself: its provider can be set only once, so it is as if it were."""
    collected = Collected()
    monkeypatch.setattr(api, "get_meter_provider", lambda: collected.provider)
    monkeypatch.setattr(counting, "_known", (collected.provider, collected.metrics))
    return collected


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet()
    async with fleet.held:
        yield fleet


# Two that watch one orchestrator


async def test_two_that_watch_one_orchestrator_count_each_call_once_however_often_they_look():
    pages = [Collected(), Collected()]
    orchestrator = Orchestrator(desk())
    for page in pages:
        page.metrics.watch(orchestrator)

    for number in range(3):
        for page in pages:
            page.metrics.note()
            await page.metrics.refresh()
        await orchestrator.execute_task(Task(f"t{number}", "writer"))

    for page in pages:
        assert page.points("coterie.agent.calls")["writer", "succeeded"] == 3
        assert page.points("coterie.agent.duration") == {("writer",): 3}
        assert page.points("coterie.tokens")["writer", "input"] == 300
        assert page.points("coterie.run.cost")[("writer",)] == pytest.approx(0.0075)


async def test_however_long_two_have_looked_in_turn_an_agent_can_be_called():
    pages = [Collected(), Collected()]
    orchestrator = Orchestrator(desk())
    for page in pages:
        page.metrics.watch(orchestrator)

    for _ in range(sys.getrecursionlimit()):
        for page in pages:
            page.metrics.note()
    result = await orchestrator.execute_task(Task("a", "writer"))

    assert (result.state, result.error) == ("succeeded", None)


async def test_a_page_beside_the_metrics_of_the_process_counts_as_they_do(of_process: Collected):
    page = Exposition()
    orchestrator = Orchestrator(desk(), on_event=page.metrics)
    page.metrics.watch(orchestrator)

    for number in range(3):
        of_process.metrics.note()
        shown = (await page.page()).decode().splitlines()
        assert f'coterie_agent_calls_total{{agent_type="writer",outcome="succeeded"}} {number:.1f}' in shown
        assert of_process.points("coterie.agent.calls")["writer", "succeeded"] == number
        await orchestrator.execute_task(Task(f"t{number}", "writer"))
    page.close()


# Agents that are all elsewhere


@pytest.mark.parametrize("has_own", [False, True], ids=["all elsewhere", "one is here"])
async def test_whoever_has_its_tasks_performed_elsewhere_leaves_them_to_the_worker_to_count(
    fleet: Fleet, *, has_own: bool
):
    at_desk, at_work = Collected(), Collected()
    asks = Team("asks")
    asks.remote("writer")
    if has_own:
        asks.agent("reader")(lambda task_input: "read")
    runtimes = [await fleet.runtime(team, on_event=each.metrics) for team, each in ((asks, at_desk), (desk(), at_work))]
    for each, runtime in zip((at_desk, at_work), runtimes, strict=True):
        each.metrics.watch(runtime.orchestrator)
    worker = Worker(runtimes[1])
    work = asyncio.create_task(worker.run())

    result = await runtimes[0].orchestrator.execute_workflow([Task(f"t{n}", "writer") for n in range(3)])
    worker.stop()
    await work

    assert result.status == "succeeded"
    assert at_work.points("coterie.task.completed")["writer", "succeeded"] == 3
    assert at_desk.points("coterie.task.completed").get(("writer", "succeeded"), 0) == 0
    assert at_desk.points("coterie.task.duration") == {}
    assert at_desk.points("coterie.run.completed")[("succeeded",)] == 1


async def test_whoever_watches_nothing_counts_what_it_is_told_of(collected: Collected):
    await Orchestrator(desk(), on_event=collected.metrics).execute_workflow([Task("a", "writer")])

    assert collected.points("coterie.task.completed") == {("writer", "succeeded"): 1}


# Two orchestrators with an agent of one id


async def test_slots_of_agents_of_one_id_are_added_up(collected: Collected):
    desks = [watched(collected, desk(capacity=4)) for _ in range(2)]

    work = [hold(each, tasks) for each, tasks in zip(desks, (3, 1), strict=True)]
    await until(lambda: [each.local_slots()["writer"].agents[0].in_use for each in desks] == [3, 1])
    slots, in_use = collected.points("coterie.agent.slots"), collected.points("coterie.agent.in_use")
    await let_go(desks, work)

    assert slots == {("writer", "writer"): 8, ("reader", "reader"): 2}
    assert in_use == {("writer", "writer"): 4, ("reader", "reader"): 0}
    assert collected.points("coterie.agent.in_use")["writer", "writer"] == 0


async def test_an_agent_whose_calls_hang_in_any_of_them_is_unhealthy(collected: Collected):
    released = [threading.Event(), threading.Event()]
    desks = [watched(collected, blocking(each)) for each in released]
    healthy = []

    # Each in its turn: whichever comes last, none is hidden by it.
    for orchestrator, release in zip(desks, released, strict=True):
        await orchestrator.execute_task(Task("a", "blocking"))
        healthy.append(collected.points("coterie.agent.healthy"))
        release.set()
        await until(lambda: collected.points("coterie.agent.healthy") == {("blocking", "blocking"): 1})

    assert healthy == [{("blocking", "blocking"): 0}] * 2


async def test_a_breaker_that_is_open_in_any_of_them_is_open_until_that_one_closes(collected: Collected):
    team = desk()
    team.protect("writer", AT_REST)
    desks = [watched(collected, team) for _ in range(2)]
    found = []

    # In either order: whichever was told of last, or comes last, hides none.
    for first, last in (desks, desks[::-1]):
        for each in desks:
            await each.execute_task(FAILS)
        await close_breaker(first)
        found.append(standing(collected))
        await collected.metrics.refresh()
        found.append(standing(collected))
        await close_breaker(last)
        found.append(standing(collected))
    for each in desks:
        await each.pipeline.aclose()

    is_open, is_closed = (BREAKER_STATES["open"], 0), (BREAKER_STATES["closed"], 1)
    assert found == [is_open, is_open, is_closed] * 2


async def test_what_stands_in_the_line_of_a_pool_is_taken_once_from_those_that_wait_here(collected: Collected):
    team, store = desk(), MemoryStateStore()
    team.protect("writer", Policies(pool=PoolPolicy(), max_wait_s=60))
    desks = [watched(collected, team, store=store) for _ in range(2)]

    work = [hold(each, 5) for each in desks]
    depth: dict[tuple[str, ...], float] = {}
    async with asyncio.timeout(20):
        while depth.get(("writer", "pool")) != 4:
            await asyncio.sleep(0.01)
            await collected.metrics.refresh()
            depth = collected.points("coterie.queue.depth")
    waiting = sum(each.local_slots()["writer"].queued for each in desks)
    await let_go(desks, work)

    # One is at work; of each orchestrator, two stand in the line, and the others behind them.
    assert waiting == 9
    assert depth == {("writer", "pool"): 4, ("writer", "local"): 5, ("reader", "local"): 0}


# Closed


async def test_a_runtime_that_is_closed_is_shown_no_more_though_it_is_there(of_process: Collected):
    team = desk()
    team.protect("writer", Policies(breaker=BreakerPolicy(failure_threshold=1), pool=PoolPolicy(), max_wait_s=0))
    async with Runtime(team, store=MemoryStateStore()) as runtime:
        await runtime.orchestrator.execute_task(FAILS)
        of_process.metrics.note()
        open_ = {name: of_process.points(name) for name in OF_DESKS}
    closed = {name: of_process.points(name) for name in OF_DESKS}

    assert open_ == {
        "coterie.agent.slots": {("writer", "writer"): 1, ("reader", "reader"): 1},
        "coterie.agent.in_use": {("writer", "writer"): 0, ("reader", "reader"): 0},
        "coterie.agent.healthy": {("writer", "writer"): 0, ("reader", "reader"): 1},
        "coterie.queue.depth": {("writer", "pool"): 0, ("writer", "local"): 0, ("reader", "local"): 0},
        "coterie.breaker.state": {("writer",): BREAKER_STATES["open"]},
    }
    assert closed == {name: {} for name in OF_DESKS}
    assert of_process.points("coterie.agent.calls")["writer", "failed"] == 1
    assert runtime.orchestrator.local_slots()


async def test_whoever_goes_on_looking_at_a_closed_runtime_begins_nothing(collected: Collected, tmp_path: Path):
    team = desk()
    team.protect("writer", Policies(breaker=BreakerPolicy()))
    runtime = Runtime(team, store=f"sqlite://{tmp_path}/state.db")
    collected.metrics.watch(runtime.orchestrator)
    await runtime.orchestrator.execute_task(Task("a", "writer"))
    await runtime.aclose()
    before = asyncio.all_tasks()

    await collected.metrics.refresh()

    assert asyncio.all_tasks() == before


async def test_a_runtime_that_is_closed_takes_nothing_from_one_that_goes_on(of_process: Collected):
    async with Runtime(desk(capacity=4)) as goes_on:
        async with Runtime(desk(capacity=4)) as closed:
            both = of_process.points("coterie.agent.slots")
        one = of_process.points("coterie.agent.slots")
        await goes_on.orchestrator.execute_task(Task("a", "writer"))

    assert closed.orchestrator.local_slots()
    assert (both["writer", "writer"], one["writer", "writer"]) == (8, 4)
    assert of_process.points("coterie.agent.calls")["writer", "succeeded"] == 1


# More than a metric shows apart


@pytest.mark.parametrize(
    ("states", "other"),
    [
        (["closed", "closed"], "closed"),
        (["open", "open"], "open"),
        (["half_open", "half_open"], "half_open"),
        (["open", "closed", "half_open"], "open"),
        (["forced_open", "open"], "forced_open"),
        (["open", "disabled", "metrics_only"], "open"),
        (["metrics_only", "half_open", "disabled"], "half_open"),
        (["disabled", "disabled"], "disabled"),
    ],
)
def test_of_breakers_without_room_other_says_what_keeps_calls_away(states: list[str], other: str):
    full = dict.fromkeys(((f"breaker{n}",) for n in range(MOST_SETS - 1)), BREAKER_STATES["closed"])
    more = {(f"more{n}",): BREAKER_STATES[state] for n, state in enumerate(states)}

    points = shown("coterie.breaker.state", full | more)

    assert len(points) == MOST_SETS
    assert points[(OTHER,)] == BREAKER_STATES[other]


@pytest.mark.parametrize(("healthy", "other"), [([1, 0, 1], 0), ([0, 1], 0), ([1, 1, 1], 1), ([0, 0], 0)])
def test_of_agents_without_room_other_is_healthy_as_long_as_all_are(healthy: list[int], other: int):
    full = dict.fromkeys(((f"type{n}", f"agent{n}") for n in range(MOST_SETS - 1)), 1)
    more = {(f"more{n}", f"more{n}"): each for n, each in enumerate(healthy)}

    points = shown("coterie.agent.healthy", full | more)

    assert len(points) == MOST_SETS
    assert points[OTHER, OTHER] == other


async def test_of_a_large_team_other_is_unwell_as_one_of_its_agents_is_and_has_the_slots_of_all(collected: Collected):
    team = Team("large")
    for number in range(MOST_SETS + 4):
        team.agent(f"writer{number:03}", capacity=2)(refuse)
        team.protect(f"writer{number:03}", AT_REST)
    orchestrator = watched(collected, team)

    for number in (MOST_SETS + 1, MOST_SETS + 2):
        await orchestrator.execute_task(Task("a", f"writer{number:03}"))
    await collected.metrics.refresh()
    await orchestrator.pipeline.aclose()

    assert collected.points("coterie.agent.healthy")[OTHER, OTHER] == 0
    assert collected.points("coterie.breaker.state")[(OTHER,)] == BREAKER_STATES["open"]
    assert collected.points("coterie.agent.slots")[OTHER, OTHER] == 10
    assert sum(collected.points("coterie.agent.healthy").values()) == MOST_SETS - 1


OF_DESKS = (
    "coterie.agent.slots",
    "coterie.agent.in_use",
    "coterie.agent.healthy",
    "coterie.queue.depth",
    "coterie.breaker.state",
)


async def refuse(task_input: dict[str, Any]) -> None:
    raise ConnectionError("not today")


def blocking(release: threading.Event) -> Team:
    """An agent whose calls cannot be stopped."""
    team = Team("t")

    @team.agent("blocking", timeout_s=0.05)
    def block(task_input: dict[str, Any]) -> None:
        release.wait(60)

    return team


def hold(orchestrator: Orchestrator, tasks: int) -> asyncio.Task[object]:
    """Tasks that hang until they are let go."""
    plan = [Task(f"t{n}", "writer", input={"hangs": True}) for n in range(tasks)]
    return asyncio.create_task(orchestrator.execute_workflow(plan, workflow_id="w"))


async def let_go(desks: list[Orchestrator], work: list[asyncio.Task[object]]) -> None:
    for orchestrator in desks:
        orchestrator.cancel("w")
    await asyncio.gather(*work)
    for orchestrator in desks:
        await orchestrator.pipeline.aclose()


async def close_breaker(orchestrator: Orchestrator) -> None:
    """Close the breaker of its writer, by hand."""
    gate = orchestrator.local_slots()["writer"].gate
    breaker = None if gate is None else gate.tools.breaker("writer")
    assert isinstance(breaker, CircuitBreaker)
    await breaker.reset()


def standing(collected: Collected) -> tuple[float, float]:
    """How the writer's breaker stands, and its health."""
    return (
        collected.points("coterie.breaker.state")[("writer",)],
        collected.points("coterie.agent.healthy")["writer", "writer"],
    )


def shown(name: str, values: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    """What is collected of a gauge that reads these."""
    reader = InMemoryMetricReader()
    read = {each.name: dict for each in INSTRUMENTS.values() if each.kind == "gauge"} | {name: lambda: values}
    Meters(MeterProvider([reader], shutdown_on_exit=False), read)
    found = reader.get_metrics_data()
    assert found is not None
    return {
        tuple(point.attributes.values()): point.value
        for metric in found.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == name
        for point in metric.data.data_points
    }
