"""The faulty journal store is the one it wraps, but for what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from coterie._rules.written import Guard
from coterie.errors import StaleToken, Unavailable
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.testing import FaultyJournalStore, JournalStoreContract
from coterie.testing.journal_handles import all_runs, count_up


class TestFaultless(JournalStoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[FaultyJournalStore]:
        store = FaultyJournalStore(MemoryJournalStore())
        yield store
        await store.aclose()


async def test_a_write_fails_before_or_after_it_is_done():
    before, after = Unavailable("before"), Unavailable("after")
    store = FaultyJournalStore(MemoryJournalStore(), {(2, "before"): before, (3, "after"): after})
    ends = await asyncio.gather(*(store.write("one", {f"p{n}": "1"}) for n in range(1, 5)), return_exceptions=True)

    assert ends == [None, before, after, None]
    assert sorted(await store.read("one")) == ["p1", "p3", "p4"]
    assert store.writes == 4


async def test_changes_and_removals_are_writes_too():
    fault = Unavailable("lost")
    store = FaultyJournalStore(MemoryJournalStore(), {(1, "after"): fault, (2, "before"): fault, (3, "after"): fault})

    with pytest.raises(Unavailable):
        await store.change("one", ["n"], count_up())
    assert await store.read("one") == {"n": "1"}
    with pytest.raises(Unavailable):
        await store.remove("one")
    assert await all_runs(store) == ["one"]
    with pytest.raises(Unavailable):
        await store.remove("one")
    assert await all_runs(store) == []


async def test_a_test_may_act_at_each_write():
    seen: list[tuple[int, str, int]] = []
    inner = MemoryJournalStore()
    texts = inner._runs

    store = FaultyJournalStore(inner, on_write=lambda number, when: seen.append((number, when, len(texts))))
    await store.write("one", {"a": "1"})
    await store.get("one", ["a"])
    await store.write("two", {"a": "1"})
    with pytest.raises(ZeroDivisionError):
        await FaultyJournalStore(inner, on_write=lambda number, when: 1 // 0).write("three", {"a": "1"})

    assert seen == [(1, "before", 0), (1, "after", 1), (2, "before", 1), (2, "after", 2)]
    assert await all_runs(store) == ["two", "one"]


async def test_a_write_that_fails_by_itself_has_no_after():
    seen: list[tuple[int, str]] = []
    store = FaultyJournalStore(MemoryJournalStore(), on_write=lambda number, when: seen.append((number, when)))

    with pytest.raises(StaleToken):
        await store.write("one", {"a": "1"}, guard=Guard("claim", "mine"))

    assert seen == [(1, "before")]


async def test_a_store_that_is_down_refuses_or_loses_its_answers():
    store = FaultyJournalStore(MemoryJournalStore())
    store.down = "refusing"
    for use in (store.write("one", {"a": "1"}), store.read("one"), store.get("one", []), store.runs(limit=1)):
        with pytest.raises(Unavailable, match="down"):
            await use

    store.down = "mute"
    with pytest.raises(Unavailable, match="lost"):
        await store.write("one", {"b": "1"})

    store.down = None
    assert await store.read("one") == {"b": "1"}
    assert store.calls == [
        ("write", "one"),
        ("read", "one"),
        ("get", "one"),
        ("runs", ""),
        ("write", "one"),
        ("read", "one"),
    ]


async def test_calls_wait_at_the_gate():
    store = FaultyJournalStore(MemoryJournalStore())
    store.gate.clear()
    writing = asyncio.ensure_future(store.write("one", {"a": "1"}))
    for _ in range(5):
        await asyncio.sleep(0)
    assert (writing.done(), store.writes) == (False, 0)

    store.gate.set()
    await writing
    assert store.writes == 1
