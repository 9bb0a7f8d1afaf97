"""A machine's run is one trace with one span of its own, whoever began it, drove it, ended it, and with how many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import format_trace_id

from coterie import Action, Go, Orchestrator, State, StateMachine, StateMachineRun, TaskContext, Team
from coterie.clock import Clock, SystemClock
from coterie.errors import Unavailable
from coterie.events import Event, Listener
from coterie.journal import Intent, Journal
from coterie.machine_run import MachineStatus, Shift, execute_machine, handle
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.telemetry import names
from coterie.telemetry.identity import parsed_parent, root_span_id, run_trace_id
from coterie.testing import ManualClock
from coterie.timeline import timeline_of
from tests.support.spans import Spans

RUN = "m1"
MACHINE = StateMachine(
    "review",
    [
        State("draft", action=Action("work"), transitions=[Go("review"), Go("done", "stop")]),
        State("review", transitions=[Go("done", "approve"), Go("draft", "reject"), Go("lost", "give_up")]),
        State("done", final="succeeded"),
        State("lost", final="failed"),
    ],
    initial="draft",
    max_steps=20,
)
Work = Callable[[TaskContext], Awaitable[None]]


async def nothing(_: TaskContext) -> None:
    pass


@dataclass
class Desk:
    """A journal, and those who drive the machine in it: each as if it were a process. work: what its action does."""

    clock: Clock = field(default_factory=SystemClock)
    store_clock: Clock | None = None
    work: Work = nothing
    drivers: list[asyncio.Task[MachineStatus]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = MemoryJournalStore(clock=self.store_clock or self.clock)
        self.journal = Journal(self.store, clock=self.clock)
        self.run = StateMachineRun(self.journal, RUN)

    async def drive(
        self, machine: StateMachine = MACHINE, *, on_event: Listener | None = None, **more: Any
    ) -> MachineStatus:
        team = Team("desk")

        @team.agent("work", capacity=4)
        async def work(_: Any, ctx: TaskContext) -> str:
            await self.work(ctx)
            return ctx.task_id

        async with asyncio.timeout(30):
            return await execute_machine(
                Orchestrator(team, journal=self.journal, on_event=on_event),
                machine,
                workflow_id=RUN,
                on_event=on_event,
                **more,
            )

    def start(self, **more: Any) -> asyncio.Task[MachineStatus]:
        driver = asyncio.create_task(self.drive(**more))
        self.drivers.append(driver)
        return driver

    async def until(self, visit: int, phase: str = "waiting") -> None:
        async with asyncio.timeout(30):
            while True:
                texts, _ = await self.store.get(RUN, ("machine",))
                if texts:
                    status = await self.run.status()
                    if (status.visit, status.phase) == (visit, phase):
                        return
                await asyncio.sleep(0.001)

    async def definition(self) -> str:
        """What the journal has of it."""
        return (await self.store.get(RUN, ("machine/definition",)))[0]["machine/definition"]

    async def until_redefined(self, before: str) -> None:
        """Wait until the run goes on with another definition."""
        async with asyncio.timeout(30):
            while await self.definition() == before:  # noqa: ASYNC110  # the journal tells nobody
                await asyncio.sleep(0.001)

    async def stop(self) -> None:
        for driver in self.drivers:
            driver.cancel()
        await asyncio.gather(*self.drivers, return_exceptions=True)

    async def interrupted(self, **more: Any) -> None:
        """Begun by a driver that ends where it waits for somebody."""
        self.start(**more)
        await self.until(2)
        await self.stop()


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(handle, "LOOK_S", 0.01)
    desk = Desk()
    yield desk
    await desk.stop()


def app_span(name: str = "POST /reviews") -> Any:
    """The current span of whoever calls."""
    return trace.get_tracer("an app").start_as_current_span(name)


def works(spans: Spans) -> list[Any]:
    return [span for span in spans.all if span.name.startswith("execute_task ")]


async def test_a_machine_that_is_over_has_a_span_over_all_of_it(spans: Spans, desk: Desk):
    driver = desk.start()
    await desk.until(2)
    await desk.run.send("reject")
    await desk.until(4)
    await desk.run.send("approve")
    await driver

    root = spans.one("invoke_workflow review")
    ids = run_trace_id("default", RUN), root_span_id("default", RUN)
    assert (root.context.trace_id, root.context.span_id, root.parent) == (*ids, None)
    assert spans.under(root) == ["execute_task draft-1", "execute_task draft-3"]
    assert all(root.start_time <= work.start_time <= work.end_time <= root.end_time for work in works(spans))
    assert dict(root.attributes or {}) == {
        names.OPERATION: "invoke_workflow",
        names.WORKFLOW_NAME: "review",
        names.RUN_ID: RUN,
        names.NAMESPACE: "default",
        names.STATUS: "succeeded",
    }


async def test_its_span_is_over_all_of_it_though_another_goes_on_with_it(spans: Spans, desk: Desk):
    await desk.interrupted()
    assert spans.named("invoke_workflow review") == []

    second = desk.start()
    await desk.run.send("reject")
    await desk.until(4)
    await desk.run.send("approve")
    await second

    root = spans.one("invoke_workflow review")
    assert spans.under(root) == ["execute_task draft-1", "execute_task draft-3"]
    assert all(root.start_time <= work.start_time and work.end_time <= root.end_time for work in works(spans))


async def test_its_span_begins_with_the_run_though_it_goes_on_with_another_definition(spans: Spans, desk: Desk):
    await desk.interrupted()
    changed = StateMachine("review", MACHINE.states, initial="draft", max_steps=30)

    before = await desk.definition()
    second = desk.start(machine=changed, intent=Intent(allow_changes=True))
    await desk.until_redefined(before)
    await desk.run.send("approve")
    await second

    root, work = spans.one("invoke_workflow review"), spans.one("execute_task draft-1")
    assert root.start_time <= work.start_time


@pytest.mark.parametrize("ahead_s", [-3600, 3600])
async def test_a_store_whose_clock_is_another_moves_no_span(spans: Spans, ahead_s: float):
    class Ahead(SystemClock):
        def now(self) -> float:
            return time.time() + ahead_s

    desk = Desk(store_clock=Ahead())
    await desk.drive(shift=Shift())
    await desk.run.send("approve")

    root, work = spans.one("invoke_workflow review"), spans.one("execute_task draft-1")
    assert root.start_time <= work.start_time <= work.end_time <= root.end_time
    assert root.end_time - root.start_time < 1800 * 10**9


async def test_of_all_who_see_it_over_one_makes_its_span(spans: Spans, desk: Desk):
    drivers = [desk.start() for _ in range(3)]
    await desk.until(2)

    await desk.run.send("approve", event_id="e")
    await asyncio.gather(*drivers)
    await desk.run.send("approve", event_id="e")
    await desk.drive()

    spans.one("invoke_workflow review")


@pytest.mark.parametrize(("event", "status"), [("approve", "succeeded"), ("give_up", "failed"), (None, "cancelled")])
async def test_who_ends_it_where_nobody_drives_it_makes_its_span(
    spans: Spans, desk: Desk, event: str | None, status: str
):
    await desk.interrupted()

    await (desk.run.cancel() if event is None else desk.run.send(event))

    root = spans.one("invoke_workflow review")
    assert root.attributes[names.STATUS] == status
    assert root.status.is_ok is (status != "failed")
    assert (await desk.drive()).status == status
    spans.one("invoke_workflow review")


async def test_whose_end_was_seen_by_nobody_who_records_has_its_span_from_whoever_comes_next(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
):
    clock = ManualClock()
    desk, begun_at = Desk(clock), clock.now()
    await desk.drive(shift=Shift())
    clock.advance(60)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(trace, "_TRACER_PROVIDER", None)
        await desk.run.send("approve")
    clock.advance(3600)

    await desk.drive()

    root = spans.one("invoke_workflow review")
    # When it ended, and not when that was seen.
    assert (root.start_time / 1e9, root.end_time / 1e9) == pytest.approx((begun_at, begun_at + 60), rel=0, abs=0.001)


async def test_nothing_is_kept_of_spans_where_nobody_makes_any(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    await desk.interrupted()
    await desk.run.send("approve")

    off = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", off)
    await desk.drive()

    texts = await desk.store.read(RUN)
    assert [path for path in texts if "traced" in path] == []
    assert "tp" not in texts["run"]


async def test_one_that_was_begun_in_a_span_is_in_its_trace(spans: Spans, desk: Desk):
    with app_span():
        driver = desk.start()
    await desk.until(2)
    await desk.run.send("approve")
    await driver

    root, around = spans.one("invoke_workflow review"), spans.one("POST /reviews")
    assert spans.parent(root) is around
    assert root.context.span_id == root_span_id("default", RUN)
    assert spans.under(root) == ["execute_task draft-1"]
    assert {span.context.trace_id for span in spans.all} == {around.context.trace_id}
    header = await desk.journal.header(RUN)
    assert header is not None
    fixed = parsed_parent(header.traceparent)
    assert fixed is not None
    assert (fixed.trace_id, fixed.span_id) == (around.context.trace_id, around.context.span_id)
    assert (await timeline_of(desk.journal, RUN)).trace_id == format_trace_id(around.context.trace_id)


@pytest.mark.parametrize("in_a_span", [False, True], ids=["without a span", "in a span of its own"])
async def test_who_goes_on_with_it_stays_in_the_trace_that_it_was_begun_in(spans: Spans, desk: Desk, in_a_span: bool):
    with app_span():
        await desk.interrupted()

    if in_a_span:
        with app_span("another"):
            second = desk.start()
    else:
        second = desk.start()
    await desk.run.send("reject")
    await desk.until(4)
    await desk.run.send("approve")
    await second

    root, around = spans.one("invoke_workflow review"), spans.one("POST /reviews")
    assert spans.parent(root) is around
    assert spans.under(root) == ["execute_task draft-1", "execute_task draft-3"]
    linked = [link.context.span_id for link in spans.one("execute_task draft-3").links]
    assert linked == [span.context.span_id for span in spans.named("another")]


async def test_one_that_ends_itself_from_within_lies_where_it_was_begun(spans: Spans, desk: Desk):
    async def stop(_: TaskContext) -> None:
        await desk.run.send("stop")
        await asyncio.sleep(30)

    desk.work = stop
    status = await desk.drive()

    root, work = spans.one("invoke_workflow review"), spans.one("execute_task draft-1")
    assert status.status == "succeeded"
    assert root.parent is None
    assert spans.parent(work) is root


async def test_what_a_scheduler_s_turn_does_lies_in_the_span_of_the_turn(spans: Spans, desk: Desk):
    with app_span("worker.review"):
        await desk.drive(shift=Shift())
    await desk.run.send("approve")
    await desk.drive(shift=Shift())

    root, turn = spans.one("invoke_workflow review"), spans.one("worker.review")
    assert sorted(spans.under(turn)) == ["execute_task draft-1", "invoke_workflow review"]
    assert spans.parent(root) is turn


async def test_its_events_are_told_within_its_own_trace(spans: Spans, desk: Desk):
    heard: dict[str, set[int]] = {}

    def hear(event: Event) -> None:
        here = trace.get_current_span().get_span_context()
        assert here.trace_id == around.get_span_context().trace_id
        heard.setdefault(event.name, set()).add(here.span_id)

    with app_span() as around:
        driver = desk.start(on_event=hear)
    await desk.until(2)
    await desk.run.send("approve")
    await driver

    own = spans.one("invoke_workflow review").context.span_id
    assert heard == {"machine.moved": {own}, "task.started": {own}, "task.finished": {own}}


async def test_a_journal_that_fails_costs_the_span_and_not_the_machine(
    spans: Spans, desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    await desk.interrupted()
    change = desk.store.change

    async def away(run: str, paths: Any, decide: Any) -> Any:
        if "machine/traced" in paths:
            raise Unavailable("down")
        return await change(run, paths, decide)

    with monkeypatch.context() as failing:
        failing.setattr(desk.store, "change", away)
        receipt = await desk.run.send("approve")
        assert spans.named("invoke_workflow review") == []

    assert receipt.to == "done"
    assert "machine.trace_missed" in caplog.text
    await desk.drive()
    spans.one("invoke_workflow review")
