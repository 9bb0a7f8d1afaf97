"""The reader of runs: what it tells of a team at work, and that it never reads more than it needs."""

from __future__ import annotations

import asyncio

import pytest

from coterie import Approval, BreakerPolicy, Compensation, ForEach, JsonValue, Plan, Policies, Task, TaskContext, Team
from coterie._rules.journal_text import Record
from coterie.cli.top.runs import Runs
from coterie.cli.top.snapshot import RunRow
from coterie.journal import Intent, Journal
from coterie.journal.header import Header
from coterie.journal.owner import new_owner
from coterie.journal.place import place_of
from coterie.runtime import Runtime
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.testing import ManualClock
from tests.fleet.top.world import CountedJournal, Desk

MEMORY = pytest.mark.parametrize("desk", ["memory"], indirect=True)


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def reader(desk: Desk, *, artifacts: bool = True, clock: Clock | None = None, **sizes: int) -> Runs:
    return Runs(Journal(desk.books), desk.artifacts if artifacts else None, clock or Clock(), **sizes)


async def row_of(runs: Runs, name: str) -> RunRow:
    return next(row for row in (await runs.read()).rows if row.run == name)


async def test_a_run_that_goes_on_says_how_far_it_is_and_what_it_is_at(desk):
    runs = reader(desk)

    async with desk.at_work() as work:
        row = await row_of(runs, "news-1")
        desk.gate.opened.set()
        await work
        ended = await row_of(runs, "news-1")

    assert (row.state, row.plan, row.total, row.done, row.failed) == ("running", "news", 4, 1, 1)
    assert row.items == (1, 3)
    assert [due.shown for due in row.due] == ["write 1/3"]
    assert row.cost_micros == 50_000
    assert row.ended_us is None
    assert (ended.state, ended.done, ended.failed, ended.items) == ("partial", 3, 1, (3, 3))
    assert ended.now == "check: TimeoutError: the archive did not answer"
    assert (ended.cost_micros, ended.tokens) == (150_000, 360)
    assert ended.ended_us is not None


async def test_what_is_undone_costs_too_whether_one_looked_on_or_not(desk):
    team = Team("makers")
    at_it, going_on = asyncio.Event(), asyncio.Event()

    @team.agent("maker")
    async def make(task_input: dict[str, JsonValue], ctx: TaskContext) -> str:
        ctx.report_usage(cost_micros=1_000)
        if ctx.task_id == "print":
            at_it.set()
            await going_on.wait()
            raise ValueError("no paper")
        return "made"

    plan = Plan(
        "saga",
        [Task("reserve", "maker", compensation=Compensation("maker")), Task("print", "maker", depends_on=["reserve"])],
    )
    looks_on = reader(desk)
    async with Runtime(team, store=desk.store, artifacts=desk.artifacts, journal=Journal(desk.books)) as runtime:
        work = asyncio.create_task(runtime.orchestrator.execute_workflow(plan, workflow_id="s"))
        await at_it.wait()
        seen = await row_of(looks_on, "s")
        going_on.set()
        await work
        costs = [(await row_of(each, "s")).cost_micros for each in (looks_on, reader(desk))]

    assert (seen.state, seen.cost_micros) == ("running", 1_000)
    assert costs == [3_000, 3_000], "what was made, what failed, and what was undone"


async def test_without_the_artifact_store_tasks_are_told_and_lists_in_it_are_not(desk):
    runs = reader(desk, artifacts=False)

    async with desk.at_work():
        row = await row_of(runs, "news-1")

    # Its plan lies there too.
    assert (row.plan, row.total, row.done, row.failed) == ("news", None, 1, 1)


