"""Where a server syncs once in a while, nothing is acknowledged, nor handed out, before it is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest

from coterie._rules.written import Guard
from coterie.errors import PolicyError, StaleToken, Unavailable
from coterie.stores.redis import RedisJournalPolicy, RedisJournalStore, gate, open_redis_journal
from coterie.stores.redis.durable import Durable
from coterie.testing.journal_handles import count_up, look
from tests.fleet.journal.slow_sync import SLOWLY_SYNCED, SlowSync
from tests.fleet.stores.redis_waiting import WEDGED_S, until
from tests.support.redis_servers import Server, valkey


@pytest.fixture
def server() -> Iterator[Server]:
    with valkey(arguments=SLOWLY_SYNCED) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second is as long as the test says."""
    monkeypatch.setattr(gate, "NEARLY_A_SECOND", 1_000)
    monkeypatch.setattr(gate, "_ASK_AFTER_S", 0.0)
    monkeypatch.setattr(gate, "_GATHER_S", 0.0)


@pytest.fixture
async def slow(server: Server) -> AsyncIterator[SlowSync]:
    async with SlowSync(server) as running:
        yield running


@pytest.fixture
async def opened(slow: SlowSync) -> AsyncIterator[Callable[..., Awaitable[RedisJournalStore]]]:
    """Opens journals whose server has been found to tell the truth, so that the test has the next sync in its hands."""
    stores = []

    async def open_one(namespace: str = "ns", *, strict: bool = True, **terms: Any) -> RedisJournalStore:
        durability: Any = "strict" if strict else "relaxed"
        store = open_redis_journal(slow.url, namespace, durability=durability, policy=RedisJournalPolicy(**terms))
        stores.append(store)
        found = asyncio.ensure_future(store.runs(limit=1))
        while not found.done():
            await asyncio.sleep(0.002)
            slow.sync()
        await found
        return store

    yield open_one
    for store in stores:
        await store.aclose()


async def synced(slow: SlowSync, call: Awaitable[Any]) -> Any:
    """What a call comes to that waits for one sync."""
    waiting = asyncio.ensure_future(call)
    await until(lambda: slow.waiting == 1)
    assert not waiting.done()
    slow.sync()
    return await waiting


async def all_done(slow: SlowSync, calls: Sequence[asyncio.Future[Any]]) -> list[Any]:
    """What calls come to that wait for some syncs."""
    while not all(call.done() for call in calls):
        slow.sync()
        await asyncio.sleep(0.005)
    return await asyncio.gather(*calls, return_exceptions=True)


WRITES: list[Callable[[RedisJournalStore], Awaitable[Any]]] = [
    lambda store: store.write("one", {"a": "2"}),
    lambda store: store.write("one", {"a": None}),
    lambda store: store.write("one", {"s": "1"}, shelf="s"),
    lambda store: store.write("one", {"a": "2"}, guard=Guard("a", "1")),
    lambda store: store.change("one", ["n"], count_up()),
    lambda store: store.write("two", {"a": "1"}),
    lambda store: store.remove("one"),
]


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_returns_when_it_is_on_disk_and_no_sooner(opened, slow, server, write):
    store = await opened()
    await synced(slow, store.write("one", {"a": "1"}))

    await synced(slow, write(store))

    before = await state(slow)
    slow.cut_power()
    assert await state(slow) == before


@pytest.mark.parametrize("write", WRITES)
async def test_what_is_written_but_not_synced_is_lost_with_the_power_so_these_tests_can_fail(opened, slow, write):
    store = await opened()
    await synced(slow, store.write("one", {"a": "1"}))
    before = await state(slow)

    await write(await opened(strict=False))
    assert await state(slow) != before
    slow.cut_power()

    assert await state(slow) == before


async def state(slow: SlowSync) -> Any:
    """Everything there, whether it is on disk or not."""
    relaxed = open_redis_journal(slow.url, "ns", durability="relaxed")
    found = [await relaxed.read(run, shelf) for run in ("one", "two") for shelf in ("", "s")]
    runs = [entry.run for entry in (await relaxed.runs(limit=10)).runs]
    await relaxed.aclose()
    return found, runs


