"""The memory store keeps the contract of log stores, and is the model that the others are compared with."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from coterie._rules.log import Retention, Taken, Terms
from coterie.errors import Misuse, Unavailable
from coterie.stores.log_memory import MemoryLogStore
from coterie.stores.log_memory_group import Group, _Open
from coterie.stores.logs import MAX_PENDING
from coterie.testing import FaultyLogStore, LogStoreContract, ManualClock
from coterie.testing.log_handles import TOPIC, append, group_of, ids, message, positions, read_all, take
from coterie.testing.log_history import RETENTIONS, LogHistory
from tests.fleet.bus.many_histories import ManyHistories

SECOND = 1_000_000


class WallClock:
    """A clock that can be set, also back."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s


class TestMemory(ManyHistories):
    @pytest.fixture
    async def store(self, clock: ManualClock) -> AsyncIterator[MemoryLogStore]:
        store = MemoryLogStore(clock=clock)
        yield store
        await store.aclose()


class TestFaultyWithoutFaults(LogStoreContract):
    """The wrapper for tests changes nothing unless it is told to."""

    histories = 3

    @pytest.fixture
    async def store(self, clock: ManualClock) -> AsyncIterator[FaultyLogStore]:
        store = FaultyLogStore(MemoryLogStore(clock=clock))
        yield store
        await store.aclose()


class PlainGroup(Group):
    """Finds whose turn it is by looking at everything, each time."""

    __slots__ = ()

    def _first_ready(self, now: int) -> _Open | None:
        ready = [each for each in self._open.values() if self._is_free(each) and each.due <= now]
        return min(ready, key=lambda each: (self._place(each), each.number), default=None)

    def _due_s(self, consumer: str, now: int) -> float | None:
        delays = [each.due for each in self._open.values() if not each.holder and each.due > now]
        leases = [other.until for name, other in self._consumers.items() if other.held and name != consumer]
        return (min(delays + leases) - now) / SECOND if delays + leases else None

    def _is_free(self, message: _Open) -> bool:
        key = message.logged.message.key
        same = [each for each in self._open.values() if key and each.logged.message.key == key]
        return not message.holder and not any(each.holder or each.number < message.number for each in same)


class PlainStore(MemoryLogStore):
    async def take(self, topic: str, group: str, *args, **kwargs) -> Taken:
        found = self._topics.get(topic)
        if found is not None and group in found.groups:
            found.groups[group].__class__ = PlainGroup
        return await super().take(topic, group, *args, **kwargs)


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
def store(clock: WallClock) -> MemoryLogStore:
    return MemoryLogStore(clock=clock)


@pytest.mark.parametrize("retention", RETENTIONS)
async def test_whose_turn_it_is_is_found_as_by_looking_at_everything(retention: str):
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201
    for number in range(30):
        clock = ManualClock()
        history = LogHistory(
            [MemoryLogStore(clock=clock)],
            clock,
            seed=seed + number,
            retention=RETENTIONS[retention],
            model=PlainStore(clock=clock),
        )
        await history.run(80)


async def test_an_idle_topic_is_dropped_with_all_that_belongs_to_it(store: MemoryLogStore, clock: WallClock):
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
    assert not answer.is_duplicate


async def test_idle_topics_that_nobody_asks_for_do_not_pile_up(store: MemoryLogStore, clock: WallClock):
    for number in range(100):
        await append(store, "reply", topic=f"replies/{number}", retention=Retention(idle_s=60))
        clock.now_s += 10

    assert repr(store) == "MemoryLogStore('default', topics=7)"


async def test_each_id_is_remembered_for_as_long_as_its_own_call_said(store: MemoryLogStore, clock: WallClock):
    await append(store, "long", retention=Retention(dedup_s=60))
    await append(store, "short", retention=Retention(dedup_s=5))
    clock.now_s += 5

    answers = await append(store, "short", "long", retention=Retention(dedup_s=5))

    assert [answer.is_duplicate for answer in answers] == [False, True]


async def test_the_time_of_a_topic_never_goes_back(store: MemoryLogStore, clock: WallClock):
    await append(store, "a")
    clock.now_s -= 3600
    await append(store, "b")
    clock.now_s += 3601
    await append(store, "c")

    first, second, third = (await store.read(TOPIC)).messages
    assert first.at == second.at == 1_800_000_000 * SECOND
    assert third.at == first.at + SECOND
    assert await store.locate(TOPIC, third.at) == second.position


async def test_with_too_many_waiting_a_group_gets_to_no_more(store: MemoryLogStore):
    for begin in range(0, MAX_PENDING + 1000, 1000):
        await append(store, *(message(f"{begin + number}", key="hot") for number in range(1000)))
    await append(store, "other")

    taken = await take(store)

    status = await group_of(store)
    assert (ids(taken), status.waiting, status.unread) == (["0"], MAX_PENDING, 1000)
    assert taken.due_s is None
    # As one is done with, the group gets to one more.
    assert ids(await take(store, done=positions(taken))) == ["1"]
    assert (await group_of(store)).waiting == MAX_PENDING


async def test_a_change_of_terms_puts_what_waits_into_another_order(store: MemoryLogStore):
    await append(store, *(message(name, priority=level) for level, name in enumerate("abc")))
    for position in positions(await take(store)):
        await store.give_back(TOPIC, "group", "one", position)

    assert ids(await take(store, limit=1)) == ["a"]
    assert ids(await take(store, limit=1, terms=Terms(by_priority=True))) == ["c"]
    assert ids(await take(store, limit=1)) == ["b"]


async def test_it_says_where_and_what_it_is(store: MemoryLogStore):
    await append(store, "a")

    assert (store.url, store.scope, store.namespace, store.durability) == ("memory://", "process", "default", "none")
    assert repr(store) == "MemoryLogStore('default', topics=1)"


@pytest.mark.parametrize("namespace", ["", "a/b", "a b", "..", "a*", "x" * 129])
def test_a_namespace_is_a_name(namespace: str):
    with pytest.raises(Misuse, match="namespace"):
        MemoryLogStore(namespace)


# The wrapper that fails


async def test_faults_come_at_the_number_or_name_that_was_given(store: MemoryLogStore):
    lost, refused = Unavailable("lost"), Unavailable("refused")
    seen: list[tuple[int, str]] = []
    faulty = FaultyLogStore(
        store, {(2, "after"): lost, ("beat", "before"): refused}, on_write=lambda *call: seen.append(call)
    )
    await append(faulty, "a")

    with pytest.raises(Unavailable, match="lost"):
        await append(faulty, "b")
    with pytest.raises(Unavailable, match="refused"):
        await faulty.beat(TOPIC, "group", "one", lease_s=15)

    # What was lost is there; so appending it again is safe.
    assert (await append(faulty, "b"))[0].is_duplicate
    assert seen == [
        (1, "before"),
        (1, "after"),
        (2, "before"),
        (2, "after"),
        (3, "before"),
        (4, "before"),
        (4, "after"),
    ]
    assert faulty.calls == [("append", TOPIC), ("append", TOPIC), ("beat", TOPIC), ("append", TOPIC)]
    assert faulty.writes == 4


async def test_a_store_that_is_down_does_nothing_and_one_that_is_mute_does_it(store: MemoryLogStore):
    faulty = FaultyLogStore(store)

    faulty.down = "refusing"
    with pytest.raises(Unavailable, match="down"):
        await append(faulty, "a")
    assert await read_all(store) == []
    faulty.down = "mute"
    for use in (append(faulty, "a"), faulty.read(TOPIC)):
        with pytest.raises(Unavailable, match="lost"):
            await use
    assert await read_all(store) == ["a"]