async def test_who_is_asked_is_what_a_run_waits_for(desk):
    team = Team("signing")
    team.agent("clerk", agent_id="clerk")(lambda task_input: 1)
    asking = Plan("sign", [Task("sign", "boss", approval=Approval("Sign?", timeout_s=3600.0))])
    runs = reader(desk)

    async with Runtime(team, store=desk.store, artifacts=desk.artifacts, journal=Journal(desk.books)) as runtime:
        work = asyncio.create_task(runtime.orchestrator.execute_workflow(asking, workflow_id="sign-1"))
        async with asyncio.timeout(20):
            while not (row := await _first(runs)) or not row.now:  # noqa: ASYNC110  # another task brings it about
                await asyncio.sleep(0.01)
        work.cancel()
        await asyncio.wait({work})

    assert row.now == "a person: sign"


async def _first(runs: Runs) -> RunRow | None:
    return next(iter((await runs.read()).rows), None)


@MEMORY
async def test_what_has_ended_is_not_read_again(desk):
    desk.books = counted = CountedJournal(desk.books)
    runs = reader(desk)

    async with desk.at_work():
        await runs.read()
        counted.counted()
        await runs.read()
        calls, asked, texts = counted.counted()

    # The list; of the one run its claim, pulse and no end, and what three units may have become that go on.
    assert calls == {"runs": 1, "get": 1}
    assert asked <= 13
    assert texts == 3


async def many_runs(desk: Desk, count: int) -> None:
    team = Team("many")

    @team.agent("quick", agent_id="quick", capacity=8)
    async def quick(task_input):
        return 1

    short = Plan("short", [Task("a", "quick"), Task("b", "quick", depends_on=["a"])])
    async with Runtime(team, artifacts=desk.artifacts, journal=Journal(desk.books)) as runtime:
        for first in range(0, count, 50):
            numbers = range(first, first + 50)
            many = (runtime.orchestrator.execute_workflow(short, workflow_id=f"r{n:04}") for n in numbers)
            await asyncio.gather(*many)


@MEMORY
async def test_a_look_costs_the_same_however_many_runs_there_are(desk):
    async with desk.at_work("old"):
        await many_runs(desk, 950)
        desk.books = counted = CountedJournal(desk.books)
        runs = reader(desk)

        costs = []
        for _ in range(25):
            section = await runs.read()
            calls, _asked, texts = counted.counted()
            costs.append((sum(calls.values()), texts))

    # The run that goes on was begun before all others, and is found; of those that ended, the newest are shown.
    assert [row.run for row in section.rows if row.state == "running"] == ["old"]
    assert len(section.rows) == 51
    assert section.rows[0].run != "old"
    assert max(calls for calls, _ in costs) <= 2 + 3 * (50 + 50 + 10)
    # Once all are known: the page of the list, the run that goes on, and ten of the others in turn.
    assert costs[-1][0] <= 1 + 1 + 10
    assert costs[-1][1] <= 50 + 3 + 10 * 2


@MEMORY
async def test_until_older_runs_are_looked_at_the_title_says_how_far_it_got(desk):
    await many_runs(desk, 150)
    runs = reader(desk)

    first = (await runs.read()).reach
    await runs.read()
    last = (await runs.read()).reach

    assert first == "of the last 50"
    assert last == ""


async def test_a_foreach_over_what_came_of_another_is_counted_at_the_first_look(desk):
    team = Team("chain")

    @team.agent("quick", agent_id="quick", capacity=8)
    async def quick(task_input):
        return task_input.get("item", [1, 2])

    tasks = [
        Task("list", "quick"),
        Task("first", "quick", foreach=ForEach(task="list")),
        Task("second", "quick", foreach=ForEach(task="first")),
        Task("third", "quick", foreach=ForEach(task="second")),
    ]
    async with Runtime(team, artifacts=desk.artifacts, journal=Journal(desk.books)) as runtime:
        await runtime.orchestrator.execute_workflow(Plan("chain", tasks), workflow_id="r")

    row = await row_of(reader(desk), "r")

    assert (row.state, row.total, row.done, row.items) == ("succeeded", 4, 4, (6, 6))


