"""A worker whose clock is wrong says so, and so does its registration."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from coterie._rules.decided import Decided, State
from coterie.errors import Unavailable
from coterie.remote import Worker, list_workers
from coterie.remote import clock as clocks
from coterie.remote.clock import WorkerClock, off_in_words
from coterie.remote.registry import Registration
from coterie.stores.memory import MemoryStateStore
from coterie.testing import ManualClock
from tests.fleet.remote.fleet import Fleet, eventually, until
from tests.fleet.remote.held import Held, held_call, submitted, waited

NOW_S = 1_700_000_000.0


class Wrong:
    """A clock that goes, and is off by so much."""

    def __init__(self, off_s: float) -> None:
        self.off_s = off_s

    def now(self) -> float:
        return time.time() + self.off_s

    def monotonic(self) -> float:
        return time.perf_counter()


class Asked(MemoryStateStore):
    """Whose clock stands still. takes_s: how far the asker's clock gets while it answers."""

    def __init__(self, asker: ManualClock | None = None) -> None:
        super().__init__(clock=ManualClock(NOW_S))
        self.asker = asker
        self.takes_s = 0.0
        self.is_away = False
        self.reads = 0

    async def read(self, key: str) -> tuple[State | None, int]:
        self.reads += 1
        if self.is_away:
            raise Unavailable("away")
        if self.asker is not None:
            self.asker.advance(self.takes_s)
        return await super().read(key)


@pytest.fixture
def looks_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "LOOK_S", 0.0)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record for record in caplog.records if record.getMessage().startswith("worker.clock_")]
    assert {record.levelno for record in found} <= {logging.WARNING}
    return [record.getMessage() for record in found]


async def offs(store: MemoryStateStore) -> dict[str, float | None]:
    return {each.id: each.clock_off_s for each in await list_workers(store)}


@asynccontextmanager
async def worker_of(fleet: Fleet, clock: Wrong, held: Held, worker_id: str) -> AsyncIterator[None]:
    worker = Worker(await fleet.runtime(held.team, clock=clock), worker_id=worker_id, lease_s=1.0)
    work = asyncio.create_task(worker.run())
    await until(lambda: worker.status()["ready"] is True or work.done())
    yield
    worker.stop()
    await asyncio.wait_for(work, 20)


async def test_a_worker_whose_clock_is_off_says_so_once_and_others_see_it(
    fleet: Fleet, caplog: pytest.LogCaptureFixture, looks_always: None
):
    held = Held()
    held.release.set()
    call = held_call()
    async with fleet.worker(Held("other").team, worker_id="right"), worker_of(fleet, Wrong(-600), held, "wrong"):
        await submitted(fleet, call)
        assert (await waited(fleet, call)).output == "t"
        before = await heard_of(fleet)
        for _ in range(2):
            before = await later_than(fleet, before)
        found = await offs(fleet.store)

    assert found["right"] == pytest.approx(0, abs=0.5)
    assert found["wrong"] == pytest.approx(-600, abs=0.5)
    (line,) = said(caplog)
    assert line.startswith("worker.clock_off wrong: its clock is 10 min behind the store's: ")
    assert "NTP" in line


async def test_it_says_when_the_clock_is_right_again_and_its_registration_follows(
    fleet: Fleet, caplog: pytest.LogCaptureFixture, looks_always: None
):
    clock = Wrong(7)
    async with worker_of(fleet, clock, Held(), "w"):
        before = await offs(fleet.store)
        clock.off_s = 0.0

        async def is_right() -> bool:
            return abs((await offs(fleet.store))["w"] or 0.0) < clocks.OFF_S

        await eventually(is_right)

    off, right = said(caplog)
    assert before == {"w": pytest.approx(7, abs=0.5)}
    assert "7 s ahead of the store's" in off
    assert right == "worker.clock_right w: its clock and the store's agree again"


async def heard_of(fleet: Fleet) -> object:
    """When the wrong one last reported, by its registration."""
    state, _ = await fleet.store.read("worker/wrong")
    return state and (state["t0"], state["seen"])


async def later_than(fleet: Fleet, before: object) -> object:
    async def is_later() -> bool:
        return await heard_of(fleet) != before

    await eventually(is_later)
    return await heard_of(fleet)


