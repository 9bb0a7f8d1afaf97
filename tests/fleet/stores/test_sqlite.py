"""The SQLite store keeps the contract, whatever happens around it; its files: test_sqlite_files.py."""

# Files of tests are small and near.

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coterie._rules.decided import Decided, Signal, State
from coterie.errors import Misuse, Unavailable
from coterie.ports import StateStore
from coterie.stores import sqlite_access, sqlite_file, sqlite_thread
from coterie.stores.sqlite import SqliteStateStore
from coterie.testing.states import StateStoreContract


class TestSqlite(StateStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteStateStore]:
        store = SqliteStateStore(tmp_path / "home" / "state.db")
        yield store
        await store.aclose()

    async def another(self, store: StateStore, *, namespace: str | None = None) -> StateStore:
        return SqliteStateStore(store.url.removeprefix("sqlite://"), namespace or store.namespace)


class WallClock:
    """A clock that can be set."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStateStore]:
    store = SqliteStateStore(path)
    yield store
    await store.aclose()


def put(state: State | None, *signals: Signal):
    return lambda old, now: Decided(state, None, signals)


def add(old: State | None, now: int) -> Decided[int]:
    count = old["n"] + 1 if old is not None else 1  # type: ignore[operator]  # it is an integer
    return Decided({"n": count}, count)


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


class Gate:
    """A decision that holds the store's thread until it is let go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()

    def __call__(self, old: State | None, now: int) -> Decided[None]:
        self.reached.set()
        assert self.open.wait(20)
        return Decided(old, None)


# Transactions


async def test_all_that_waits_is_folded_into_one_transaction(store: SqliteStateStore):
    statements: list[str] = []
    await store._file.done(lambda transaction: (transaction._connection.set_trace_callback(statements.append), ()))
    gate = Gate()
    holding = asyncio.ensure_future(store.update("limit/x", gate))
    await asyncio.to_thread(gate.reached.wait)
    statements.clear()
    waiting = [asyncio.ensure_future(store.update(f"limit/k{n % 2}", add)) for n in range(50)]
    await asyncio.sleep(0)

    gate.open.set()
    await asyncio.gather(holding, *waiting)

    # One that held, one for all the others: a look and a write for each key.
    assert sum(statement.startswith("BEGIN") for statement in statements) == 1
    assert sum(statement.startswith("INSERT") for statement in statements) == 2


async def test_the_loop_goes_on_while_a_decision_takes_its_time(store: SqliteStateStore):
    gate = Gate()
    holding = asyncio.ensure_future(store.update("limit/x", gate))

    await asyncio.to_thread(gate.reached.wait)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not holding.done()

    gate.open.set()
    await holding


async def test_who_is_cancelled_before_its_turn_changes_nothing(store: SqliteStateStore):
    gate = Gate()
    holding = asyncio.ensure_future(store.update("limit/y", gate))
    await asyncio.to_thread(gate.reached.wait)
    waiting = [asyncio.ensure_future(store.update("limit/x", add)) for _ in range(10)]
    await asyncio.sleep(0)
    for one in waiting[::2]:
        one.cancel()

    gate.open.set()
    await holding
    ends = await asyncio.gather(*waiting, return_exceptions=True)

    assert [end for end in ends if isinstance(end, int)] == [1, 2, 3, 4, 5]
    assert (await store.read("limit/x"))[0] == {"n": 5}


async def test_a_decision_that_changes_nothing_writes_nothing(store: SqliteStateStore, path: Path):
    await store.update("pool/x", put({"n": 1}))
    with raw(path) as other:
        before = other.execute("PRAGMA data_version").fetchone()

        await store.update("pool/x", lambda old, now: Decided(old, None))
        await store.update("pool/none", lambda old, now: Decided(old, None))
        assert other.execute("PRAGMA data_version").fetchone() == before

        await store.update("pool/x", put({"n": 2}))
        assert other.execute("PRAGMA data_version").fetchone() != before


async def test_a_transaction_that_cannot_be_stored_fails_all_who_were_in_it(store: SqliteStateStore):
    def fail(old: State | None, now: int) -> Decided[None]:
        raise KeyError("decided on what was never stored")

    inbox: list[str | None] = []
    await store.subscribe("pool/x", inbox.append)
    # Pages, of 4 KiB: as on a disk that is full.
    await store._file.done(
        lambda transaction: (transaction._connection.execute("PRAGMA max_page_count=8").fetchall(), ())
    )
    large: State = {"text": "x" * 200_000}

    ends = await asyncio.gather(
        store.update("pool/x", put(large, Signal("pool/x", "never"))),
        store.update("pool/x", fail),
        store.update("pool/y", add),
        return_exceptions=True,
    )

    assert [type(end) for end in ends] == [Unavailable] * 3
    assert all("make room" in str(end) and isinstance(end.__cause__, sqlite3.Error) for end in ends)  # type: ignore[union-attr]
    assert await store.keys("pool") == []
    assert await store.update("pool/y", add) == 1
    assert inbox == []


async def test_a_lock_that_another_program_holds_makes_the_store_unavailable(path: Path):
    store = SqliteStateStore(path, patience_s=0.2)
    await store.update("limit/x", add)
    with raw(path) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(Unavailable, match=r"within 0\.2 s"):
            await store.update("limit/x", add)
        other.execute("ROLLBACK")

    assert await store.update("limit/x", add) == 2
    await store.aclose()


