"""The times of a call are what its worker measured, whoever hears of its end and however late; the rest is told too."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import pytest

from coterie import Event, Plan, Task, Team
from coterie._rules.call_course import Course
from coterie._rules.lap import Lap
from coterie.errors import Unavailable
from coterie.journal import Journal
from coterie.journal.outage import Outage, Stretch
from coterie.journal.view import UnitView, view_run
from coterie.remote import Worker, waiting
from coterie.remote.course import note_course
from coterie.runtime import Runtime
from coterie.testing import FaultyJournalStore, FaultyLogStore, FaultyStateStore, ManualClock
from coterie.timeline import timeline_of
from coterie.timeline.sums import time_of_path
from coterie.trail import Trail
from tests.fleet.remote.fleet import Fleet, call_of, eventually, until
from tests.fleet.remote.held import Held, submitted, waited

PLAN = Plan("p", [Task("t", "held")])
SHORT_S = 0.7
# Between the end of a call and the first try to record it lies a moment.
SLACK_US = 50_000
STORE = {"for": "store"}


@pytest.fixture(autouse=True)
def soon_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is away for a fraction of a second is away."""
    for module in ("journal.outage", "remote.records", "remote.course"):
        monkeypatch.setattr(f"coterie.{module}.AWAY_US", 300_000)


class Desk:
    """A worker whose stores can be cut off, each by itself, and what its listener was told."""

    def __init__(self, fleet: Fleet, team: Team, **more: Any) -> None:
        self.state, self.log = FaultyStateStore(fleet.store), FaultyLogStore(fleet.log)
        self.books = FaultyJournalStore(fleet.books)
        self.told: list[Event] = []
        self.fleet, self.team, self.more = fleet, team, more

    async def __aenter__(self) -> Self:
        runtime = Runtime(
            self.team, store=self.state, log=self.log, journal=Journal(self.books), on_event=self.told.append
        )
        self.worker = Worker(await self.fleet.held.enter_async_context(runtime), **self.more)
        self.work = asyncio.create_task(self.worker.run())
        await until(lambda: self.worker.status()["ready"] is True)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.worker.stop()
        await asyncio.wait_for(self.work, 20)

    def cut(self, *names: str) -> None:
        """Cut these off, and no others."""
        for name in ("state", "log", "books"):
            getattr(self, name).down = "refusing" if name in names else None


def now_us() -> int:
    return int(time.time() * 1e6)


def caller() -> Team:
    team = Team("caller")
    team.remote("held")
    return team


async def unit_of(fleet: Fleet, name: str = "t") -> UnitView:
    found = (await view_run(Journal(fleet.books), "r")).unit(name)
    assert found is not None
    return found


async def seconds(fleet: Fleet) -> dict[str, float]:
    timeline = await timeline_of(Journal(fleet.books), "r")
    return {kind: us / 1e6 for kind, us in time_of_path(timeline.critical_path().pieces).items()}


def kinds(laps: Sequence[Lap]) -> list[str]:
    return [lap.kind for lap in laps]


@pytest.mark.parametrize("away", ["books", "state"])
async def test_an_end_that_its_worker_cannot_record_is_a_call_and_a_wait_for_the_store(fleet: Fleet, away: str):
    held = Held()
    orchestrator = (await fleet.runtime(caller())).orchestrator
    async with Desk(fleet, held.team, worker_id="w1") as desk:
        run = asyncio.create_task(orchestrator.execute_workflow(PLAN, workflow_id="r"))
        await until(lambda: held.began == ["t"])
        began_us = now_us()
        desk.cut(away)
        held.release.set()
        await asyncio.sleep(SHORT_S)
        back_us = now_us()
        desk.cut()
        assert (await asyncio.wait_for(run, 30)).status == "succeeded"

    unit, times = await unit_of(fleet), await seconds(fleet)
    queue, call, wait = unit.laps
    assert kinds(unit.laps) == ["queue", "call", "wait"]
    assert (call.facts["worker"], wait.facts) == ("w1", STORE)
    assert queue.at_us <= call.at_us <= began_us <= call.ended_us <= back_us <= wait.ended_us + SLACK_US
    assert unit.work_s == call.took_us / 1e6
    assert times["store"] == pytest.approx(wait.took_us / 1e6, abs=0.002)
    assert times["agent"] == pytest.approx(call.took_us / 1e6, abs=0.002)


@pytest.mark.parametrize("away", ["books", "state"])
async def test_the_wait_for_the_store_is_one_span(fleet: Fleet, spans: Any, away: str):
    await test_an_end_that_its_worker_cannot_record_is_a_call_and_a_wait_for_the_store(fleet, away)

    wait = spans.one("wait store")
    assert spans.parent(wait).name == "execute_task t"
    assert wait.attributes["coterie.for"] == "store"