@pytest.mark.parametrize(
    ("off_s", "is_told", "words"),
    [
        (0.0, False, ""),
        (0.999, False, ""),
        (-0.999, False, ""),
        (1.0, True, "1 s ahead of the store's"),
        (-1.0, True, "1 s behind the store's"),
        (3600.0 * 5, True, "5 h 0 min ahead of the store's"),
    ],
)
async def test_less_than_a_second_is_no_matter(off_s, is_told, words, caplog):
    clock = WorkerClock(Asked(), "w", "worker/w", now=lambda: NOW_S + off_s)

    await clock.look()

    assert clock.off_s == pytest.approx(off_s)
    assert [off_in_words(clock.off_s)] * is_told == [words] * is_told
    assert len(said(caplog)) == is_told
    assert words in "".join(said(caplog))


async def test_time_on_the_way_is_not_taken_for_a_wrong_clock(caplog, looks_always):
    clock = ManualClock(NOW_S)
    store = Asked(clock)
    looking = WorkerClock(store, "w", "worker/w", now=clock.now)
    store.takes_s = 30.0

    await looking.look()

    assert (looking.off_s, said(caplog)) == (None, [])


async def test_but_one_that_is_off_by_more_than_that_is_found(caplog, looks_always):
    clock = ManualClock(NOW_S + 600)
    store = Asked(clock)
    looking = WorkerClock(store, "w", "worker/w", now=clock.now)
    store.takes_s = 4.0

    await looking.look()

    assert looking.off_s == pytest.approx(602)
    assert "10 min ahead of" in said(caplog)[0]


async def test_a_clock_that_is_set_while_it_is_looked_at_is_looked_at_again(caplog, looks_always):
    # Set back by ten minutes, between the two times that it is read.
    read = iter([NOW_S + 600, NOW_S, NOW_S, NOW_S])
    looking = WorkerClock(Asked(), "w", "worker/w", now=lambda: next(read))

    await looking.look()
    before = looking.off_s
    await looking.look()

    assert (before, looking.off_s, said(caplog)) == (None, 0.0, [])


async def test_it_is_looked_at_every_half_minute_and_at_once_after_a_store_that_was_away():
    store = Asked()
    looking = WorkerClock(store, "w", "worker/w", now=lambda: NOW_S)
    store.is_away = True

    await looking.look()
    store.is_away = False
    await looking.look()
    for _ in range(5):
        await looking.look()

    assert (looking.off_s, store.reads) == (0.0, 2)


async def test_what_is_not_known_is_not_in_a_registration():
    store = Asked()
    store.is_away = True
    registration = Registration(store, "w", "session", ["t"], lease_s=15, now=lambda: NOW_S)
    await registration.enlist(1)
    store.is_away = False
    before = await offs(store)

    # The first report finds out, and the next one says it.
    assert await registration.report(in_use=0, is_draining=False)
    assert await registration.report(in_use=0, is_draining=False)

    assert (before, await offs(store)) == ({"w": None}, {"w": 0.0})


async def test_a_clock_at_the_epoch_is_told_in_as_many_digits_as_stores_keep():
    store = Asked()
    await Registration(store, "w", "session", ["t"], lease_s=15, now=lambda: 0.0).enlist(1)
    state, _ = await store.read("worker/w")

    assert await offs(store) == {"w": -NOW_S}
    assert state is not None
    assert all(len(str(abs(value))) <= 14 for value in state.values() if isinstance(value, int))


async def test_a_report_under_an_id_that_is_another_s_changes_nothing():
    store = Asked()
    await Registration(store, "w", "theirs", ["t"], lease_s=1000, now=lambda: NOW_S).enlist(1)
    ours = Registration(store, "w", "ours", ["t"], lease_s=15, now=lambda: NOW_S + 600)

    first = await ours.report(in_use=0, is_draining=False)
    second = await ours.report(in_use=0, is_draining=False)

    assert (first, second, await offs(store)) == (False, False, {"w": 0.0})


async def test_the_registration_of_a_version_that_says_nothing_of_its_clock_is_read():
    store = Asked()
    await Registration(store, "w", "session", ["t"], lease_s=15, now=lambda: NOW_S + 600).enlist(1)

    def older(state: State | None, _: int) -> Decided[None]:
        assert state is not None
        return Decided({name: value for name, value in state.items() if name != "clock_off_ms"}, None)

    before = await offs(store)
    await store.update("worker/w", older)

    assert (before, await offs(store)) == ({"w": 600.0}, {"w": None})
