"""A run in the journal as people look at it: who is at it, how it and its parts ended."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from coterie import Approval, Decision, Intent, Orchestrator, Plan, Task, Team, Usage
from coterie._rules.approval import Ask, PlaceKind, Sheet
from coterie._rules.journal import RUN
from coterie._rules.journal_text import FORMAT, Record, dumped
from coterie._rules.lap import Lap
from coterie.errors import StateFormatError, UnknownRun
from coterie.journal import Journal
from coterie.journal.header import Header
from coterie.journal.owner import new_owner
from coterie.journal.place import place_of
from coterie.journal.view import UnitView, list_runs, view_run
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.testing import ManualClock

GONE_AFTER_S = 31.0


@dataclass
class Desk:
    """A journal on a clock that stands still, and ways to be at work in it."""

    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.journal = Journal(MemoryJournalStore("test", clock=self.clock), clock=self.clock)

    async def begun(self, run: str = "r1") -> None:
        await self.journal.begin(run, Header("plan", "0" * 64, begun_at=self.clock.now()), Intent("airflow.a.b"))

    async def at(self, name: str, run: str = "r1", owner: str = "somebody") -> None:
        """Somebody claims a task by itself."""
        asked = self.journal.asked(Intent("airflow.a.b"), "fp", owner)
        await self.journal.claim(run, place_of(name), asked, what=name, patience_s=0)

    async def at_whole(self, run: str = "r1", owner: str = "somebody") -> None:
        asked = self.journal.asked(Intent(), "", owner)
        await self.journal.open_run(run, Header("plan", "0" * 64, begun_at=self.clock.now()), Intent(), asked)

    async def state(self, run: str = "r1") -> str:
        """As it is shown, alone and in the list."""
        view = await view_run(self.journal, run)
        listed = {one.workflow_id: one.state for one in (await list_runs(self.journal, limit=10))[0]}
        assert listed[run] == view.state
        return view.state

    def later(self, seconds: float) -> None:
        self.clock.advance(seconds)


def dead_owner() -> str:
    """The name of a process of this machine that has ended."""
    host, boot, space, _, _, chance = new_owner().split(":")
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    return ":".join([host, boot, space, str(child.pid), "1", chance])


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_run_that_a_process_has_claimed_is_running_until_its_lease_is_over(desk: Desk):
    await desk.at_whole()

    while_held = await desk.state()
    desk.later(GONE_AFTER_S)

    assert (while_held, await desk.state()) == ("running", "interrupted")


async def test_a_run_one_of_whose_tasks_a_worker_has_is_running(desk: Desk):
    await desk.begun()
    await desk.at("a")

    while_held = await desk.state()
    unit = (await view_run(desk.journal, "r1")).unit("a")
    desk.later(GONE_AFTER_S)

    assert (while_held, await desk.state()) == ("running", "interrupted")
    assert unit is not None
    assert unit.state is None
    assert unit.claim is not None
    assert (unit.claim.owner, unit.claim.alive) == ("somebody", True)


async def test_workers_that_go_on_with_what_a_process_left_are_seen_in_the_list(desk: Desk):
    await desk.at_whole(owner="killed")
    desk.later(GONE_AFTER_S)

    await desk.at("a", owner="worker")

    assert await desk.state() == "running"


async def test_whoever_is_known_to_have_ended_is_at_nothing(desk: Desk):
    await desk.at_whole(owner=dead_owner())

    assert await desk.state() == "interrupted"


async def test_single_tasks_without_a_plan_are_open_between_two_of_them_and_interrupted_where_a_worker_died(desk: Desk):
    await desk.journal.begin("r1", Header(begun_at=desk.clock.now()), Intent("airflow.a.b"))
    before = await desk.state()
    await desk.at("a")
    during = await desk.state()
    await desk.journal.store.write("r1", {"pulse/a": None})
    between = await desk.state()

    await desk.at("b")
    desk.later(GONE_AFTER_S)

    assert (before, during, between, await desk.state()) == ("open", "running", "open", "interrupted")


async def test_a_machine_that_waits_is_not_interrupted_and_one_whose_worker_died_is(desk: Desk):
    await desk.begun()
    await desk.journal.store.write("r1", {"machine": dumped({"v": FORMAT})})

    waiting = await desk.state()
    await desk.at("act")
    acting = await desk.state()
    desk.later(GONE_AFTER_S)

    assert (waiting, acting, await desk.state()) == ("waiting", "running", "interrupted")


async def test_ends_usage_and_errors_are_there():
    team = Team("desk")

    @team.agent("good", version="1")
    async def good(task_input, ctx):
        ctx.report_usage(input_tokens=7)
        return 1

    @team.agent("bad", version="1")
    async def bad(task_input, ctx):
        ctx.report_usage(input_tokens=2)
        raise ValueError("no")

    journal = Journal(MemoryJournalStore("test"))
    plan = Plan("p", [Task("a", "good"), Task("b", "bad", depends_on=["a"]), Task("c", "good", depends_on=["b"])])
    await Orchestrator(team, journal=journal).execute_workflow(plan, workflow_id="r1")

    view = await view_run(journal, "r1")

    assert (view.state, view.header.plan_name, view.usage) == ("failed", "p", Usage(input_tokens=9))
    ends = [(unit.name, unit.state, unit.by) for unit in view.units]
    assert ends == [("a", "succeeded", "local"), ("b", "failed", "local")]
    assert str(view.unit("b").error) == "ValueError: no"
    assert view.unit("c") is None
    assert view.claim is None


async def test_runs_are_listed_page_by_page_the_newest_first(desk: Desk):
    for number in range(5):
        await desk.begun(f"r{number}")

    first, after = await list_runs(desk.journal, limit=3)
    second, end = await list_runs(desk.journal, limit=3, after=after)

    assert [view.workflow_id for view in (*first, *second)] == ["r4", "r3", "r2", "r1", "r0"]
    assert end is None


async def test_an_unknown_run_is_refused_and_says_where_it_was_looked_for(desk: Desk):
    with pytest.raises(UnknownRun, match=r"'nope'.*memory"):
        await view_run(desk.journal, "nope")


@pytest.mark.parametrize("text", ["{", '{"v":1}', '{"v":99,"e":0}'])
async def test_what_cannot_be_read_is_said_and_not_guessed(desk: Desk, text: str):
    await desk.begun()
    await desk.journal.store.write("r1", {"task/a": text})

    with pytest.raises(StateFormatError, match=r"'r1'.*task/a"):
        await view_run(desk.journal, "r1")


async def test_an_end_without_its_status_is_said_not_to_be_whole(desk: Desk):
    await desk.begun()
    await desk.journal.store.write("r1", {RUN.record: '{"v":1}'})

    with pytest.raises(StateFormatError, match=r"'r1'.*status"):
        await view_run(desk.journal, "r1")


ASKED = "approval/ask"


def question(place: PlaceKind = "process", until: float | None = None) -> str:
    return Sheet(Ask(Approval("Publish?"), "editor", "fp", place=place, at=1.0, until=until)).text()


async def test_a_run_that_asks_a_person_waits_though_whoever_asked_was_killed(desk: Desk):
    await desk.at_whole(owner=dead_owner())
    await desk.journal.store.write("r1", {ASKED: question()})

    assert await desk.state() == "waiting"
    assert (await view_run(desk.journal, "r1")).asks == ("ask",)


async def test_a_run_that_asks_waits_though_the_worker_that_asked_died_before_he_gave_the_task_up(desk: Desk):
    await desk.begun()
    await desk.at("ask", owner=dead_owner())
    await desk.journal.store.write("r1", {ASKED: question("airflow")})

    assert await desk.state() == "waiting"


async def test_a_run_that_asks_and_at_whose_other_task_a_worker_died_is_interrupted(desk: Desk):
    await desk.begun()
    await desk.at("other", owner=dead_owner())
    await desk.journal.store.write("r1", {ASKED: question("airflow")})

    assert await desk.state() == "interrupted"


async def test_a_question_that_was_answered_or_is_too_late_for_an_answer_is_not_waited_for(desk: Desk):
    await desk.at_whole(owner=dead_owner())
    await desk.journal.store.write("r1", {ASKED: question(until=desk.clock.now() + 5)})

    in_time = await desk.state()
    desk.later(6)
    late = await desk.state()
    decided = Sheet(Sheet.read(question(), ASKED).asked, Decision("approve", "ann", 2.0))
    await desk.journal.store.write("r1", {ASKED: decided.text()})

    assert (in_time, late, await desk.state()) == ("waiting", "interrupted", "interrupted")


async def test_what_a_scheduler_asks_is_waited_for_until_it_says_that_the_time_is_over(desk: Desk):
    await desk.begun()
    await desk.journal.store.write("r1", {ASKED: question("prefect", until=desk.clock.now() + 5)})
    desk.later(6)

    assert await desk.state() == "waiting"


async def test_while_a_person_was_asked_nobody_worked(desk: Desk):
    result = {"state": "succeeded", "duration_s": 600.0}
    for name in ("ask", "work"):
        record = Record(0, "fp", result, "local", 1.0)
        await desk.journal.store.write("r1", {f"task/{name}": record.text()})
    await desk.journal.store.write("r1", {ASKED: question()})

    units = {unit.name: (unit.duration_s, unit.work_s) for unit in (await view_run(desk.journal, "r1")).units}

    assert units == {"ask": (600.0, 0.0), "work": (600.0, 600.0)}


def unit_with(laps: list[Lap], *, duration_s: float, more: int = 0) -> UnitView:
    record = Record(
        0, "fp", {"state": "succeeded", "duration_s": duration_s}, "local", 100.0, laps=tuple(laps), more=more
    )
    return UnitView("a", "succeeded", duration_s=duration_s, record=record)


def lap(kind: str, since_s: float, until_s: float) -> Lap:
    return Lap(kind, round(since_s * 1e6), round((until_s - since_s) * 1e6))


def test_work_is_when_an_agent_was_at_it_and_waiting_is_none():
    laps = [lap("queue", 10, 60), lap("call", 60, 62), lap("refused", 62, 62), lap("wait", 62, 90), lap("call", 90, 99)]

    unit = unit_with(laps, duration_s=90.0)

    assert (unit.work_s, unit.waited_s) == (11.0, 78.0)


def test_waits_side_by_side_count_once_and_none_counts_while_somebody_works():
    laps = [lap("queue", 0, 50), lap("wait", 10, 60), lap("call", 55, 100)]

    assert unit_with(laps, duration_s=100.0).waited_s == 55.0
    assert unit_with(laps, duration_s=100.0).work_s == 40.0


def test_somebody_works_though_another_process_waits_for_the_work():
    unit = unit_with([lap("call", 0, 40), lap("claim", 10, 30)], duration_s=5.0)

    assert (unit.work_s, unit.waited_s) == (40.0, 0.0)


@pytest.mark.parametrize("more", [0, 3])
def test_where_it_is_not_told_when_an_agent_was_at_it_all_but_waiting_is_work(more: int):
    calls = [lap("call", 90, 100)] if more else []

    unit = unit_with([lap("queue", 0, 50), *calls], duration_s=90.0, more=more)

    assert (unit.work_s, unit.waited_s) == (50.0, 50.0)


async def test_what_a_foreach_comes_to_is_no_work_beside_its_items(desk: Desk):
    def ended(**more: object) -> str:
        return Record(0, "fp", {"state": "succeeded", "duration_s": 60.0, **more}, "local", 100.0).text()

    texts = {"item/each/1": ended(), "item/each/2": ended(), "task/each": ended(items={"total": 2, "failed": 0})}
    await desk.begun()
    await desk.journal.store.write("r1", texts)

    assert sum(unit.work_s for unit in (await view_run(desk.journal, "r1")).units) == 120.0
