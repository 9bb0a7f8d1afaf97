"""What a log's file is like, whose it is, and what is said, and goes on, where something is wrong with it."""

from __future__ import annotations

# Files of tests are small and near.
# ruff: noqa: ASYNC240
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coterie._rules.decided import Decided
from coterie._rules.log import Retention
from coterie.errors import Misuse, StateFormatError, Unavailable
from coterie.ports import Durability
from coterie.stores.log_sqlite import SqliteLogStore
from coterie.stores.sqlite import SqliteStateStore
from coterie.testing.clock import ManualClock
from coterie.testing.log_handles import Bell, append, drain, ids, positions, read_all, take

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.events.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteLogStore]:
    store = SqliteLogStore(path)
    yield store
    await store.aclose()


# Durability


@pytest.mark.parametrize(("durability", "synchronous"), [("strict", 2), ("relaxed", 1)])
async def test_it_is_as_durable_as_it_says(path: Path, durability: Durability, synchronous: int):
    store = SqliteLogStore(path, durability=durability)
    await append(store, "a")

    (found,) = await store._file.done(
        lambda transaction: transaction.connection.execute("PRAGMA synchronous").fetchone()
    )

    assert store.durability == durability
    assert found == synchronous
    await store.aclose()


def test_strict_is_what_it_is_if_nobody_says(path: Path):
    assert SqliteLogStore(path).durability == "strict"


@pytest.mark.parametrize("durability", ["none", "", "FULL", None])
def test_what_a_file_cannot_be_is_refused(path: Path, durability: Durability):
    with pytest.raises(Misuse, match="'strict' or 'relaxed'"):
        SqliteLogStore(path, durability=durability)


async def test_it_is_there_when_it_is_opened_again(path: Path):
    first = SqliteLogStore(path)
    await append(first, "a", "b", "c")
    await take(first, limit=1)
    await first.aclose()

    second = SqliteLogStore(path)

    assert await read_all(second) == ["a", "b", "c"]
    assert await second.leave("events", "group", "one") == 1
    assert await drain(second, "two") == ["a", "b", "c"]
    await second.aclose()


# Whose it is


async def test_files_and_folders_are_their_owners_alone(tmp_path: Path):
    mask = os.umask(0)
    try:
        store = SqliteLogStore(tmp_path / "a" / "b" / "state.events.db")
        await append(store, "a")
        await store.watch("events", Bell())
    finally:
        os.umask(mask)

    for found in (tmp_path / "a", *(tmp_path / "a").rglob("*")):
        if not stat.S_ISSOCK(found.stat().st_mode):
            assert stat.S_IMODE(found.stat().st_mode) == (0o700 if found.is_dir() else 0o600), found
    await store.aclose()


async def test_namespaces_of_one_file_do_not_meet(path: Path):
    mine, theirs = SqliteLogStore(path, "mine"), SqliteLogStore(path, "theirs")
    bell = Bell()
    await theirs.watch("events", bell)

    assert [one.position for one in await append(mine, "a", "b")] == ["1", "2"]
    assert [one.position for one in await append(theirs, "a")] == ["1"]
    assert ids(await take(mine)) == ["a", "b"]
    assert ids(await take(theirs)) == ["a"]
    await bell.rings()
    assert await mine.drop_topic("events") is True

    assert await mine.topics() == []
    assert await read_all(theirs) == ["a"]
    assert [status.held for status in await theirs.groups("events")] == [1]
    await mine.aclose()
    await theirs.aclose()


# What is removed


async def test_what_was_dropped_leaves_nothing_behind(path: Path, store: SqliteLogStore):
    for number in range(3):
        await append(store, *(f"{number}-{n}" for n in range(900)))
    await take(store)
    taken = await take(store, "two")
    await store.give_back("events", "group", "two", taken.deliveries[0].logged.position, max_deliveries=0)

    await store.drop_topic("events")

    with sqlite3.connect(path) as raw:
        tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        left = {table: raw.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables}  # ours
    raw.close()
    assert {table for table, count in left.items() if count != (0,)} == {"sqlite_sequence"}


