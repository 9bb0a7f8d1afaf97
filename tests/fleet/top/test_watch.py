"""Snapshots of a real team at work, whatever its stores are; and of stores that fail."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence

import pytest

from coterie import ForEach, Plan, Task, Team
from coterie._rules.decided import Decided, State
from coterie._rules.log import Terms
from coterie.breaker import CircuitBreaker
from coterie.bus import EventBus
from coterie.cli.top.names import Names, Remembering
from coterie.cli.top.snapshot import AgentRow, GroupRow, QueueRow, RunRow, WorkerRow
from coterie.cli.top.watch import Watch
from coterie.errors import Unavailable
from coterie.ids import item_keys
from coterie.journal import Intent, Journal
from coterie.journal.header import Header
from coterie.journal.place import Place, place_of
from coterie.remote import Worker
from tests.fleet.remote.fleet import Fleet, call_of
from tests.fleet.remote.held import Held
from tests.fleet.top.frames import whole
from tests.fleet.top.world import Desk

MEMORY = pytest.mark.parametrize("desk", ["memory"], indirect=True)


async def test_a_team_at_work_is_shown_in_every_section(desk):
    async with desk.at_work():
        snapshot = await Watch(desk.places()).take()

    assert all(section.error is None and not section.notes for section in snapshot.sections.values())
    assert snapshot.head.error is None
    assert snapshot.head.trip_s is not None
    (run,) = snapshot.runs.rows
    assert run.now == "write 1/3 (1 in line)"
    (pool,) = [row for row in snapshot.agents.rows if isinstance(row, AgentRow)]
    assert (pool.pool.agent_type, pool.pool.in_use, pool.slots, len(pool.pool.tickets)) == ("writer", 1, 1, 1)
    assert [(row.name, row.state) for row in snapshot.breakers.rows] == [("checker-1", "open")]
    (limit,) = snapshot.limits.rows
    assert (limit.name, limit.taken, limit.dimensions[0].quota.burst) == ("writer", 2, 100)
    (budget,) = snapshot.budgets.rows
    assert (budget.name, budget.spent, budget.held, budget.limit) == ("money", 50_000, 50_000, 1_000_000)


async def test_what_a_breaker_keeps_from_going_on_is_said_of_the_run(desk):
    """The task that the breaker refuses waits for it; nothing else tells why the run stands still."""
    async with desk.runtime() as runtime:
        await runtime.orchestrator.execute_task(Task("check", "checker"), workflow_id="first")
        again = Plan("again", [Task("check", "checker")])
        work = asyncio.create_task(runtime.orchestrator.execute_workflow(again, workflow_id="second"))
        watch = Watch(desk.places())
        async with asyncio.timeout(20):
            while not (rows := [row for row in (await watch.take()).runs.rows if row.run == "second" and row.due]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        work.cancel()
        await asyncio.wait({work})

    assert rows[0].now == "check (breaker checker-1 open)"


async def test_without_the_team_what_only_its_policies_tell_is_not_known(desk):
    async with desk.at_work():
        snapshot = await Watch(desk.places(with_team=False)).take()

    assert snapshot.budgets.rows[0].limit is None
    lines = whole(snapshot)
    assert any(line.startswith("writer  requests ?") for line in lines)


async def test_a_snapshot_is_a_json_document(desk):
    async with desk.at_work():
        document = (await Watch(desk.places()).take()).document()

    assert json.loads(json.dumps(document)) == document
    assert document["runs"]["rows"][0]["tasks"] == {"total": 4, "done": 1, "failed": 1, "running": None, "queued": 0}
    assert document["agents"]["rows"][0]["oldest_wait_s"] >= 0


@pytest.fixture
def remote(desk) -> Fleet:
    return Fleet(store=desk.store, log=desk.log, books=desk.books, artifacts=desk.artifacts)


async def test_queues_tell_what_waits_for_how_long_and_who_serves(desk, remote):
    team, opened = Team("remote"), asyncio.Event()

    @team.agent("linter", agent_id="linter-1", capacity=1)
    async def lint(task_input):
        await opened.wait()

    async with remote.held:
        asked = [await remote.calls.submit(call_of(Task(f"t{n}", "linter"))) for n in range(3)]
        before = await _queue(desk, lambda row: row.waiting == 3)
        async with remote.worker(team, worker_id="w-1"):
            during = await _queue(desk, lambda row: row.claimed == 1)
            snapshot = await Watch(desk.places()).take()
            opened.set()
            await asyncio.gather(*(remote.calls.wait(each.id, timeout_s=20.0) for each in asked))
            after = await _queue(desk, lambda row: row.waiting + row.claimed == 0)

    assert (before.claimed, before.workers) == (0, 0)
    assert before.oldest_us is not None
    assert (during.waiting, during.workers) == (2, 1)
    assert during.oldest_us is not None
    assert during.oldest_us >= before.oldest_us
    assert after.oldest_us is None
    assert snapshot.head.workers == 1
    assert [row.worker.id for row in snapshot.agents.rows if isinstance(row, WorkerRow)] == ["w-1"]


async def test_what_lies_in_a_queue_is_told_from_what_is_at_work_and_why(desk, remote):
    """Whoever asks workers has claimed all of it: his claim does not say that anybody is at it."""
    team, opened = Team("remote"), asyncio.Event()

    @team.agent("linter", agent_id="linter-1", capacity=1)
    async def lint(task_input):
        await opened.wait()

    watch = Watch(desk.places())
    lint_all = Plan("p", [Task("lint", "linter", placement="remote", foreach=ForEach(items=[1, 2, 3]))])
    await _claimed_by_a_scheduler(
        Journal(desk.books), lint_all, [place_of("lint", key) for key in item_keys([1, 2, 3])]
    )

    async with remote.held:
        for n in range(3):
            await remote.calls.submit(call_of(Task("lint", "linter"), instance=str(n)))
        unserved = await _run(watch, lambda row: row.queued == 3)
        await CircuitBreaker("linter", store=desk.store).force_open()
        async with remote.worker(team, worker_id="w-1"):
            served = await _run(watch, lambda row: row.queued == 2 and "breaker" in row.now)
            opened.set()

    assert (unserved.running, unserved.now) == (0, "lint: 3 in the queue (nobody serves it)")
    assert (served.running, served.now) == (1, "lint: 2 in the queue, 1 at work (breaker linter open)")


async def test_what_workers_had_begun_that_are_gone_nobody_is_at(desk, remote):
    held = Held("linter", capacity=2)
    lint_all = Plan("p", [Task("lint", "linter", placement="remote", foreach=ForEach(items=[1, 2, 3]))])
    await _claimed_by_a_scheduler(
        Journal(desk.books), lint_all, [place_of("lint", key) for key in item_keys([1, 2, 3])]
    )
    watch = Watch(desk.places())

    async with remote.held:
        gone = Worker(await remote.runtime(held.team), worker_id="w-1", lease_s=1.0)
        work = asyncio.create_task(gone.run())
        for n in range(3):
            await remote.calls.submit(call_of(Task("lint", "linter"), instance=str(n)))
        before = await _run(watch, lambda row: row.running == 2)
        # As if it were killed: nothing is heard of it any more, and it takes nothing.
        gone._beat, gone._room = asyncio.Event().wait, lambda: 0
        after = await _run(watch, lambda row: row.running == 0)
        work.cancel()
        await asyncio.wait({work})

    assert before.now == "lint: 1 in the queue, 2 at work"
    assert (after.queued, after.now) == (
        1, "lint: 1 in the queue, 2 taken by workers that are gone (nobody serves it)"
    )  # fmt: skip


async def _claimed_by_a_scheduler(journal: Journal, plan: Plan, places: Sequence[Place]) -> None:
    intent = Intent("prefect.1234")
    header = Header(plan.name, plan.hash, document=plan.to_dict(), engine_run="prefect.1234", begun_at=time.time())
    await journal.begin("r", header, intent)
    for place in places:
        await journal.claim("r", place, journal.asked(intent, "fp"), what="lint", patience_s=0)


async def _run(watch: Watch, holds) -> RunRow:
    async with asyncio.timeout(20):
        while True:
            rows = [row for row in (await watch.take()).runs.rows if holds(row)]
            if rows:
                return rows[0]
            await asyncio.sleep(0.01)


async def _queue(desk: Desk, holds) -> QueueRow:
    watch = Watch(desk.places())
    async with asyncio.timeout(20):
        while True:
            rows = [row for row in (await watch.take()).queues.rows if isinstance(row, QueueRow)]
            if rows and holds(rows[0]):
                return rows[0]
            await asyncio.sleep(0.01)


async def test_topics_tell_how_far_behind_each_group_is(desk):
    bus = EventBus(desk.log, topic="events")
    watch = Watch(desk.places())
    await bus.publish("order.paid", {"n": 1})
    await bus.publish("order.paid", {"n": 2})
    unread = (await watch.take()).queues.rows

    await desk.log.take("events", "billing", "billing-1", terms=Terms(), limit=1)
    (read,) = (await watch.take()).queues.rows

    assert [(row.group, row.lag) for row in unread if isinstance(row, GroupRow)] == [("", 2)]
    assert isinstance(read, GroupRow)
    assert (read.group, read.lag, read.claimed, read.consumers) == ("billing", 2, 1, 1)
    assert read.oldest_us is not None


# Stores that fail.


class Away:
    """A store that can be taken away."""

    def __init__(self, store) -> None:
        self._store = store
        self.is_away = False
        self.hangs = False

    def __getattr__(self, name: str):
        found = getattr(self._store, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def asked(*args, **more):
            if self.hangs:
                await asyncio.Event().wait()
            if self.is_away:
                raise Unavailable("the store was taken away; bring it back")
            return await found(*args, **more)

        return asked


@MEMORY
async def test_a_journal_that_is_away_leaves_the_other_sections_alone(desk):
    books = Away(desk.books)
    desk.books = books
    watch = Watch(desk.places())

    async with desk.at_work():
        await watch.take()
        books.is_away = True
        broken = await watch.take()
        books.is_away = False
        mended = await watch.take()

    assert broken.runs.error == "the store was taken away; bring it back"
    assert [row.run for row in broken.runs.rows] == ["news-1"]
    assert broken.runs.old_s > 0
    assert broken.head.error is None
    assert broken.head.calls_per_s is None
    assert broken.breakers.rows
    assert mended.runs.error is None


@MEMORY
async def test_a_store_that_is_away_is_told_once_and_its_sections_keep_what_they_had(desk):
    async with desk.at_work():
        desk.store = store = Away(desk.store)
        watch = Watch(desk.places())
        await watch.take()
        store.is_away = True
        broken = await watch.take()
        store.is_away = False
        mended = await watch.take()

    assert broken.head.error is not None
    assert all(getattr(broken, name).error is not None for name in ("agents", "breakers", "limits", "budgets"))
    assert broken.breakers.rows == mended.breakers.rows
    assert broken.runs.error is None
    assert mended.head.error is None
    assert "the store is away" in whole(broken)[1]


@MEMORY
async def test_a_store_that_never_answers_is_not_waited_for_forever(desk):
    desk.log = log = Away(desk.log)
    log.hangs = True

    snapshot = await Watch(desk.places(), patience_s=0.05).take()
    log.hangs = False

    assert snapshot.queues.error == "no answer within 0.05 s"
    assert snapshot.runs.error is None


@MEMORY
async def test_a_damaged_state_is_named_in_its_section(desk):
    await desk.store.update("breaker/odd", lambda _, __: Decided({"v": "?"}, None))

    snapshot = await Watch(desk.places()).take()

    assert snapshot.breakers.notes[0].startswith("breaker/odd: ")
    assert snapshot.limits.notes == ()


# Lists of names.


class Listing:
    """A state store that is asked for its names alone."""

    def __init__(self, clock: list[float], took_s: float) -> None:
        self._clock, self._took_s, self.asked = clock, took_s, 0

    async def keys(self, kind: str) -> Sequence[str]:
        self.asked += 1
        self._clock[0] += self._took_s
        return [f"{kind}/{n}" for n in range(7)]

    async def read(self, key: str) -> tuple[State | None, int]:
        return None, 0


@pytest.mark.parametrize(("took_s", "asked"), [(0.0, 10), (0.1, 5), (5.0, 1)])
async def test_names_are_listed_the_less_often_the_longer_that_takes(took_s, asked):
    clock = [0.0]
    store = Listing(clock, took_s)
    names = Remembering(store, Names(lambda: clock[0]))

    for _ in range(10):
        await names.keys("breaker")
        clock[0] += 1.0

    assert store.asked == asked


async def test_a_long_list_is_cut_and_the_rest_is_counted():
    names = Remembering(Listing([0.0], 0.0), Names(lambda: 0.0, most=3))

    assert len(await names.keys("breaker")) == 3
    assert names.hidden("breaker") == 4