async def test_many_may_open_a_new_database_at_once(tmp_path: Path):
    for attempt in range(5):
        stores = [SqliteStateStore(tmp_path / f"{attempt}" / "state.db") for _ in range(12)]

        counts = await asyncio.gather(*(store.update("limit/x", add) for store in stores))

        assert sorted(counts) == list(range(1, 13))
        await asyncio.gather(*(store.aclose() for store in stores))


async def test_who_finds_others_at_the_opening_tries_again(path: Path, monkeypatch: pytest.MonkeyPatch):
    failed = threading.Event()

    def watched(path: Path, form: sqlite_file.Form) -> sqlite3.Connection:
        try:
            return sqlite_file.open_database(path, form)
        except sqlite3.OperationalError:
            failed.set()
            raise

    monkeypatch.setattr(sqlite_file, "_OPENING_S", 0.0)
    monkeypatch.setattr(sqlite_thread, "open_database", watched)
    store = SqliteStateStore(path)
    with raw(path) as other:
        other.execute("BEGIN EXCLUSIVE")
        adding = asyncio.ensure_future(store.update("limit/x", add))
        assert await asyncio.to_thread(failed.wait, 20)
        other.execute("ROLLBACK")

    assert await adding == 1
    await store.aclose()


# Time


async def test_a_state_is_dropped_once_its_time_is_over(path: Path):
    clock = WallClock()
    store = SqliteStateStore(path, clock=clock)
    await store.update("pool/x", put({"n": 1}), keep_s=10)
    await store.update("pool/y", put({"n": 1}))

    clock.now_s += 9.9
    assert await store.keys("pool") == ["pool/x", "pool/y"]
    clock.now_s -= 3600
    assert await store.keys("pool") == ["pool/x", "pool/y"]
    clock.now_s += 3600.1
    assert await store.keys("pool") == ["pool/y"]
    assert await store.read("pool/x") == (None, 1_800_000_010_000_000)
    assert await store.update("pool/x", add) == 1
    await store.aclose()


async def test_expired_states_are_removed_in_passing(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite_thread, "_SWEEP_S", -1.0)
    clock = WallClock()
    store = SqliteStateStore(path, clock=clock)
    for name in "abc":
        await store.update(f"pool/{name}", put({"n": 1}), keep_s=10)
    clock.now_s += 10

    await store.update("limit/x", add)

    with raw(path) as other:
        assert other.execute("SELECT key FROM states").fetchall() == [("limit/x",)]
    await store.aclose()


# Forks; see also test_sqlite_processes.py


async def test_a_fork_waits_for_the_transaction_that_runs(store: SqliteStateStore):
    gate, order = Gate(), []

    def decide(old: State | None, now: int) -> Decided[None]:
        gate(old, now)
        order.append("decided")
        return Decided(None, None)

    def before_fork() -> None:
        sqlite_access._before_fork()
        order.append("forking")

    holding = asyncio.ensure_future(store.update("limit/x", decide))
    await asyncio.to_thread(gate.reached.wait)
    forking = threading.Thread(target=before_fork)
    forking.start()
    # Time enough to do it too early.
    await asyncio.to_thread(forking.join, 0.05)
    gate.open.set()
    await asyncio.to_thread(forking.join)
    sqlite_access._after_fork(in_child=False)

    await holding
    assert order == ["decided", "forking"]
    assert await store.update("limit/x", add) == 1


# The end


async def test_closing_ends_what_was_begun(path: Path):
    store = SqliteStateStore(path)
    begun = [asyncio.ensure_future(store.update("limit/x", add)) for _ in range(20)]
    await asyncio.sleep(0)

    await store.aclose()

    assert sorted(await asyncio.gather(*begun)) == list(range(1, 21))
    # The last to close leaves the database alone behind.
    assert [left.name for left in path.parent.iterdir()] == ["state.db"]


async def test_closing_does_not_wait_for_a_thread_that_hangs(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite_access, "_CLOSING_S", 0.05)
    store, gate = SqliteStateStore(path), Gate()
    holding = asyncio.ensure_future(store.update("limit/x", gate))
    await asyncio.to_thread(gate.reached.wait)

    await store.aclose()
    assert not holding.done()

    gate.open.set()
    await holding


async def test_a_store_that_is_dropped_takes_its_thread_along(path: Path):
    store = SqliteStateStore(path)
    await store.update("limit/x", add)
    (thread,) = [one for one in threading.enumerate() if one.name == "coterie-state-state.db"]

    del store
    gc.collect()

    await asyncio.to_thread(thread.join, 20)
    assert not thread.is_alive()


def test_a_store_serves_one_event_loop_after_the_other(path: Path):
    store = SqliteStateStore(path)
    told: list[str | None] = []

    async def use(close: bool) -> None:
        other = SqliteStateStore(path)
        done = asyncio.Event()
        await store.subscribe("pool/x", lambda message: (told.append(message), done.set()))
        await other.update("pool/x", put({"n": 1}, Signal("pool/x", f"{close}")))
        async with asyncio.timeout(20):
            await done.wait()
        await other.aclose()
        if close:
            await store.aclose()

    asyncio.run(use(False))
    asyncio.run(use(True))

    assert told == ["False", "True"]


async def test_a_second_running_loop_may_not_subscribe(store: SqliteStateStore):
    await store.subscribe("pool/x", lambda message: None)

    async def subscribe() -> None:
        await store.subscribe("pool/x", lambda message: None)

    with pytest.raises(Misuse, match="another event loop"):
        await asyncio.to_thread(asyncio.run, subscribe())
