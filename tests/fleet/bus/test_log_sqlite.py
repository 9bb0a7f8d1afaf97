"""The SQLite log keeps the contract, folds what waits into one commit, and knows its bounds."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from coterie._rules.log import Message, Retention, Terms
from coterie.errors import Misuse, TopicFull, Unavailable
from coterie.ports import LogStore
from coterie.stores import log_sqlite_topics, log_sqlite_transaction
from coterie.stores.log_sqlite import SqliteLogStore
from coterie.stores.log_sqlite_transaction import LogTransaction
from coterie.stores.logs import MAX_PENDING
from coterie.testing import ManualClock
from coterie.testing.log_handles import TOPIC, Bell, append, drain, group_of, ids, message, positions, read_all, take
from tests.fleet.bus.many_histories import ManyHistories

ALL = Retention(max_messages=None)


class TestSqlite(ManyHistories):
    @pytest.fixture
    async def store(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteLogStore]:
        store = SqliteLogStore(tmp_path / "state.events.db", clock=clock)
        yield store
        await store.aclose()

    async def another(self, store: LogStore, clock: ManualClock, *, namespace: str | None = None) -> LogStore:
        return SqliteLogStore(store.url.removeprefix("sqlite://"), namespace or store.namespace, clock=clock)


class WallClock:
    """A clock that can be set, also back."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s


class Gate:
    """A work that holds the store's thread until it is let go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()

    def __call__(self, transaction: LogTransaction) -> None:
        self.reached.set()
        assert self.open.wait(20)


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
async def store(tmp_path: Path, clock: WallClock) -> AsyncIterator[SqliteLogStore]:
    # No power is cut here: only the disk's time would be lost.
    store = SqliteLogStore(tmp_path / "state.events.db", durability="relaxed", clock=clock)
    yield store
    await store.aclose()


async def traced(store: SqliteLogStore) -> list[str]:
    """What the store's own connection executes from now on."""
    statements: list[str] = []
    await store._file.done(lambda transaction: transaction.connection.set_trace_callback(statements.append))
    return statements


async def filled(store: SqliteLogStore, count: int, made: Callable[[int], Message], retention: Retention = ALL) -> None:
    for first in range(0, count, 1000):
        await append(store, *(made(number) for number in range(first, min(count, first + 1000))), retention=retention)


# Transactions


async def test_all_that_waits_is_made_durable_by_one_commit(store: SqliteLogStore):
    await append(store, "first")
    statements = await traced(store)
    gate = Gate()
    holding = asyncio.ensure_future(store._file.done(gate, writes=True))
    await asyncio.to_thread(gate.reached.wait)
    statements.clear()
    waiting = [asyncio.ensure_future(append(store, f"{number}")) for number in range(50)]
    waiting += [asyncio.ensure_future(take(store, f"consumer {number}", limit=1)) for number in range(50)]
    await asyncio.sleep(0)

    gate.open.set()
    await asyncio.gather(holding, *waiting)

    # One that held, one for all the others; the topic, and its groups, are looked up once for all.
    assert statements.count("COMMIT") == 2
    assert sum("FROM topics" in statement for statement in statements) == 1
    assert sum("FROM groups" in statement for statement in statements) == 1
    assert sum(one.held for one in (await group_of(store)).consumers) == 50


async def test_a_transaction_takes_no_more_than_it_should(store: SqliteLogStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log_sqlite_transaction, "_FULL_ROWS", 100)
    statements = await traced(store)
    gate = Gate()
    holding = asyncio.ensure_future(store._file.done(gate, writes=True))
    await asyncio.to_thread(gate.reached.wait)
    statements.clear()
    waiting = [asyncio.ensure_future(append(store, *(f"{number}/{each}" for each in range(40)))) for number in range(9)]
    await asyncio.sleep(0)

    gate.open.set()
    await asyncio.gather(holding, *waiting)

    # Three calls fill one.
    assert statements.count("COMMIT") == 1 + 3
    assert len(await read_all(store)) == 360


async def test_what_is_refused_changes_nothing_for_those_of_the_same_commit(store: SqliteLogStore):
    small = Retention(max_messages=3, when_full="refuse")
    gate = Gate()
    holding = asyncio.ensure_future(store._file.done(gate, writes=True))
    await asyncio.to_thread(gate.reached.wait)
    waiting = [
        asyncio.ensure_future(append(store, *names, retention=small)) for names in (["a", "b"], ["c", "d"], ["e"])
    ]
    await asyncio.sleep(0)

    gate.open.set()
    _, *ends = await asyncio.gather(holding, *waiting, return_exceptions=True)

    assert [type(end) for end in ends] == [list, TopicFull, list]
    assert await read_all(store) == ["a", "b", "e"]