async def test_an_end_that_cannot_be_recorded_in_the_run_is_told_without_the_wait(fleet: Fleet):
    held, call = Held(), call_of(PLAN.tasks[0])
    async with Desk(fleet, held.team) as desk:
        await submitted(fleet, call)
        await until(lambda: held.began == ["t"])
        desk.cut("books")
        held.release.set()
        await asyncio.sleep(SHORT_S)
        back_us = now_us()
        desk.cut()
        await waited(fleet, call)

    unit = await unit_of(fleet)
    assert unit.record is not None
    assert kinds(unit.laps) == ["queue", "wait"]
    assert (unit.laps[1].facts, unit.state) == (STORE, "succeeded")
    assert unit.record.at * 1e6 <= back_us <= unit.laps[1].ended_us + SLACK_US
    # A record's instant is kept in whole milliseconds.
    assert unit.work_s == pytest.approx(unit.duration_s, abs=0.002)
    assert (await seconds(fleet))["store"] == pytest.approx(unit.laps[1].took_us / 1e6, abs=0.002)


async def test_an_end_that_its_caller_cannot_hear_of_is_a_call_and_a_wait_for_the_store(fleet: Fleet):
    held, state = Held(), FaultyStateStore(fleet.store)
    runtime = Runtime(caller(), store=state, log=fleet.log, journal=Journal(fleet.books))
    orchestrator = (await fleet.held.enter_async_context(runtime)).orchestrator
    async with fleet.worker(held.team) as worker:
        run = asyncio.create_task(orchestrator.execute_workflow(PLAN, workflow_id="r"))
        await until(lambda: held.began == ["t"])
        state.down = "refusing"
        held.release.set()
        await until(lambda: worker.in_use == 0 and runtime.remote.outage.is_on)
        await asyncio.sleep(SHORT_S)
        back_us = now_us()
        state.down = None
        await asyncio.wait_for(run, 30)

    unit = await unit_of(fleet)
    queue, call, wait = unit.laps
    assert (queue.kind, call.kind, wait.kind, wait.facts) == ("queue", "call", "wait", STORE)
    assert call.ended_us <= wait.at_us <= back_us <= wait.ended_us + SLACK_US
    assert unit.work_s == call.took_us / 1e6


async def test_work_that_its_worker_cannot_take_as_the_store_is_away_waits_for_that(fleet: Fleet):
    held, call = Held(), call_of(PLAN.tasks[0])
    held.release.set()
    async with Desk(fleet, held.team) as desk:
        desk.cut("log")
        await until(lambda: desk.worker.status()["ready"] is False)
        await submitted(fleet, call)
        await asyncio.sleep(SHORT_S)
        back_us = now_us()
        desk.cut()
        await waited(fleet, call)

    wait = next(lap for lap in (await unit_of(fleet)).laps if lap.kind == "wait")
    assert wait.facts == STORE
    assert wait.at_us <= back_us <= wait.ended_us + SLACK_US


async def test_who_asked_is_told_by_the_worker_that_the_store_was_away(fleet: Fleet):
    held = Held()
    held.release.set()
    orchestrator = (await fleet.runtime(caller())).orchestrator
    async with Desk(fleet, held.team) as desk:
        desk.cut("log")
        await until(lambda: desk.worker.status()["ready"] is False)
        run = asyncio.create_task(orchestrator.execute_workflow(PLAN, workflow_id="r"))
        await asyncio.sleep(SHORT_S)
        back_us = now_us()
        desk.cut()
        await asyncio.wait_for(run, 30)

    laps = (await unit_of(fleet)).laps
    wait = next(lap for lap in laps if lap.kind == "wait")
    assert (wait.facts, laps[-1].kind) == (STORE, "call")
    assert wait.at_us <= back_us <= wait.ended_us + SLACK_US