async def test_a_sweep_removes_what_is_idle_too_old_or_forgotten_in_all_namespaces(path: Path):
    clock = ManualClock()
    mine, theirs = SqliteLogStore(path, "mine", clock=clock), SqliteLogStore(path, "theirs", clock=clock)
    await append(theirs, "a", topic="idle", retention=Retention(idle_s=10))
    await append(theirs, "a", "b", topic="aged", retention=Retention(max_age_s=10, max_messages=1))
    await append(theirs, "a", topic="kept")
    await take(theirs, topic="aged")
    clock.advance(700)

    await mine._file.done(lambda transaction: transaction.sweep(), writes=True)

    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT name, kept FROM topics ORDER BY name").fetchall() == [("aged", 0), ("kept", 1)]
        assert raw.execute("SELECT count(*) FROM remembered").fetchone() == (0,)
        # What is held keeps its text.
        assert raw.execute("SELECT id FROM copies").fetchall() == [("b",)]
    raw.close()
    await mine.aclose()
    await theirs.aclose()


# Where something is wrong


async def test_a_removed_file_begins_anew(path: Path, store: SqliteLogStore):
    await append(store, "a", "b")
    await take(store)
    bell = Bell()
    await store.watch("events", bell)
    for suffix in ("", "-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").unlink()

    assert await read_all(store) == []
    assert [one.position for one in await append(store, "c")] == ["1"]

    await bell.rings()
    assert ids(await take(store)) == ["c"]


async def test_a_file_that_is_no_database_is_told_with_what_to_do(path: Path):
    path.write_bytes(b"no database" * 1000)
    store = SqliteLogStore(path)

    with pytest.raises(StateFormatError, match="move it away") as caught:
        await append(store, "a")

    assert str(path) in str(caught.value)
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    await store.aclose()


async def test_a_damaged_table_is_told_and_what_is_whole_is_read(path: Path):
    first = SqliteLogStore(path)
    await append(first, *(f"{n}" for n in range(500)))
    await append(first, "whole", topic="other")
    await first.aclose()
    raw = sqlite3.connect(path)
    (page,) = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'pending'").fetchone()
    raw.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xff" * PAGE)
    store = SqliteLogStore(path)

    with pytest.raises(StateFormatError, match="is damaged"):
        await take(store)
    assert await read_all(store, topic="other") == ["whole"]
    await store.aclose()


async def test_a_message_that_somebody_took_away_is_told_with_what_to_do(path: Path, store: SqliteLogStore):
    await append(store, "a", "b")
    (position, _) = positions(await take(store))
    await store.give_back("events", "group", "one", position)
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("DELETE FROM messages WHERE id = 'a'")
    raw.close()

    with pytest.raises(StateFormatError, match="drop the group"):
        await take(store)
    assert await store.drop_group("events", "group")
    assert ids(await take(store)) == ["b"]


async def test_a_newer_format_is_refused(path: Path, store: SqliteLogStore):
    await append(store, "a")
    await store.aclose()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 2")
    raw.close()
    later = SqliteLogStore(path)

    with pytest.raises(StateFormatError, match="update coterie"):
        await read_all(later)

    await later.aclose()


async def test_a_database_of_the_state_is_not_taken_for_a_log(path: Path):
    state = SqliteStateStore(path)
    await state.update("limit/x", lambda old, now: Decided({"n": 1}, None))
    await state.aclose()
    store = SqliteLogStore(path)

    with pytest.raises(Misuse, match="another program's database"):
        await append(store, "a")

    await store.aclose()


async def test_who_holds_the_file_makes_others_unavailable_and_lets_them_read(path: Path):
    store = SqliteLogStore(path, patience_s=0.3)
    await append(store, "a")
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")

    with pytest.raises(Unavailable, match="look for a process that holds it"):
        await append(store, "b")
    assert await read_all(store) == ["a"]
    raw.execute("ROLLBACK")
    raw.close()

    # What gave up did not happen afterwards.
    await append(store, "c")
    assert await read_all(store) == ["a", "c"]
    await store.aclose()