@MEMORY
async def test_a_run_that_is_resumed_is_seen_to_go_on(desk):
    team_fails = Team("flaky")
    is_well = asyncio.Event()

    @team_fails.agent("flaky", agent_id="flaky")
    async def flaky(task_input):
        if not is_well.is_set():
            raise ValueError("not well")
        return 1

    one = Plan("one", [Task("only", "flaky")])
    runs = reader(desk)
    async with Runtime(team_fails, artifacts=desk.artifacts, journal=Journal(desk.books)) as runtime:
        await runtime.orchestrator.execute_workflow(one, workflow_id="r")
        failed = await row_of(runs, "r")
        is_well.set()
        await runtime.orchestrator.execute_workflow(one, workflow_id="r", intent=Intent(goes_on=True))
        resumed = await row_of(runs, "r")

    assert (failed.state, failed.failed, failed.now) == ("failed", 1, "only: ValueError: not well")
    assert (resumed.state, resumed.done, resumed.failed, resumed.now) == ("succeeded", 1, 0, "")


@MEMORY
async def test_a_run_that_is_erased_is_gone(desk):
    async with desk.at_work():
        runs = reader(desk)
        before = await runs.read()
    await desk.books.remove("news-1")

    after = await runs.read()
    again = await runs.read()

    assert [row.run for row in before.rows] == ["news-1"]
    assert (after.rows, again.rows) == ((), ())


@MEMORY
async def test_a_damaged_run_is_named_and_the_others_are_shown(desk):
    async with desk.at_work():
        await desk.books.write("broken", {"run": "no JSON", "status": "nor this"})
        section = await reader(desk).read()

    assert [row.run for row in section.rows] == ["news-1"]
    (note,) = section.notes
    assert note.startswith("run/broken: ")
    assert "not JSON" in note


@MEMORY
async def test_a_run_of_single_tasks_is_read_whole_but_not_for_every_frame(desk):
    async with desk.runtime() as runtime:
        await runtime.orchestrator.execute_task(Task("alone", "fetcher"), workflow_id="single")
    desk.books = counted = CountedJournal(desk.books)
    clock = Clock()
    runs = reader(desk, clock=clock)

    row = await row_of(runs, "single")
    counted.counted()
    await runs.read()
    soon, _, _ = counted.counted()
    clock.now = 11.0
    await runs.read()
    later, _, _ = counted.counted()

    assert (row.total, row.done) == (None, 1)
    assert soon == {"runs": 1}
    assert later["read"] == 1


@MEMORY
async def test_calls_and_cost_are_of_what_ended_lately(desk):
    runs = reader(desk)
    async with desk.at_work() as work:
        desk.gate.opened.set()
        await work
    row = await row_of(runs, "news-1")
    assert row.ended_us is not None

    # fetch, check, three items, print.
    assert runs.rates(row.ended_us + 1_000) == (6 / 60, 900_000)
    assert runs.rates(row.ended_us + 120 * 1_000_000) == (0.0, 900_000)
    assert runs.rates(row.ended_us + 1_200 * 1_000_000) == (0.0, 0)


@MEMORY
async def test_a_plan_of_thousands_is_asked_for_in_parts_and_counted_whole(desk):
    team = Team("wide")
    opened = asyncio.Event()

    @team.agent("quick", agent_id="quick", capacity=100)
    async def quick(task_input):
        return 1

    @team.agent("slow", agent_id="slow", capacity=5)
    async def slow(task_input):
        await opened.wait()

    tasks = [Task(f"q{n}", "quick") for n in range(1500)]
    later = [Task(f"s{n}", "slow", depends_on=[f"q{n}"]) for n in range(1500)]
    runs = reader(desk)
    async with Runtime(team, artifacts=desk.artifacts, journal=Journal(desk.books)) as runtime:
        wide = Plan("wide", [*tasks, *later])
        work = asyncio.create_task(runtime.orchestrator.execute_workflow(wide, workflow_id="wide"))
        async with asyncio.timeout(60):
            while (row := await _first(runs)) is None or row.done < 1500:  # noqa: ASYNC110  # another task's doing
                await asyncio.sleep(0.05)
        opened.set()
        await work

    assert (row.total, row.done, row.more_due) == (3000, 1500, 1497)


