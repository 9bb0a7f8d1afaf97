"""What metrics count of real work in this process."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics as api

from coterie import ArtifactStore, BreakerPolicy, ForEach, Orchestrator, Plan, Policies, Retry, Task, Team
from coterie.bus import EventBus
from coterie.errors import BreakerOpen, MalformedEvent
from coterie.events import Event
from coterie.journal import Journal
from coterie.policies import Fallback
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.stores.memory import MemoryStateStore
from coterie.telemetry.gauges import BREAKER_STATES
from coterie.telemetry.metrics import Metrics
from tests.core.metrics.collected import Collected
from tests.core.metrics.writers import desk, until, watched


@pytest.fixture
def collected() -> Collected:
    return Collected()


async def test_tasks_and_runs_are_counted_by_how_they_end(collected: Collected):
    plan = Plan("p", [Task("a", "writer"), Task("b", "reader"), Task("c", "writer", input={"fails": 9})])

    await watched(collected, desk()).execute_workflow(plan)

    assert collected.points("coterie.task.completed") == {
        ("writer", "succeeded"): 1,
        ("writer", "failed"): 1,
        ("reader", "succeeded"): 1,
        ("reader", "failed"): 0,
    }
    assert collected.points("coterie.task.duration") == {
        ("writer", "succeeded"): 1,
        ("writer", "failed"): 1,
        ("reader", "succeeded"): 1,
    }
    ended = {("partial",): 1, ("succeeded",): 0, ("failed",): 0, ("cancelled",): 0}
    assert collected.points("coterie.run.completed") == ended
    assert collected.points("coterie.run.duration") == {("partial",): 1}


async def test_every_attempt_is_paid_for_and_a_retry_is_one_more_call(collected: Collected):
    team = desk(retry=Retry(max_attempts=3, base_s=0.0))

    await watched(collected, team).execute_task(Task("a", "writer", input={"fails": 2}))

    assert collected.points("coterie.agent.calls")["writer", "failed"] == 2
    assert collected.points("coterie.agent.calls")["writer", "succeeded"] == 1
    assert collected.points("coterie.task.retries") == {("writer",): 2, ("reader",): 0}
    assert collected.points("coterie.tokens")["writer", "input"] == 300
    assert collected.points("coterie.tokens")["writer", "output"] == 60
    assert collected.points("coterie.run.cost")[("writer",)] == pytest.approx(0.0075)
    assert collected.points("coterie.task.completed")["writer", "succeeded"] == 1


async def test_an_attempt_that_is_cut_off_is_a_time_out_and_its_call_cancelled(collected: Collected):
    await watched(collected, desk(timeout_s=0.05)).execute_task(Task("a", "writer", input={"hangs": True}))

    assert collected.points("coterie.task.timeouts") == {("writer",): 1, ("reader",): 0}
    assert collected.points("coterie.agent.calls")["writer", "cancelled"] == 1
    assert collected.points("coterie.task.completed")["writer", "failed"] == 1


@pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
async def test_what_befalls_an_item_is_counted_under_its_type_whoever_performs_it(
    collected: Collected, tmp_path: Path, *, in_parts: bool
):
    team = desk(retry=Retry(max_attempts=2, base_s=0.0), timeout_s=0.05)
    each = ForEach(items=[{"fails": 0}, {"fails": 1}, {"hangs": True}], tolerate_failures=1)
    task = Task("each", "writer", foreach=each)

    await performed(watched(collected, team, artifacts=ArtifactStore(tmp_path.as_uri())), task, in_parts=in_parts)

    assert collected.points("coterie.task.retries") == {("writer",): 2, ("reader",): 0}
    assert collected.points("coterie.task.timeouts") == {("writer",): 2, ("reader",): 0}
    assert "unknown" not in collected.texts()


@pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
async def test_an_item_that_is_refused_for_good_is_a_refusal_like_one_that_waits(
    collected: Collected, tmp_path: Path, *, in_parts: bool
):
    team = desk()
    team.protect("writer", Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=600), max_wait_s=0))
    task = Task("each", "writer", foreach=ForEach(items=[{"fails": 9}] * 4, tolerate_failures=1))
    orchestrator = watched(collected, team, artifacts=ArtifactStore(tmp_path.as_uri()))

    await performed(orchestrator, task, in_parts=in_parts)
    await orchestrator.pipeline.aclose()

    assert collected.points("coterie.refusals")["writer", "breaker"] == 3
    assert collected.points("coterie.agent.calls")["writer", "failed"] == 1
    assert "unknown" not in collected.texts()


@pytest.mark.parametrize("waits", [False, True])
async def test_a_task_that_is_refused_is_a_refusal_whether_it_is_waited_for_or_not(
    collected: Collected, *, waits: bool
):
    team = desk()
    team.protect(
        "writer", Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=600), max_wait_s=0 if waits else 900)
    )
    orchestrator = watched(collected, team)
    await orchestrator.execute_task(Task("a", "writer", input={"fails": 9}))

    with suppress(BreakerOpen):
        await orchestrator.execute_task(Task("b", "writer"), waits=waits)
    await orchestrator.pipeline.aclose()

    assert collected.points("coterie.refusals")["writer", "breaker"] == 1


async def test_who_is_refused_and_stood_in_for_was_refused_all_the_same(collected: Collected):
    policies = Policies(
        breaker=BreakerPolicy(failure_threshold=1, timeout_s=600), max_wait_s=0, fallback=[Fallback(value="at last")]
    )
    team = desk()
    team.protect("writer", policies)
    orchestrator = watched(collected, team)

    for _ in range(2):
        await orchestrator.execute_task(Task("a", "writer", input={"fails": 9}))
    await orchestrator.pipeline.aclose()

    assert collected.points("coterie.refusals")["writer", "breaker"] == 1
    assert collected.points("coterie.task.fallbacks")[("writer",)] == 2


async def performed(orchestrator: Orchestrator, task: Task, *, in_parts: bool) -> None:
    """A foreach, as the engine here does it, or as schedulers do: in parts, each by itself."""
    if not in_parts:
        await orchestrator.execute_task(task)
        return
    parts = await orchestrator.split(task, max_parts=2)
    assert parts is not None
    done = [await orchestrator.execute_part(task, part) for part in parts]
    await orchestrator.gather(task, parts, done)


async def test_what_is_replayed_is_no_task_that_was_done_and_what_it_spared_is_counted(collected: Collected):
    books = MemoryJournalStore()
    task, plan = Task("a", "writer"), Plan("p", [Task("a", "writer")])
    first = Orchestrator(desk(), journal=Journal(books))
    await first.execute_task(task, plan=plan, workflow_id="run-4711")

    again = watched(collected, desk(), journal=Journal(books))
    await again.execute_task(task, plan=plan, workflow_id="run-4711")

    assert collected.points("coterie.task.replays")[("writer",)] == 1
    assert collected.points("coterie.task.saved_cost")[("writer",)] == pytest.approx(0.0025)
    assert collected.points("coterie.task.saved")[("writer",)] > 0
    assert collected.points("coterie.task.completed")["writer", "succeeded"] == 0
    assert collected.points("coterie.run.cost")[("writer",)] == 0


async def test_a_breaker_that_opens_is_seen_with_its_agent_and_whom_it_refuses(collected: Collected):
    team = desk()
    breaker = BreakerPolicy(failure_threshold=1, timeout_s=600)
    team.protect("writer", Policies(breaker=breaker, max_wait_s=3600))
    orchestrator = watched(collected, team)
    before = collected.points("coterie.breaker.state"), collected.points("coterie.agent.healthy")

    await orchestrator.execute_task(Task("a", "writer", input={"fails": 9}))
    refused = asyncio.create_task(orchestrator.execute_task(Task("b", "writer")))
    await until(lambda: collected.points("coterie.refusals")["writer", "breaker"])
    after = collected.points("coterie.breaker.state"), collected.points("coterie.agent.healthy")
    refused.cancel()
    await asyncio.wait({refused})

    assert before == ({("writer",): BREAKER_STATES["closed"]}, {("writer", "writer"): 1, ("reader", "reader"): 1})
    assert after == ({("writer",): BREAKER_STATES["open"]}, {("writer", "writer"): 0, ("reader", "reader"): 1})
    assert collected.points("coterie.breaker.transitions")["writer", "open"] == 1
    await orchestrator.pipeline.aclose()


@pytest.mark.parametrize("shared", [True, False])
async def test_a_breaker_whose_time_is_over_is_on_trial_until_a_call_goes_well(collected: Collected, shared: bool):
    team = desk()
    team.protect("writer", Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=0.2, success_threshold=1)))
    store = MemoryStateStore() if shared else None
    orchestrator = watched(collected, team, store=store)

    await orchestrator.execute_task(Task("a", "writer", input={"fails": 9}))
    opened = collected.points("coterie.breaker.transitions")["writer", "open"]
    async with asyncio.timeout(20):
        while collected.points("coterie.breaker.state") != {("writer",): BREAKER_STATES["half_open"]}:
            await asyncio.sleep(0.01)
            await collected.metrics.refresh()
    on_trial = collected.points("coterie.agent.healthy")["writer", "writer"]
    await orchestrator.execute_task(Task("b", "writer"))
    await until(lambda: collected.points("coterie.breaker.state") == {("writer",): BREAKER_STATES["closed"]})

    assert (opened, on_trial) == (1, 0)
    assert collected.points("coterie.agent.healthy")["writer", "writer"] == 1
    await orchestrator.pipeline.aclose()


async def test_an_agent_whose_calls_all_hang_is_unhealthy_until_they_end(collected: Collected):
    team, release = Team("t"), threading.Event()

    @team.agent("blocking", timeout_s=0.05)
    def block(task_input: dict[str, Any]) -> None:
        release.wait(60)

    orchestrator = watched(collected, team)
    await orchestrator.execute_task(Task("a", "blocking"))
    hanging = collected.points("coterie.agent.healthy")
    release.set()
    await until(lambda: collected.points("coterie.agent.healthy") == {("blocking", "blocking"): 1})

    assert hanging == {("blocking", "blocking"): 0}


async def test_what_stands_in_is_counted(collected: Collected):
    team = desk()
    team.protect("writer", Policies(fallback=(Fallback(value="a stock text"),)))
    orchestrator = watched(collected, team)

    result = await orchestrator.execute_task(Task("a", "writer", input={"fails": 9}))

    assert result.state == "succeeded"
    assert collected.points("coterie.task.fallbacks") == {("writer",): 1, ("reader",): 0}
    await orchestrator.pipeline.aclose()


async def test_slots_and_queues_are_shown_as_they_are(collected: Collected):
    orchestrator = watched(collected, desk(capacity=2))
    plan = Plan("p", [Task(f"t{n}", "writer", input={"hangs": True}) for n in range(5)])

    work = asyncio.create_task(orchestrator.execute_workflow(plan, workflow_id="w"))
    await until(lambda: collected.points("coterie.agent.in_use")["writer", "writer"] == 2)
    depth = collected.points("coterie.queue.depth")
    orchestrator.cancel("w")
    await work

    assert collected.points("coterie.agent.slots") == {("writer", "writer"): 2, ("reader", "reader"): 1}
    assert depth == {("writer", "local"): 3, ("reader", "local"): 0}
    assert collected.points("coterie.queue.depth")["writer", "local"] == 0
    ended = collected.points("coterie.task.completed")
    assert sum(count for (_, outcome), count in ended.items() if outcome == "cancelled") == 5


async def test_agents_that_are_registered_later_are_counted_from_the_next_refresh_on(collected: Collected):
    orchestrator = watched(collected, desk())

    async def late(task_input: dict[str, Any]) -> str:
        return "late"

    orchestrator.register_agent("late", "late", handler=late)
    await collected.metrics.refresh()
    await orchestrator.execute_task(Task("a", "late"))

    assert collected.points("coterie.agent.calls")["late", "succeeded"] == 1


async def test_who_is_watched_twice_is_counted_once_and_may_be_forgotten(collected: Collected):
    orchestrator = watched(collected, desk())
    collected.metrics.watch(orchestrator)

    await orchestrator.execute_task(Task("a", "writer"))

    assert collected.points("coterie.agent.calls")["writer", "succeeded"] == 1
    assert collected.points("coterie.agent.slots")["writer", "writer"] == 1
    del orchestrator
    gc.collect()
    assert collected.points("coterie.agent.slots") == {}


async def test_a_bus_tells_of_what_it_lost_by_topic(collected: Collected):
    async with EventBus.open("memory://", on_event=collected.metrics) as bus:
        ready, stop = asyncio.Event(), asyncio.Event()

        async def refuse(_: object) -> None:
            raise MalformedEvent("not this one")

        serving = asyncio.create_task(
            bus.serve(refuse, "com.example.*", group="g", retry=Retry(max_attempts=1), stop=stop, ready=ready)
        )
        await ready.wait()
        await bus.publish("com.example.order.placed", {"order": 1})
        await until(lambda: collected.points("coterie.events.dead"))
        stop.set()
        await serving

    assert collected.points("coterie.events.dead") == {("events",): 1}


@pytest.mark.parametrize(
    ("event", "name", "labels", "amount"),
    [
        (Event("events.lost", fields={"topic": "events", "lost": 7}), "coterie.events.lost", ("events",), 7),
        (Event("events.unreadable", fields={"topic": "replies/ab12"}), "coterie.events.unreadable", ("replies/",), 1),
        (Event("events.expelled", fields={"topic": "events"}), "coterie.events.expelled", ("events",), 1),
        (Event("state.store_failed", fields={"state": "x"}), "coterie.store.failures", ("state",), 1),
        (Event("breaker.store_failed", fields={"breaker": "x"}), "coterie.store.failures", ("breaker",), 1),
        (Event("budget.overspent", fields={"budget": "b-run4711"}), "coterie.budget.overspent", (), 1),
        (Event("task.refused", "r", "t", {"error": "QuotaSpent: x"}), "coterie.refusals", ("unknown", "limit"), 1),
        (Event("task.refused", "r", "t", {"error": "Odd: x"}), "coterie.refusals", ("unknown", "other"), 1),
    ],
)
def test_what_is_told_is_counted_under_bounded_labels(
    collected: Collected, event: Event, name: str, labels: tuple[str, ...], amount: int
):
    collected.metrics(event)

    points = collected.points(name)
    assert points[labels] == amount or points[tuple(reversed(labels))] == amount


async def test_no_run_no_task_and_no_secret_is_ever_in_a_label(collected: Collected):
    team = desk(retry=Retry(max_attempts=2, base_s=0.0))
    team.protect("writer", Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=600), max_wait_s=0.01))
    orchestrator = watched(collected, team)
    tasks = [Task(f"task-4711-{n}", "writer", input={"fails": n, "key": "sk-live-4711"}) for n in range(3)]

    await orchestrator.execute_workflow(Plan("plan-4711", tasks), workflow_id="run-4711")
    await collected.metrics.refresh()

    assert {"writer", "failed"} <= collected.texts()
    assert [text for text in collected.texts() if "4711" in text] == []
    await orchestrator.pipeline.aclose()


async def test_a_collector_in_a_thread_of_its_own_disturbs_nothing(
    collected: Collected, caplog: pytest.LogCaptureFixture
):
    team = desk(capacity=3)
    team.protect("writer", Policies(breaker=BreakerPolicy(failure_threshold=100)))
    orchestrator, over = watched(collected, team), threading.Event()

    def collect() -> int:
        collections = 0
        while not over.wait(0.001):
            collected.points("coterie.agent.in_use")
            collections += 1
        return collections

    collecting = asyncio.create_task(asyncio.to_thread(collect))
    for number in range(5):
        tasks = [Task(f"t{n}", "writer", input={"fails": n % 2 * 9}) for n in range(10)]
        await orchestrator.execute_workflow(Plan(f"p{number}", tasks))
        orchestrator.register_agent(f"late{number}", f"late{number}", handler=lambda task_input: None)
        await collected.metrics.refresh()
    over.set()

    assert await collecting > 1
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []
    assert sum(collected.points("coterie.task.completed").values()) == 50
    await orchestrator.pipeline.aclose()


async def test_without_an_sdk_nothing_is_counted_and_nothing_fails():
    orchestrator = Orchestrator(desk(), on_event=(metrics := Metrics(api.NoOpMeterProvider())))
    metrics.watch(orchestrator)

    result = await orchestrator.execute_workflow(Plan("p", [Task("a", "writer")]))
    await metrics.refresh()

    assert result.status == "succeeded"
