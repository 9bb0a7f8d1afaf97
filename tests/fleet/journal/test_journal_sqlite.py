"""The SQLite journal keeps the contract, whatever happens around it; see also test_journal_log.py, …_files.py."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coterie._rules.written import Guard
from coterie.errors import Misuse, StaleToken, Unavailable
from coterie.ports import Durability, JournalStore
from coterie.stores import journal_sqlite_tables
from coterie.stores.journal_sqlite import SqliteJournalStore
from coterie.testing.journal_handles import all_runs, count_up, look, put
from coterie.testing.journals import JournalStoreContract
from tests.fleet.journal.tools import Gate, asked, raw, traced


class TestSqlite(JournalStoreContract):
    @pytest.fixture
    async def store(self, path: Path) -> AsyncIterator[SqliteJournalStore]:
        store = SqliteJournalStore(path)
        yield store
        await store.aclose()

    async def another(self, store: JournalStore, *, namespace: str | None = None) -> JournalStore:
        return SqliteJournalStore(store.url.removeprefix("sqlite://"), namespace or store.namespace)


@pytest.fixture
def store(sqlite_journal: SqliteJournalStore) -> SqliteJournalStore:
    return sqlite_journal


# Durability


@pytest.mark.parametrize(("durability", "synchronous"), [("strict", 2), ("relaxed", 1)])
async def test_it_is_as_durable_as_it_says(path: Path, durability: Durability, synchronous: int):
    store = SqliteJournalStore(path, durability=durability)
    await store.write("one", {"a": "1"})

    assert store.durability == durability
    assert await asked(store, "PRAGMA synchronous") == synchronous
    assert await asked(store, "PRAGMA journal_mode") == "wal"
    await store.aclose()


def test_strict_is_what_it_is_if_nobody_says(path: Path):
    assert SqliteJournalStore(path).durability == "strict"


@pytest.mark.parametrize("durability", ["none", "", "FULL", None])
def test_what_a_file_cannot_be_is_refused(path: Path, durability: Durability):
    with pytest.raises(Misuse, match="'strict' or 'relaxed'"):
        SqliteJournalStore(path, durability=durability)


# Transactions


async def test_all_that_waits_is_made_durable_by_one_commit(store: SqliteJournalStore):
    await store.write("one", {"claim": "mine"})
    statements = await traced(store)
    gate = Gate()
    holding = asyncio.ensure_future(store.change("held", ["x"], gate))
    await asyncio.to_thread(gate.reached.wait)
    statements.clear()
    guard = Guard("claim", "mine")
    waiting = [asyncio.ensure_future(store.write("one", {f"task/{n}": f"{n}"}, guard=guard)) for n in range(100)]
    waiting += [asyncio.ensure_future(store.write("two", {f"step/{n}": f"{n}"}, shelf="s")) for n in range(100)]
    await asyncio.sleep(0)

    gate.open.set()
    await asyncio.gather(holding, *waiting)

    # One that held, one for all the others; the run, and what guards it, are looked up once for all.
    assert statements.count("COMMIT") == 2
    assert sum("FROM runs" in statement for statement in statements) <= 2
    assert sum("SELECT text" in statement for statement in statements) == 1
    assert len(await store.read("one")) == 101
    assert len(await store.read("two", "s")) == 100


async def test_a_transaction_takes_no_more_than_it_should(store: SqliteJournalStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal_sqlite_tables, "_FULL_ROWS", 100)
    statements = await traced(store)
    gate = Gate()
    holding = asyncio.ensure_future(store.change("held", ["x"], gate))
    await asyncio.to_thread(gate.reached.wait)
    statements.clear()
    waiting = [asyncio.ensure_future(store.write("one", {f"{n}/{m}": "x" for m in range(40)})) for n in range(9)]
    await asyncio.sleep(0)

    gate.open.set()
    await asyncio.gather(holding, *waiting)

    # Three writes fill one.
    assert statements.count("COMMIT") == 1 + 3
    assert len(await store.read("one")) == 360


async def test_the_loop_goes_on_while_a_decision_takes_its_time(store: SqliteJournalStore):
    gate = Gate()
    holding = asyncio.ensure_future(store.change("one", ["x"], gate))

    await asyncio.to_thread(gate.reached.wait)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not holding.done()

    gate.open.set()
    await holding


async def test_who_is_cancelled_before_its_turn_writes_nothing(store: SqliteJournalStore):
    gate = Gate()
    holding = asyncio.ensure_future(store.change("one", ["x"], gate))
    await asyncio.to_thread(gate.reached.wait)
    waiting = [asyncio.ensure_future(store.write("one", {f"{n}": "x"})) for n in range(10)]
    await asyncio.sleep(0)
    for one in waiting[::2]:
        one.cancel()

    gate.open.set()
    await holding
    await asyncio.gather(*waiting, return_exceptions=True)

    assert sorted(await store.read("one")) == ["1", "3", "5", "7", "9"]


async def test_what_changes_nothing_writes_nothing(store: SqliteJournalStore, path: Path):
    await store.write("one", {"a": "1"})
    with raw(path) as other:
        before = other.execute("PRAGMA data_version").fetchone()

        await store.change("one", ["a"], look)
        await store.change("none", ["a"], put({"a": None}))
        await store.write("one", {}, guard=Guard("a", "1"))
        with pytest.raises(StaleToken):
            await store.write("one", {"b": "1"}, guard=Guard("a", "2"))
        assert await store.remove("none") is False
        assert other.execute("PRAGMA data_version").fetchone() == before

        await store.write("one", {"a": "2"})
        assert other.execute("PRAGMA data_version").fetchone() != before


async def test_a_later_write_in_one_transaction_sees_the_earlier_ones(store: SqliteJournalStore):
    gate = Gate()
    holding = asyncio.ensure_future(store.change("held", ["x"], gate))
    await asyncio.to_thread(gate.reached.wait)
    ends = [
        asyncio.ensure_future(store.write("one", {"claim": "mine", "n": "5"})),
        asyncio.ensure_future(store.write("one", {"a": "1"}, guard=Guard("claim", "mine"))),
        asyncio.ensure_future(store.change("one", ["n"], count_up())),
        asyncio.ensure_future(store.remove("one")),
        asyncio.ensure_future(store.write("one", {"b": "1"}, guard=Guard("claim", "mine"))),
        asyncio.ensure_future(store.change("one", ["n"], count_up())),
        asyncio.ensure_future(store.remove("one")),
        asyncio.ensure_future(store.write("one", {"c": "1"}, shelf="s")),
        asyncio.ensure_future(store.write("one", {"c": None}, shelf="s")),
    ]
    await asyncio.sleep(0)

    gate.open.set()
    await holding
    done = await asyncio.gather(*ends, return_exceptions=True)

    assert done[:4] == [None, None, 6, True]
    assert isinstance(done[4], StaleToken)
    assert done[5:] == [1, True, None, None]
    assert (await store.read("one"), await store.read("one", "s"), await all_runs(store)) == ({}, {}, ["one"])


async def test_a_lock_that_another_program_holds_makes_it_unavailable_to_writers(path: Path):
    store = SqliteJournalStore(path, patience_s=0.2)
    await store.write("one", {"a": "1"})
    with raw(path) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(Unavailable, match=r"within 0\.2 s; look for a process that holds it"):
            await store.write("one", {"a": "2", "b": "2"})
        with pytest.raises(Unavailable):
            await store.change("one", ["a"], count_up("a"))
        assert await store.read("one") == {"a": "1"}
        assert (await store.get("one", ["a"]))[0] == {"a": "1"}
        assert await all_runs(store) == ["one"]
        other.execute("ROLLBACK")

    # What gave up did not happen afterwards.
    assert await store.change("one", ["a"], count_up("a")) == 2
    assert await store.read("one") == {"a": "2"}
    await store.aclose()


async def test_many_may_open_a_new_journal_at_once(tmp_path: Path):
    for attempt in range(5):
        stores = [SqliteJournalStore(tmp_path / f"{attempt}" / "state.journal.db") for _ in range(12)]

        counts = await asyncio.gather(*(store.change("one", ["n"], count_up()) for store in stores))

        assert sorted(counts) == list(range(1, 13))
        await asyncio.gather(*(store.aclose() for store in stores))


# The end


async def test_closing_ends_what_was_begun(path: Path):
    store = SqliteJournalStore(path)
    begun = [asyncio.ensure_future(store.change("one", ["n"], count_up())) for _ in range(20)]
    await asyncio.sleep(0)

    await store.aclose()

    assert sorted(await asyncio.gather(*begun)) == list(range(1, 21))
    # The last to close leaves the database alone behind.
    assert [left.name for left in path.parent.iterdir()] == [path.name]


async def test_a_store_that_is_dropped_takes_its_thread_along(path: Path):
    store = SqliteJournalStore(path)
    await store.write("one", {"a": "1"})
    (thread,) = [one for one in threading.enumerate() if one.name == f"coterie-journal-{path.name}"]

    del store
    gc.collect()

    await asyncio.to_thread(thread.join, 20)
    assert not thread.is_alive()
