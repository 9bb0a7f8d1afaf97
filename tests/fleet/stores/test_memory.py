"""The memory store keeps the contract, and catches what other stores would bend."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from coterie._rules.decided import Decided, Signal, State
from coterie.errors import Misuse
from coterie.stores.memory import MemoryStateStore
from coterie.testing.states import StateStoreContract


class WallClock:
    """A clock that can be set, also back."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s


class TestMemory(StateStoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[MemoryStateStore]:
        store = MemoryStateStore("default")
        yield store
        await store.aclose()


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
def store(clock: WallClock) -> MemoryStateStore:
    return MemoryStateStore(clock=clock)


def put(state: State | None, *signals: Signal):
    return lambda old, now: Decided(state, None, signals)


async def test_the_clock_is_the_one_that_was_given(store: MemoryStateStore, clock: WallClock):
    clock.now_s = 1_800_000_000.123457
    assert (await store.read("pool/x"))[1] == 1_800_000_000_123_457

    clock.now_s -= 3600
    assert await store.update("pool/x", lambda old, now: Decided(None, now)) == 1_799_996_400_123_457


async def test_a_state_is_dropped_once_its_time_is_over(store: MemoryStateStore, clock: WallClock):
    await store.update("pool/x", put({"n": 1}), keep_s=10)
    await store.update("pool/y", put({"n": 1}))

    clock.now_s += 9.9
    assert await store.keys("pool") == ["pool/x", "pool/y"]
    assert (await store.read("pool/x"))[0] == {"n": 1}

    clock.now_s += 0.1
    assert await store.keys("pool") == ["pool/y"]
    assert (await store.read("pool/x"))[0] is None


async def test_a_change_keeps_the_state_for_longer_and_a_look_does_not(store: MemoryStateStore, clock: WallClock):
    await store.update("pool/x", put({"n": 1}), keep_s=10)
    await store.update("pool/y", put({"n": 1}), keep_s=10)
    clock.now_s += 6
    await store.update("pool/x", put({"n": 2}), keep_s=10)
    await store.update("pool/y", lambda old, now: Decided(old, None), keep_s=10)

    clock.now_s += 6

    assert await store.keys("pool") == ["pool/x"]


async def test_a_decision_that_changes_what_it_was_given_is_caught(store: MemoryStateStore):
    def sneak(old: State | None, now: int) -> Decided[None]:
        assert old is not None
        old["n"] = 2
        return Decided(old, None)

    await store.update("pool/x", put({"n": 1}))

    with pytest.raises(Misuse, match="must return a new one"):
        await store.update("pool/x", sneak)
    assert (await store.read("pool/x"))[0] == {"n": 1}


@pytest.mark.parametrize(
    "state",
    [{"x": 1.5}, {"x": []}, {"x": None}, {"x": 10**14}, {"x": {1: 2}}, {"x": (1, 2)}, {"x": {"y": [-(10**14)]}}],
)
async def test_what_not_every_store_can_keep_is_caught(store: MemoryStateStore, state: State):
    with pytest.raises(Misuse, match="pool/x/x"):
        await store.update("pool/x", put(state))

    assert (await store.read("pool/x"))[0] is None


@pytest.mark.parametrize("namespace", ["", "a/b", "a b", "..", "a*", "x" * 129])
def test_a_namespace_is_a_name(namespace: str):
    with pytest.raises(Misuse, match="namespace"):
        MemoryStateStore(namespace)