@MEMORY
async def test_a_run_that_failed_by_a_refusal_says_which_or_what_it_has_no_record_of(desk):
    team = Team("impatient")

    @team.agent("checker", agent_id="checker-1")
    async def check(task_input):
        raise TimeoutError("the archive did not answer")

    team.protect("checker", Policies(breaker=BreakerPolicy(failure_threshold=1), max_wait_s=0.0))
    async with Runtime(team, store=desk.store, artifacts=desk.artifacts, journal=Journal(desk.books)) as runtime:
        for run in ("first", "second"):
            await runtime.orchestrator.execute_workflow(Plan("one", [Task("check", "checker")]), workflow_id=run)

    row = await row_of(reader(desk), "second")
    # As a coterie leaves it that does not write down refusals.
    await desk.books.write("second", {"refused/check": None})
    older = await row_of(reader(desk), "second")

    assert (row.state, row.failed) == ("failed", 1)
    assert row.now.startswith("check: BreakerOpen: every agent of the type 'checker' is suspended")
    assert (older.state, older.failed, older.now) == ("failed", 0, "no record of check")


class Lane:
    """A run whose tasks a scheduler has claimed one by one, on a clock that stands still; and its reader."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.journal = Journal(MemoryJournalStore("test", clock=self.clock), clock=self.clock)
        self.intent = Intent("prefect.1234")
        self._reader_clock = Clock()
        self._runs = Runs(self.journal, None, self._reader_clock)

    async def begin(self) -> None:
        header = Header("plan", "0" * 64, engine_run="prefect.1234", begun_at=self.clock.now())
        await self.journal.begin("r", header, self.intent)

    async def claim(self, owner: str = "somebody") -> None:
        asked = self.journal.asked(self.intent, "fp", owner)
        await self.journal.claim("r", place_of("a"), asked, what="a", patience_s=0)

    async def end(self) -> None:
        record = Record(0, "fp", {"state": "succeeded"}, "prefect.1234", self.clock.now())
        await self.journal.store.write("r", {"task/a": record.text(), "pulse/a": None})

    async def row(self) -> RunRow:
        # Without its plan, a run is not read for every frame.
        self._reader_clock.now += 60.0
        return await row_of(self._runs, "r")


async def test_a_healthy_run_of_a_scheduler_is_not_called_interrupted_between_its_tasks():
    lane = Lane()
    await lane.begin()
    before = await lane.row()
    await lane.claim()
    lane.clock.advance(20)
    during = await lane.row()
    await lane.end()
    after = await lane.row()
    await lane.journal.conclude("r", "succeeded", by="prefect.1234")

    assert [row.state for row in (before, during, after, await lane.row())] == ["running"] * 3 + ["succeeded"]
    assert (before.now, during.now, after.now) == ("between two tasks", "", "between two tasks")
    assert [at.names for at in during.at] == [("a",)]


async def test_a_run_of_a_scheduler_that_nobody_has_been_at_for_a_while_is_interrupted():
    lane = Lane()
    await lane.begin()
    await lane.claim()
    await lane.end()
    lane.clock.advance(11)

    row = await lane.row()

    assert (row.state, row.now) == ("interrupted", "nobody is at it: look at it in prefect, or coterie runs resume")


async def test_a_run_of_a_scheduler_whose_process_died_at_a_task_is_interrupted_at_once():
    lane = Lane()
    host, boot, space, pid, _, chance = new_owner().split(":")
    await lane.begin()
    await lane.claim(owner=f"{host}:{boot}:{space}:{pid}:1:{chance}")

    assert (await lane.row()).state == "interrupted"