async def test_work_that_is_in_its_queue_while_its_caller_hears_of_no_store_waits_for_that(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(waiting, "LOOK_S", 0.05)
    held, state = Held(), FaultyStateStore(fleet.store)
    held.release.set()
    runtime = Runtime(caller(), store=state, log=fleet.log, journal=Journal(fleet.books))
    orchestrator = (await fleet.held.enter_async_context(runtime)).orchestrator
    run = asyncio.create_task(orchestrator.execute_workflow(PLAN, workflow_id="r"))

    async def is_asked() -> bool:
        return any(topic.name == "tasks/held" for topic in await fleet.log.topics())

    await eventually(is_asked)
    state.down = "refusing"
    await until(lambda: runtime.remote.outage.is_on)
    await asyncio.sleep(SHORT_S)
    back_us = now_us()
    state.down = None
    await until(lambda: not runtime.remote.outage.is_on)
    async with fleet.worker(held.team):
        await asyncio.wait_for(run, 30)

    laps = (await unit_of(fleet)).laps
    assert kinds(laps) == ["queue", "wait", "queue", "call"]
    assert laps[1].at_us <= back_us <= laps[1].ended_us + SLACK_US
    assert all(one.ended_us == after.at_us for one, after in pairwise(laps[:3]))


def test_a_wait_for_a_worker_is_cut_where_the_store_was_away():
    trail, queue = Trail(), {"place": "worker", "worker": "w1", "priority": 0}
    laps = (Lap("queue", 0, 9_000_000, queue), Lap("queue", 9_000_000, 1_000_000, {"place": "pool"}))

    away = [
        Stretch(-5_000_000, -1_000_000),
        Stretch(2_000_000, 5_000_000),
        Stretch(4_000_000, 6_000_000),
        Stretch(8_800_000, 2**40),
    ]
    note_course(trail, Course(laps, frozenset(), 0), away)

    assert [(lap.kind, lap.at_us, lap.took_us) for lap in trail.laps] == [
        ("queue", 0, 2_000_000),
        ("wait", 2_000_000, 4_000_000),
        ("queue", 6_000_000, 3_000_000),
        ("queue", 9_000_000, 1_000_000),
    ]


def test_a_wait_that_has_a_span_stays_as_it_is():
    trail, lap = Trail(), Lap("queue", 0, 9_000_000, {"place": "worker"})

    note_course(trail, Course((lap,), frozenset({0}), 0), [Stretch(2_000_000, 5_000_000)])

    assert (trail.laps, trail.traced) == ([lap], frozenset({0}))


def test_a_store_that_nobody_asks_any_more_is_not_away_for_ever():
    clock = ManualClock()
    outage = Outage(logging.getLogger("coterie.remote"), "away", "back", now=clock.now)
    began_us = round(clock.now() * 1e6)
    outage.failed("c", Unavailable("memory://", "down"), after_s=2.0)
    clock.advance(5.0)
    meanwhile = outage.stretches()
    clock.advance(3_600.0)
    outage.answered()
    clock.advance(1.0)

    assert meanwhile == [Stretch(began_us - 2_000_000, began_us + 5_000_000)]
    assert outage.stretches() == [Stretch(began_us - 2_000_000, began_us + 15_000_000)]


async def test_work_whose_worker_was_lost_after_its_end_was_no_loss(fleet: Fleet):
    held, again = Held(), Held()
    orchestrator = (await fleet.runtime(caller())).orchestrator
    async with Desk(fleet, held.team, worker_id="w1", lease_s=1.0) as desk:
        run = asyncio.create_task(orchestrator.execute_workflow(PLAN, workflow_id="r"))
        await until(lambda: held.began == ["t"])
        desk.cut("state", "log")
        held.release.set()
        async with fleet.worker(again.team, worker_id="w2"):
            await asyncio.wait_for(run, 30)
        desk.cut()

    unit = await unit_of(fleet)
    lost, call = (next(lap for lap in unit.laps if lap.kind == kind) for kind in ("lost", "call"))
    assert again.began == []
    assert (lost.facts["worker"], call.facts["worker"]) == ("w1", "w1")
    assert lost.at_us <= call.at_us <= call.ended_us <= lost.ended_us
    assert unit.work_s == pytest.approx(call.took_us / 1e6)


async def test_a_listener_is_told_once_of_an_outage_however_many_notice_it(fleet: Fleet):
    held = Held()
    async with Desk(fleet, held.team, lease_s=1.0) as desk:
        calls = [call_of(Task(f"t{n}", "held"), keeps="steps") for n in range(3)]
        await submitted(fleet, *calls)
        await until(lambda: len(held.began) == 3)
        desk.cut("state", "log")
        held.release.set()
        await until(lambda: desk.worker._silence.is_on and desk.worker._calls.outage.is_on)
        desk.cut()
        for call in calls:
            await waited(fleet, call)
        await until(lambda: not desk.worker._silence.is_on)

    told = [(event.name, event.fields["state"]) for event in desk.told if event.name.startswith("state.")]
    assert told[:2] == [("state.store_failed", "calls"), ("state.store_recovered", "calls")]
    assert "down" in str(next(event.fields["error"] for event in desk.told if event.name == "state.store_failed"))
