"""A worker whose stores are away when a task ends: it insists, is told so once, and is stopped by what may stop it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from coterie import Task, TaskContext, Team
from coterie._rules.journal import Granted
from coterie.errors import ClaimedElsewhere, Unavailable
from coterie.journal import Intent, Journal, handing_back
from coterie.journal.place import place_of
from coterie.remote import Worker, performing
from coterie.runtime import Runtime
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.testing import FaultyJournalStore, FaultyLogStore, FaultyStateStore
from tests.fleet.remote.fleet import Fleet, call_of, eventually, until
from tests.fleet.remote.held import Held, held_call, names_told, submitted, waited


class Cut:
    """A worker whose way to all stores can be cut, and its work."""

    def __init__(self, fleet: Fleet, **more: Any) -> None:
        self.state, self.log = FaultyStateStore(fleet.store), FaultyLogStore(fleet.log)
        self.books = FaultyJournalStore(fleet.books)
        self.fleet, self.more = fleet, more

    async def begin(self, team: Team) -> asyncio.Task[None]:
        journal = Journal(self.books, lease_s=1.0)
        self.runtime = Runtime(team, store=self.state, log=self.log, journal=journal)
        self.worker = Worker(await self.fleet.held.enter_async_context(self.runtime), **self.more)
        work = asyncio.create_task(self.worker.run())
        await until(lambda: self.worker.status()["ready"] is True or work.done())
        return work

    def cut(self, is_cut: bool = True) -> None:
        self.state.down = self.log.down = self.books.down = "refusing" if is_cut else None


async def ended(worker: Worker, work: asyncio.Task[None]) -> None:
    worker.stop()
    await asyncio.wait_for(work, 20)


@pytest.mark.parametrize("keeps", ["result", "steps"])
async def test_an_outage_is_told_once_when_it_begins_and_once_when_it_is_over(
    fleet: Fleet, caplog: pytest.LogCaptureFixture, keeps: Any
):
    held, one = Held(), Cut(fleet)
    work = await one.begin(held.team)
    calls = [call_of(Task(f"t{n}", "held"), keeps=keeps) for n in range(4)]
    await submitted(fleet, *calls)
    await until(lambda: len(held.began) == 4)
    with caplog.at_level(logging.INFO):
        one.books.down = one.state.down = "refusing"
        held.release.set()
        await until(lambda: one.books.calls.count(("write", "r" if keeps == "result" else _book(calls[0]))) >= 2)
        one.books.down = None
        await until(lambda: "call.store_away" in caplog.text)
        one.state.down = None
        ends = [(await waited(fleet, call)).output for call in calls]
        await ended(one.worker, work)

    told = [record.getMessage().split()[0].rstrip(":") for record in caplog.records if record.levelno >= logging.INFO]
    assert sorted(ends) == sorted(held.began) == ["t0", "t1", "t2", "t3"]
    for what in ("journal.store_away", "journal.store_back", "call.store_away", "call.store_back"):
        assert told.count(what) == 1, told


def _book(call: Any) -> str:
    return f"call.{call.id}"


@pytest.mark.parametrize("keeps", ["result", "steps"])
async def test_a_step_that_cannot_be_recorded_for_a_while_is_recorded_then_and_its_agent_goes_on(
    fleet: Fleet, keeps: Any
):
    team, one, did = Team("worker"), Cut(fleet), list[str]()

    @team.agent("stepping")
    async def stepping(_: dict[str, Any], context: TaskContext) -> str:
        did.append("begun")

        async def pay() -> str:
            did.append("paid")
            one.books.down = "refusing"
            return "paid"

        return await context.step("pay", pay)

    work = await one.begin(team)
    call = call_of(Task("t", "stepping"), keeps=keeps)
    await submitted(fleet, call)
    await until(lambda: one.books.down is not None and one.books.calls[-3:].count(one.books.calls[-1]) == 3)
    one.books.down = None
    result = await waited(fleet, call)
    await ended(one.worker, work)

    assert (result.output, did) == ("paid", ["begun", "paid"])


@pytest.mark.parametrize("keeps", ["result", "steps"])
async def test_who_was_away_for_longer_than_its_lease_ends_nothing_that_another_took_over(fleet: Fleet, keeps: Any):
    first, second, one = Held(), Held(), Cut(fleet, lease_s=1.0)
    work = await one.begin(first.team)
    call = call_of(Task("t", "held"), keeps=keeps)
    await submitted(fleet, call)
    await until(lambda: first.began == ["t"])
    one.cut()
    first.release.set()
    async with fleet.worker(second.team, worker_id="second"):
        await until(lambda: second.began == ["t"])
        one.cut(False)
        await until(lambda: one.worker.in_use == 0)
        running = await fleet.calls.look(call.id)
        second.release.set()
        result = await waited(fleet, call)
        last = await fleet.calls.look(call.id)
    await ended(one.worker, work)

    assert (running.phase, running.worker, result.output) == ("running", "second", "t")
    assert (last.worker, last.attempt) == ("second", running.attempt)
    assert "task.completed" not in [
        one_told.event.name
        async for one_told in one.runtime.bus.replay()
        if one_told.event.data.get("worker") == one.worker.id
    ]


@pytest.mark.parametrize("keeps", ["result", "steps"])
@pytest.mark.parametrize("how", ["cancelled", "drained"])
async def test_an_end_that_is_insisted_on_holds_up_neither_a_cancellation_nor_a_drain(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, keeps: Any, how: str
):
    monkeypatch.setattr(handing_back, "HAND_BACK_S", 0.2)
    held, one = Held(), Cut(fleet, graceful_shutdown_timeout_s=0.2)
    work = await one.begin(held.team)
    call = call_of(Task("t", "held"), keeps=keeps)
    await submitted(fleet, call)
    await until(lambda: held.began == ["t"])
    one.books.down = "refusing"
    held.release.set()
    await until(lambda: [what for what, _ in one.books.calls].count("write") >= 2)
    if how == "cancelled":
        assert await fleet.calls.cancel(call.id, by="me")
        await until(lambda: one.worker.in_use == 0)
    await ended(one.worker, work)

    status = await fleet.calls.look(call.id)
    assert (status.phase, status.result) == ("cancelled" if how == "cancelled" else "queued", None)


async def test_a_claim_that_could_not_be_handed_back_is_not_taken_for_somebody_elses(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(performing, "_AWAY_S", (0.05,))
    held = Held()
    held.release.set()
    gone = Unavailable("the journal store is down for a moment")
    # The first is the run's header, the second the claim; then it is handed back, twice in vain.
    script = {(2, "after"): gone, (3, "before"): gone, (4, "before"): gone}
    books = FaultyJournalStore(fleet.books, script)  # type: ignore[arg-type]
    runtime = Runtime(held.team, store=fleet.store, log=fleet.log, journal=Journal(books))
    worker = Worker(await fleet.held.enter_async_context(runtime))
    work = asyncio.create_task(worker.run())
    call = held_call()
    await submitted(fleet, call)
    result = await waited(fleet, call)

    async def is_told() -> bool:
        return "task.completed" in await names_told(fleet, runtime)

    await eventually(is_told)
    await ended(worker, work)
    whys = [one.event.data["why"] async for one in runtime.bus.replay() if one.event.name == "task.returned"]
    assert (result.output, held.began, whys) == ("t", ["t"], ["failed"])


async def test_a_claim_that_could_not_be_handed_back_is_handed_back_once_the_store_answers():
    books, place = MemoryJournalStore(), place_of("t")
    faulty = FaultyJournalStore(books)
    mine, others = Journal(faulty), Journal(books)

    async def claimed(journal: Journal) -> Any:
        return await journal.claim("r", place, journal.asked(Intent()), what="'t'", patience_s=0.0)

    granted = await claimed(mine)
    assert isinstance(granted, Granted)
    faulty.down = "refusing"
    with pytest.raises(Unavailable):
        await mine.hand_back("r", place.pulse, granted.guard, is_all=True)
    with pytest.raises(Unavailable):
        await mine.hand_back_left()
    faulty.down = None
    with pytest.raises(ClaimedElsewhere):
        await claimed(others)
    await mine.hand_back_left()

    assert isinstance(await claimed(others), Granted)
    with pytest.raises(ClaimedElsewhere):
        await claimed(mine)
