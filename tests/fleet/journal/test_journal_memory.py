"""The memory journal keeps the contract, on the clock that it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from coterie._rules.written import Changed
from coterie.errors import Misuse
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.testing.journal_handles import all_runs, look
from coterie.testing.journals import JournalStoreContract
from tests.fleet.journal.tools import WallClock


class TestMemory(JournalStoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[MemoryJournalStore]:
        store = MemoryJournalStore("default")
        yield store
        await store.aclose()


@pytest.fixture
def store(clock: WallClock) -> MemoryJournalStore:
    return MemoryJournalStore(clock=clock)


def test_it_says_that_nothing_survives(store: MemoryJournalStore):
    assert (store.url, store.scope, store.namespace) == ("memory://", "process", "default")
    assert store.durability == "none"


async def test_the_clock_is_the_one_that_was_given(store: MemoryJournalStore, clock: WallClock):
    clock.now_s = 1_800_000_000.123457
    assert await store.get("one", []) == ({}, 1_800_000_000_123_457)

    clock.now_s -= 3600
    assert (await store.change("one", [], look))[1] == 1_799_996_400_123_457


async def test_a_run_tells_when_it_began_and_changed(store: MemoryJournalStore, clock: WallClock):
    await store.write("one", {"a": "1"})
    clock.now_s += 5
    await store.write("one", {"a": "2"}, shelf="s")
    clock.now_s += 5
    # Neither changes anything.
    await store.write("one", {})
    await store.read("one")

    (entry,) = (await store.runs(limit=1)).runs

    assert (entry.begun_at, entry.changed_at) == (1_800_000_000_000_000, 1_800_000_005_000_000)


async def test_a_clock_that_goes_back_does_not_turn_the_list_around(store: MemoryJournalStore, clock: WallClock):
    await store.write("first", {"a": "1"})
    clock.now_s -= 3600
    await store.write("second", {"a": "1"})
    await store.write("first", {"a": "2"})

    assert await all_runs(store) == ["second", "first"]
    assert all(entry.changed_at >= entry.begun_at for entry in (await store.runs(limit=2)).runs)


async def test_a_decision_cannot_change_what_it_was_given(store: MemoryJournalStore):
    def sneak(texts: Mapping[str, str | None], now: int) -> Changed[None]:
        texts["a"] = "2"  # type: ignore[index]  # what is tested
        return Changed({}, None)

    with pytest.raises(TypeError):
        await store.change("one", ["a"], sneak)


async def test_closing_forgets_everything():
    store = MemoryJournalStore()
    await store.write("one", {"a": "1"})

    await store.aclose()

    assert repr(store) == "MemoryJournalStore('default', runs=0)"


@pytest.mark.parametrize("namespace", ["", "a/b", "a b", "..", "a*", "x" * 129])
def test_a_namespace_is_a_name(namespace: str):
    with pytest.raises(Misuse, match="namespace"):
        MemoryJournalStore(namespace)