READS: list[Callable[[RedisJournalStore], Awaitable[Any]]] = [
    lambda store: store.get("one", ["a"]),
    lambda store: store.read("one"),
    lambda store: store.read("one", "s"),
    lambda store: store.change("one", ["a"], look),
]


@pytest.mark.parametrize("read", READS)
async def test_what_somebody_else_wrote_a_moment_ago_is_handed_out_when_it_is_on_disk(opened, slow, read):
    store, other = await opened(), await opened(strict=False)
    await other.write("one", {"a": "1"})
    await other.write("one", {"a": "1"}, shelf="s")

    await synced(slow, read(store))

    slow.cut_power()
    assert await state(slow) == ([{"a": "1"}, {"a": "1"}, {}, {}], ["one"])


async def test_a_decision_that_raises_over_what_is_not_on_disk_yet_raises_when_it_is(opened, slow):
    store, other = await opened(), await opened(strict=False)
    await other.write("one", {"a": "failed"})

    def replay(texts: Any, now: int) -> Any:
        raise LookupError(texts["a"])

    with pytest.raises(LookupError, match="failed"):
        await synced(slow, store.change("one", ["a"], replay))


@pytest.mark.parametrize("read", READS)
async def test_what_is_known_to_be_on_disk_is_not_waited_for(opened, slow, read):
    store = await opened()
    await synced(slow, store.write("one", {"a": "1"}))
    asked = slow.asked

    for _ in range(3):
        await read(store)

    assert slow.asked == asked
    later = await opened()
    await synced(slow, read(later))
    asked = slow.asked
    await read(later)
    assert slow.asked == asked


@pytest.mark.parametrize("read", READS)
async def test_what_was_changed_since_it_was_known_to_be_on_disk_is_waited_for_again(opened, slow, read):
    store, other = await opened(), await opened(strict=False)
    await synced(slow, store.write("one", {"a": "1"}))
    await read(store)

    await other.write("one", {"a": "2"})

    await synced(slow, read(store))
    slow.cut_power()
    assert await state(slow) == ([{"a": "2"}, {}, {}, {}], ["one"])


async def test_what_is_not_there_is_not_waited_for(opened, slow):
    store = await opened()
    asked = slow.asked

    assert (await store.get("one", ["a"]))[0] == await store.read("one") == {}
    assert (await store.change("one", ["a"], look))[0] == {"a": None}
    await store.write("one", {"a": None})
    assert slow.asked == asked


async def test_a_guard_that_does_not_hold_is_told_at_once(opened, slow):
    store, other = await opened(), await opened(strict=False)
    await other.write("one", {"claim": "theirs"})
    asked = slow.asked

    with pytest.raises(StaleToken):
        await store.write("one", {"a": "1"}, guard=Guard("claim", "mine"))

    assert slow.asked == asked


async def test_all_who_wait_share_one_sync(opened, slow):
    store = await opened()
    first = asyncio.ensure_future(store.write("one", {"a": "1"}))
    await until(lambda: slow.waiting == 1)
    asked = slow.asked

    # They come too late for the one that is under way.
    writes = [asyncio.ensure_future(store.write("one", {f"p{n}": "1"})) for n in range(100)]
    reads = [asyncio.ensure_future(store.get("one", ["a"])) for _ in range(20)]
    await until(lambda: slow.texts("one") == 101)
    slow.sync()
    await first
    assert not any(call.done() for call in writes)
    await all_done(slow, [*writes, *reads])

    # One, and others for those whose answers were still on their way when it was asked for.
    assert slow.asked <= asked + 4


async def test_a_conflict_is_decided_anew_without_waiting_for_the_disk(opened, slow):
    store, other = await opened(), await opened(strict=False)
    await other.write("one", {"n": "1"})
    asked = slow.asked

    with slow.server.client() as client:
        crossed = []

        def decide(texts: Any, now: int) -> Any:
            if not crossed:
                client.hset(f"{{{store.namespace}:run/one}}", "n", "10")
            crossed.append(texts["n"])
            return count_up()(texts, now)

        assert await synced(slow, store.change("one", ["n"], decide)) == 11

    assert crossed == ["1", "10"]
    assert slow.asked == asked + 1


