"""How the SQLite journal reads long shelves, keeps its log short, lists and removes runs."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from coterie.stores import journal_sqlite_tables, sqlite_thread
from coterie.stores.journal_sqlite import SqliteJournalStore
from coterie.stores.journal_sqlite_tables import JournalTables, JournalTransaction
from coterie.testing.journal_handles import all_runs, count_up
from tests.fleet.journal.tools import Gate, WallClock, asked, raw, traced


@pytest.fixture
def store(sqlite_journal: SqliteJournalStore) -> SqliteJournalStore:
    return sqlite_journal


# Reading, and the log


async def test_a_long_shelf_is_read_in_several_transactions(store: SqliteJournalStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal_sqlite_tables, "_READ_ROWS", 100)
    texts = {f"p{n:04}": f"{n}" for n in range(1000)}
    await store.write("one", texts)
    statements = await traced(store)

    assert await store.read("one") == texts

    assert statements.count("BEGIN") >= 10


async def test_large_texts_are_read_some_at_a_time(store: SqliteJournalStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal_sqlite_tables, "_READ_BYTES", 1000)
    texts = {f"p{n}": f"{n}" * 500 for n in range(10)}
    await store.write("one", texts)
    statements = await traced(store)

    assert await store.read("one") == texts

    assert statements.count("BEGIN") >= 4


async def test_the_log_is_written_over_and_over_while_others_read(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal_sqlite_tables, "_LOG_PAGES", 50)
    writer, reader = SqliteJournalStore(path), SqliteJournalStore(path)
    await writer.write("one", {"a": "1"})
    statements = await traced(writer)
    reading = asyncio.ensure_future(_read_until_cancelled(reader))

    for n in range(600):
        await writer.write("one", {f"p{n % 10}": f"{n}" * 1000})

    reading.cancel()
    # One time in thirty commits.
    assert 15 < statements.count("PRAGMA wal_checkpoint(PASSIVE)") < 25
    # Over 1200 pages were written; a page of the log is a little larger than one of the database.
    assert path.with_name(f"{path.name}-wal").stat().st_size < 400 * 4200
    await writer.aclose()
    await reader.aclose()


async def _read_until_cancelled(store: SqliteJournalStore) -> None:
    while True:
        await store.read("one")


async def test_a_log_that_others_made_long_is_begun_anew(path: Path, monkeypatch: pytest.MonkeyPatch):
    for setting in ("_LOG_PAGES", "_LOG_COMMITS", "_MOST_LOG_PAGES"):
        monkeypatch.setattr(journal_sqlite_tables, setting, 50)
    store = SqliteJournalStore(path)
    await store.write("one", {"a": "1"})
    statements = await traced(store)
    with raw(path) as other:
        other.execute("PRAGMA wal_autocheckpoint=0")
        # Holds what it has seen, so that the log cannot begin anew.
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM texts").fetchone()
        for n in range(100):
            await store.write("one", {"a": f"{n}" * 2000})
        other.execute("ROLLBACK")
        for n in range(100):
            await store.write("one", {"a": f"{n}" * 2000})

    assert "PRAGMA wal_checkpoint(RESTART)" in statements
    assert await asked(store, "PRAGMA busy_timeout") == 0
    await store.aclose()


async def test_nobody_waits_for_the_log_to_be_moved(store: SqliteJournalStore, monkeypatch: pytest.MonkeyPatch):
    moving, go_on = threading.Event(), threading.Event()

    def tend(tables: JournalTables, connection: object) -> None:
        moving.set()
        assert go_on.wait(20)

    monkeypatch.setattr(JournalTables, "tend", tend)

    await store.write("one", {"a": "1"})

    assert await asyncio.to_thread(moving.wait, 20)
    go_on.set()
    assert await store.read("one") == {"a": "1"}


# Time, and removal


async def test_an_entry_lags_behind_by_half_a_minute_at_most(path: Path, clock: WallClock):
    store = SqliteJournalStore(path, clock=clock)

    async def changed() -> float:
        (entry,) = (await store.runs(limit=1)).runs
        return entry.changed_at / 1e6 - 1_800_000_000

    await store.write("one", {"a": "1"})
    clock.now_s += 29
    await store.write("one", {"a": "2"})
    assert await changed() == 0
    clock.now_s += 1
    await store.change("one", ["n"], count_up())
    assert await changed() == 30
    clock.now_s -= 3600
    await store.write("one", {"a": "3"}, shelf="s")
    assert await changed() == 30
    await store.aclose()


async def test_a_clock_that_goes_back_does_not_turn_the_list_around(path: Path, clock: WallClock):
    store = SqliteJournalStore(path, clock=clock)
    await store.write("first", {"a": "1"})
    clock.now_s -= 3600
    await store.write("second", {"a": "1"})

    assert await all_runs(store, limit=1) == ["second", "first"]
    assert await store.get("none", []) == ({}, 1_799_996_400_000_000)
    await store.aclose()


async def test_the_list_and_a_shelf_are_found_by_their_index(store: SqliteJournalStore, path: Path):
    await store.write("one", {"a": "1"})
    statements = await traced(store)
    await store.runs(limit=10)
    await store.read("one")
    await store.get("one", ["a"])

    with raw(path) as other:
        plans = [
            step
            for statement in statements
            if statement.startswith("SELECT")
            for (_, _, _, step) in other.execute(f"EXPLAIN QUERY PLAN {statement}")
        ]

    assert len(plans) == 5
    # No scan of a table, no sorting.
    assert all(plan.startswith("SEARCH") for plan in plans), plans


async def test_a_removal_that_was_cut_short_is_ended_in_passing(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal_sqlite_tables, "_REMOVED_ROWS", 10)
    store = SqliteJournalStore(path)
    await store.write("one", {f"p{n}": "x" for n in range(25)})
    await store.write("two", {"a": "1"})
    # As where the process is killed next.
    await store._file.done(lambda transaction: transaction.remove("one"), writes=True)
    await store.aclose()

    monkeypatch.setattr(sqlite_thread, "_SWEEP_S", -1.0)
    later = SqliteJournalStore(path)
    assert (await later.read("one"), await all_runs(later)) == ({}, ["two"])
    for n in range(4):
        await later.write("two", {"a": f"{n}"})

    with raw(path) as other:
        assert other.execute("SELECT path, text FROM texts").fetchall() == [("a", "3")]
        assert other.execute("SELECT count(*) FROM removed").fetchone() == (0,)
    await later.aclose()


async def test_what_is_removed_as_soon_as_it_is_written_leaves_no_text_behind(store: SqliteJournalStore, path: Path):
    gate = Gate()
    holding = asyncio.ensure_future(store.change("held", ["x"], gate))
    await asyncio.to_thread(gate.reached.wait)
    ends = [
        asyncio.ensure_future(store.write("one", {"a": "1"})),
        asyncio.ensure_future(store.remove("one")),
        # As another, who removes something else, in the same transaction.
        asyncio.ensure_future(store._file.done(JournalTransaction.clear, writes=True)),
    ]
    await asyncio.sleep(0)

    gate.open.set()
    await holding
    await asyncio.gather(*ends)

    with raw(path) as other:
        for table in ("runs", "texts", "removed"):
            assert other.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


async def test_a_removal_leaves_no_text_behind(store: SqliteJournalStore, path: Path):
    await store.write("one", {f"p{n}": "x" for n in range(5000)})
    await store.write("one", {f"p{n}": "x" for n in range(100)}, shelf="s")

    await store.remove("one")

    with raw(path) as other:
        for table in ("runs", "texts", "removed"):
            assert other.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