async def test_who_is_cancelled_before_its_turn_appends_nothing(store: SqliteLogStore):
    gate = Gate()
    holding = asyncio.ensure_future(store._file.done(gate, writes=True))
    await asyncio.to_thread(gate.reached.wait)
    waiting = [asyncio.ensure_future(append(store, f"{number}")) for number in range(6)]
    await asyncio.sleep(0)
    for one in waiting[::2]:
        one.cancel()

    gate.open.set()
    await asyncio.gather(holding, *waiting, return_exceptions=True)

    assert await read_all(store) == ["1", "3", "5"]


# Bounds


async def test_with_too_many_waiting_a_group_gets_to_no_more(store: SqliteLogStore):
    await filled(store, MAX_PENDING + 1000, lambda number: message(f"{number}", key="hot"))
    await append(store, "other", retention=ALL)

    taken = await take(store)

    status = await group_of(store)
    assert (ids(taken), status.waiting, status.unread) == (["0"], MAX_PENDING, 1000)
    assert taken.due_s is None
    # As one is done with, the group gets to one more.
    assert ids(await take(store, done=positions(taken))) == ["1"]
    assert (await group_of(store)).waiting == MAX_PENDING


async def test_what_nobody_wants_is_passed_over_some_at_a_time(store: SqliteLogStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("coterie.stores.log_sqlite_take.SCANNED", 100)
    monkeypatch.setattr(log_sqlite_topics, "SCANNED", 100)
    await filled(store, 250, lambda number: message(f"{number}", type="other"))
    await append(store, message("wanted", type="made"))
    terms = Terms(types=("made",))

    looks = [await take(store, terms=terms) for _ in range(3)]

    assert [(ids(taken), taken.due_s) for taken in looks] == [([], 0.0), ([], 0.0), (["wanted"], None)]
    assert await read_all(store, types=["made"]) == ["wanted"]


async def test_much_that_is_dropped_at_once_is_gone_at_once_and_removed_by_and_by(
    store: SqliteLogStore, tmp_path: Path
):
    await take(store, limit=0)
    await filled(store, 3000, lambda number: message(f"{number}"))
    await append(store, "last", retention=Retention(max_messages=3))

    taken = await take(store)
    assert (ids(taken), taken.lost) == (["2998", "2999", "last"], 2998)
    assert await read_all(store) == ["2998", "2999", "last"]
    (answer,) = await append(store, "0", retention=Retention(max_messages=3))
    assert answer.is_duplicate
    for number in range(6):
        await append(store, f"new {number}", retention=Retention(max_messages=3))

    with sqlite3.connect(tmp_path / "state.events.db") as raw:
        assert raw.execute("SELECT count(*) FROM messages").fetchone() == (3,)
    raw.close()


async def test_no_call_hands_out_more_text_than_it_should(store: SqliteLogStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("coterie.stores.log_sqlite_take.TEXT_CHARS", 100)
    monkeypatch.setattr(log_sqlite_topics, "TEXT_CHARS", 100)
    await append(store, *(message(f"{number}", text="x" * 60) for number in range(5)))

    first = await take(store)
    assert (ids(first), first.due_s) == (["0", "1"], 0.0)
    for position in positions(first):
        await store.give_back(TOPIC, "group", "one", position)
    again = await take(store)
    assert (ids(again), again.due_s) == (["0", "1"], 0.0)
    assert ids(await store.read(TOPIC)) == ["0", "1"]
    assert await read_all(store) == ["0", "1", "2", "3", "4"]


async def test_a_change_of_terms_puts_what_waits_into_another_order(store: SqliteLogStore):
    await append(store, *(message(name, priority=level) for level, name in enumerate("abc")))
    for position in positions(await take(store)):
        await store.give_back(TOPIC, "group", "one", position)

    assert ids(await take(store, limit=1)) == ["a"]
    assert ids(await take(store, limit=1, terms=Terms(by_priority=True))) == ["c"]
    assert ids(await take(store, limit=1)) == ["b"]


async def test_what_is_requeued_comes_before_a_later_one_of_its_key_that_is_ready(store: SqliteLogStore):
    await append(store, *(message(name, key="k") for name in "abc"))
    (a,) = positions(await take(store))
    await store.give_back(TOPIC, "group", "one", a, max_deliveries=0)
    await store.requeue(TOPIC, "group", [a])

    assert ids(await take(store)) == ["a"]
    assert await drain(store, "two") == []
    await store.acknowledge(TOPIC, "group", "one", [a])
    assert await drain(store, "two") == ["b", "c"]


async def test_a_delay_counts_also_for_one_that_stands_behind_another(store: SqliteLogStore, clock: WallClock):
    await append(store, message("a", key="k"), message("b", key="k"))
    (a,) = positions(await take(store))
    await store.give_back(TOPIC, "group", "one", a, max_deliveries=0)
    (b,) = positions(await take(store))
    await store.requeue(TOPIC, "group", [a])
    await store.give_back(TOPIC, "group", "one", b, delay_s=5)

    taken = await take(store)
    assert (ids(taken), taken.due_s) == (["a"], 5.0)
    clock.now_s += 4.5
    assert (await take(store, done=[a])).due_s == 0.5
    clock.now_s += 0.5
    assert ids(await take(store)) == ["b"]


async def test_a_new_topic_that_could_not_hold_what_is_appended_is_not_begun(store: SqliteLogStore):
    with pytest.raises(TopicFull):
        await append(store, "a", "b", "c", retention=Retention(max_messages=2, when_full="refuse"))

    assert list(await store.topics()) == []


# Watching


async def test_who_unwatches_is_told_no_more_and_leaves_no_mark(store: SqliteLogStore, tmp_path: Path):
    other = SqliteLogStore(tmp_path / "state.events.db")
    told: list[str | None] = []
    bell = Bell()
    await store.watch(TOPIC, told.append)
    await store.watch("other", bell)
    await store.unwatch(TOPIC, told.append)

    await append(other, "a")
    await append(other, "b", topic="other")

    await bell.rings()
    assert told == []
    marks = list((tmp_path / "state.events.db.wake").glob("on-*/*"))
    assert len(marks) == 1
    await other.aclose()


async def test_a_place_that_cannot_hold_sockets_is_told(tmp_path: Path):
    (tmp_path / "state.events.db.wake").write_text("in the way")
    store = SqliteLogStore(tmp_path / "state.events.db")

    with pytest.raises(Unavailable, match="cannot be woken"):
        await store.watch(TOPIC, Bell())

    # Nobody can be told; the messages are there.
    await append(store, "a")
    assert await read_all(store) == ["a"]
    await store.aclose()


# Time


async def test_the_time_of_a_topic_never_goes_back(store: SqliteLogStore, clock: WallClock):
    await append(store, "a")
    clock.now_s -= 3600
    await append(store, "b")
    clock.now_s += 3601
    await append(store, "c")

    first, second, third = (await store.read(TOPIC)).messages
    assert first.at == second.at == 1_800_000_000_000_000
    assert third.at == first.at + 1_000_000
    assert await store.locate(TOPIC, third.at) == second.position


async def test_an_idle_topic_is_dropped_with_all_that_belongs_to_it(store: SqliteLogStore, clock: WallClock):
    await append(store, "a", "b", retention=Retention(idle_s=60))
    await take(store, limit=1)

    clock.now_s += 60
    assert await read_all(store) == ["a", "b"]
    await take(store)
    clock.now_s += 0.001

    assert list(await store.topics()) == []
    assert await read_all(store) == []
    assert list(await store.groups(TOPIC)) == []
    (answer,) = await append(store, "a")
    assert (answer.position, answer.is_duplicate) == ("1", False)
    assert await drain(store) == ["a"]


async def test_it_says_where_and_what_it_is(store: SqliteLogStore, tmp_path: Path):
    path = tmp_path / "state.events.db"

    assert (store.url, store.scope, store.namespace) == (f"sqlite://{path}", "machine", "default")
    assert repr(store) == f"SqliteLogStore({str(path)!r}, 'default', durability='relaxed')"


def test_a_place_that_cannot_be_is_refused(tmp_path: Path):
    with pytest.raises(Misuse, match="relative"):
        SqliteLogStore("state.events.db")
    with pytest.raises(Misuse, match="namespace"):
        SqliteLogStore(tmp_path / "state.events.db", "a/b")
