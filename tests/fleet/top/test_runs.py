"""The reader of runs: what it tells of a team at work, and that it never reads more than it needs."""

from __future__ import annotations

import asyncio

import pytest

from coterie import Approval, BreakerPolicy, Plan, Policies, Task, Team
from coterie.cli.top.runs import Runs
from coterie.cli.top.snapshot import RunRow
from coterie.journal import Intent, Journal
from coterie.runtime import Runtime
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
    assert asked <= 10
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
async def test_a_run_that_failed_by_a_refusal_says_what_it_has_no_record_of(desk):
    team = Team("impatient")

    @team.agent("checker", agent_id="checker-1")
    async def check(task_input):
        raise TimeoutError("the archive did not answer")

    team.protect("checker", Policies(breaker=BreakerPolicy(failure_threshold=1), max_wait_s=0.0))
    async with Runtime(team, store=desk.store, artifacts=desk.artifacts, journal=Journal(desk.books)) as runtime:
        for run in ("first", "second"):
            await runtime.orchestrator.execute_workflow(Plan("one", [Task("check", "checker")]), workflow_id=run)

    row = await row_of(reader(desk), "second")

    assert (row.state, row.failed, row.now) == ("failed", 0, "no record of check")