async def test_a_run_does_not_begin_before_it_is_durably_on_a_list_that_another_server_keeps(opened, slow, monkeypatch):
    store = await opened()
    monkeypatch.setattr(Durable, "are_one", lambda *_: False)

    write = asyncio.ensure_future(store.write("one", {"a": "1"}))
    await until(lambda: slow.waiting == 1)
    assert await state(slow) == ([{}, {}, {}, {}], [])
    with slow.server.client() as client:
        assert client.zrange("{ns:runs}", 0, -1) == ["one"]

    await all_done(slow, [write])
    assert await state(slow) == ([{"a": "1"}, {}, {}, {}], ["one"])


# What fails


async def test_what_is_not_on_disk_in_time_is_not_known_to_be_durable(opened, slow):
    store = await opened(durable_timeout_s=0.1)

    with pytest.raises(Unavailable, match=r"has answered.*not known.*within 0.1 s") as caught:
        await store.write("one", {"a": "1"})

    assert isinstance(caught.value.__cause__, TimeoutError)


@pytest.mark.parametrize(
    "answer", [b"-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.", b"-LOADING x"]
)
async def test_a_server_that_will_not_say_leaves_it_unknown(opened, slow, answer):
    store = await opened()
    slow.fails = answer

    with pytest.raises(Unavailable, match=r"has answered.*not known") as caught:
        await store.write("one", {"a": "1"})

    assert answer[1:].split()[0].decode() in str(caught.value)
    slow.fails = None
    await synced(slow, store.write("one", {"a": "1"}))


async def test_a_server_that_was_killed_before_it_synced_leaves_it_unknown_to_each(opened, slow, server):
    store = await opened()
    writes = [asyncio.ensure_future(store.write("one", {f"a{n}": "1"})) for n in range(10)]
    await until(lambda: slow.waiting == 1)

    slow.cut_power()
    ends = await asyncio.gather(*writes, return_exceptions=True)

    assert [type(end) for end in ends] == [Unavailable] * 10
    assert len({id(end) for end in ends}) == 10
    assert all("not known" in str(end) for end in ends)
    assert await state(slow) == ([{}, {}, {}, {}], [])


async def test_another_process_in_a_server_s_place_does_not_vouch_for_what_the_first_had_taken(opened, slow, server):
    store = await opened()
    await synced(slow, store.write("one", {"a": "1"}))
    write = asyncio.ensure_future(store.write("one", {"b": "1"}))
    await until(lambda: slow.waiting == 1)

    # The connection on which it would be told is lost, and leads to another process then.
    slow.cut_power()
    with pytest.raises(Unavailable):
        await write
    assert await state(slow) == ([{"a": "1"}, {}, {}, {}], ["one"])


async def test_a_server_that_lies_is_refused_before_it_is_told_anything(slow, server):
    slow.lies = True
    # As if a second were one.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "NEARLY_A_SECOND", 900_000)
        store = open_redis_journal(slow.url, "ns")
        with pytest.raises(PolicyError, match="before it has synced"):
            await store.write("one", {"a": "1"})
        await store.aclose()

    with server.client() as client:
        assert client.dbsize() == 0


async def test_closing_leaves_nobody_waiting(opened, slow):
    store = await opened()
    writes = [asyncio.ensure_future(store.write("one", {f"a{n}": "1"})) for n in range(3)]
    await until(lambda: slow.waiting == 1)
    late = asyncio.ensure_future(store.write("one", {"late": "1"}))
    await until(lambda: slow.texts("one") == 4)

    async with asyncio.timeout(WEDGED_S):
        await store.aclose()
        ends = await asyncio.gather(*writes, late, return_exceptions=True)

    assert [type(end) for end in ends] == [Unavailable] * 4


async def test_who_leaves_while_waiting_leaves_the_others_alone(opened, slow):
    store = await opened()
    writes = [asyncio.ensure_future(store.write("one", {f"a{n}": "1"})) for n in range(6)]
    await until(lambda: slow.waiting == 1)

    await until(lambda: slow.texts("one") == 6)
    for write in writes[::2]:
        write.cancel()
    ends = await all_done(slow, writes)

    assert [type(end) for end in ends] == [asyncio.CancelledError, type(None)] * 3
