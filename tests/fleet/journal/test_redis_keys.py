"""How runs lie in Redis: one slot a run, a list of all, large shelves, and whose clock it is."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis

from coterie.errors import Misuse, Unavailable
from coterie.stores.redis import RedisJournalPolicy, RedisJournalStore, journal_calls, open_redis_journal
from coterie.stores.redis.cluster import slot_of
from coterie.testing.journal_handles import all_runs, count_up, look, put
from tests.support.redis_servers import SYNCED, Server, valkey

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with valkey(arguments=SYNCED) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
async def store(server: Server) -> AsyncIterator[RedisJournalStore]:
    opened = open_redis_journal(server.url, uuid.uuid4().hex)
    yield opened
    await opened.aclose()


class Clock:
    """A time that the test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def clocked(server: Server, clock: Clock) -> AsyncIterator[RedisJournalStore]:
    opened = open_redis_journal(server.url, uuid.uuid4().hex, clock=clock)
    yield opened
    await opened.aclose()


def calls(client: redis.Redis) -> dict[str, int]:
    """How often each command was run."""
    return {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in client.info("commandstats").items()}


# The keys


async def test_a_run_lies_in_one_slot_and_the_list_of_all_in_its_own(store, client):
    await store.write("a-run", {"a": "1", "b": "2"})
    await store.write("a-run", {"s": "1"}, shelf="task/{x}")

    tag = f"{{{store.namespace}:run/a-run}}"
    names = {tag, f"{tag}/task/{{x}}", f"{tag}:about", f"{tag}:shelves"}
    runs = f"{{{store.namespace}:runs}}"
    assert set(client.keys(f"{{{store.namespace}:*")) == {*names, runs}
    assert len({slot_of(name.encode()) for name in names}) == 1
    assert client.hgetall(tag) == {"a": "1", "b": "2"}
    assert client.smembers(f"{tag}:shelves") == {"task/{x}"}
    assert client.zrange(runs, 0, -1) == ["a-run"]


async def test_a_removed_run_leaves_nothing_behind(store, client):
    for run in ("one", "two"):
        await store.write(run, {"a": "1"})
        await store.write(run, {"a": "1"}, shelf="s")
    await store.remove("one")
    await store.remove("two")

    assert client.keys(f"{{{store.namespace}:*") == []


async def test_a_write_takes_one_trip_and_a_change_two(store, client):
    await store.change("one", ["n"], count_up())
    await store.change("one", ["n"], look)
    before = calls(client)

    await store.write("one", {"a": "1", "b": None})
    assert _scripts(calls(client)) - _scripts(before) == 1
    await store.change("one", ["n", "a"], count_up())
    assert _scripts(calls(client)) - _scripts(before) == 3
    await store.change("one", ["n", "a"], look)
    assert _scripts(calls(client)) - _scripts(before) == 4


def _scripts(ran: dict[str, int]) -> int:
    return ran.get("evalsha", 0) + ran.get("eval", 0)


async def test_decisions_over_the_same_texts_are_stored_together(store, client):
    await store.change("one", ["n"], count_up())
    await store.change("one", ["n"], look)
    before = calls(client)

    counts = await asyncio.gather(*(store.change("one", ["n"], count_up()) for _ in range(200)))

    assert counts == list(range(2, 202))
    # One reading, and 200 decisions in four writes.
    assert _scripts(calls(client)) - _scripts(before) == 5


async def test_a_text_that_came_back_is_no_conflict_and_one_that_went_is(store, client):
    key = f"{{{store.namespace}:run/one}}"
    await store.write("one", {"a": "1", "b": "1"})
    seen = []

    def crossed(texts: Any, now: int) -> Any:
        seen.append(dict(texts))
        if len(seen) == 1:
            client.hset(key, "a", "2")
            client.hset(key, "a", "1")
            # Nobody asked for it.
            client.hset(key, "c", "9")
        return put({"b": "2"})(texts, now)

    def robbed(texts: Any, now: int) -> Any:
        seen.append(dict(texts))
        if len(seen) == 2:
            client.hdel(key, "a")
        return put({"b": "3"})(texts, now)

    await store.change("one", ["a", "b"], crossed)
    await store.change("one", ["a", "b"], robbed)

    assert seen == [{"a": "1", "b": "1"}, {"a": "1", "b": "2"}, {"a": None, "b": "2"}]
    assert await store.read("one") == {"b": "3", "c": "9"}


async def test_who_is_crossed_for_too_long_is_told(server, client):
    store = open_redis_journal(server.url, uuid.uuid4().hex, policy=RedisJournalPolicy(update_timeout_s=0.2))

    def crossed(texts: Any, now: int) -> Any:
        client.hset(f"{{{store.namespace}:run/one}}", "a", uuid.uuid4().hex)
        return put({"a": "mine"})(texts, now)

    with pytest.raises(Unavailable, match="others kept changing"):
        await store.change("one", ["a"], crossed)
    await store.aclose()


# The list of runs


async def test_a_run_that_was_listed_and_never_begun_is_passed_over_and_taken_off_after_an_hour(clocked, clock, client):
    runs = f"{{{clocked.namespace}:runs}}"
    await clocked.write("first", {"a": "1"})
    client.zadd(runs, {f"lost{n}": NOW + 10 + n for n in range(5)})
    clock.now += 100
    await clocked.write("last", {"a": "1"})

    page = await clocked.runs(limit=2)
    assert ([entry.run for entry in page.runs], page.after) == (["last", "first"], None)
    assert client.zcard(runs) == 7

    clock.now += 3601 * SECOND
    assert await all_runs(clocked, limit=1) == ["last", "first"]
    assert client.zrange(runs, 0, -1) == ["first", "last"]


async def test_a_run_that_is_begun_where_its_place_was_left_behind_is_given_a_new_one(clocked, clock, client):
    runs = f"{{{clocked.namespace}:runs}}"
    client.zadd(runs, {"old": NOW - 2000 * SECOND, "young": NOW - 10})
    await clocked.write("before", {"a": "1"})

    await clocked.write("old", {"a": "1"})
    await clocked.write("young", {"a": "1"})

    assert await all_runs(clocked) == ["young", "old", "before"]


async def test_the_list_keeps_its_order_when_the_clock_is_set_back(clocked, clock):
    await clocked.write("one", {"a": "1"})
    clock.now -= 3600 * SECOND
    await clocked.write("two", {"a": "1"})
    clock.now += 60 * SECOND
    await clocked.write("three", {"a": "1"})
    await clocked.write("one", {"a": "2"})

    page = await clocked.runs(limit=10)

    assert [entry.run for entry in page.runs] == ["three", "two", "one"]
    two, one = page.runs[1:]
    assert (two.begun_at, two.changed_at) == (NOW - 3600 * SECOND, NOW - 3600 * SECOND)
    # A run is never said to have changed before it did.
    assert (one.begun_at, one.changed_at) == (NOW, NOW + 1)


async def test_a_removal_that_was_cut_short_is_finished_by_the_next(store, client, monkeypatch):
    monkeypatch.setattr(journal_calls, "_TOGETHER", 10)
    for number in range(35):
        await store.write("one", {"a": "1"}, shelf=f"s{number}")
    await store.write("one", {"a": "1"})
    real, turns = store._home.here().calls._evaluate, []

    async def failing(script: str, *args: Any, **terms: Any) -> Any:
        turns.append(script)
        if turns.count("_journal_remove") == 3:
            raise Unavailable("cut short")
        return await real(script, *args, **terms)

    monkeypatch.setattr(store._home.here().calls, "_evaluate", failing)
    with pytest.raises(Unavailable):
        await store.remove("one")

    # Half of it is gone; it is a run still, that can be seen and removed.
    monkeypatch.undo()
    assert await all_runs(store) == ["one"]
    assert client.scard(f"{{{store.namespace}:run/one}}:shelves") == 15
    assert await store.remove("one") is True
    assert client.keys(f"{{{store.namespace}:*") == []


async def test_a_run_removed_by_somebody_else_can_begin_anew_at_once_and_is_listed(server, store):
    other = open_redis_journal(server.url, store.namespace)
    for turn in range(5):
        await store.write("one", {"a": f"{turn}"})
        await other.remove("one")
        await store.write("one", {"b": f"{turn}"})
        assert await all_runs(other) == ["one"]
        assert await other.read("one") == {"b": f"{turn}"}
    await other.aclose()


async def test_a_run_that_begins_anew_while_it_is_taken_off_the_list_stays_on_it(server, store, monkeypatch):
    other = open_redis_journal(server.url, store.namespace)
    await store.write("one", {"a": "1"})
    calls = other._home.here().calls
    remove = calls.remove

    async def removed_and_begun(run: str) -> Any:
        end = await remove(run)
        await store.write("one", {"b": "1"})
        return end

    monkeypatch.setattr(calls, "remove", removed_and_begun)
    assert await other.remove("one") is True

    assert await all_runs(store) == ["one"]
    assert await store.read("one") == {"b": "1"}
    await other.aclose()


async def test_a_cursor_of_another_store_is_refused(store):
    with pytest.raises(Misuse, match="cursor"):
        await store.runs(limit=1, after="2026-01-01")


# Large shelves


async def test_a_shelf_of_a_hundred_thousand_texts_is_read_in_parts_and_unlinked(store, client):
    texts = {f"item/map/{number}": f"{number}" + "x" * 60 for number in range(100_000)}
    items = list(texts.items())
    for start in range(0, len(items), 10_000):
        await store.write("large", dict(items[start : start + 10_000]), shelf="items")
    before = calls(client)

    assert await store.read("large", "items") == texts
    assert await store.remove("large") is True

    ran = {name: count - before.get(name, 0) for name, count in calls(client).items()}
    assert ran.get("hgetall", 0) == ran.get("del", 0) == 0
    assert ran["hscan"] >= 50
    assert ran["unlink"] >= 1
    assert client.keys(f"{{{store.namespace}:*") == []


async def test_large_texts_are_read_a_few_at_a_time(store, client):
    for number in range(0, 400, 20):
        await store.write("one", {f"p{n}": chr(65 + n % 26) * 200_000 for n in range(number, number + 20)})
    before = calls(client)

    texts = await store.read("one")

    assert {path: len(text) for path, text in texts.items()} == {f"p{n}": 200_000 for n in range(400)}
    # About 5 texts of 200 kB make a part.
    assert calls(client)["hscan"] - before.get("hscan", 0) > 20


async def test_a_run_of_thousands_of_shelves_is_removed(store, client):
    await asyncio.gather(*(store.write("one", {"a": "1"}, shelf=f"task/{n}") for n in range(3500)))
    await store.write("one", {"a": "1"})

    assert await store.remove("one") is True

    assert client.keys(f"{{{store.namespace}:*") == []
    assert await store.remove("one") is False


async def test_thousands_of_paths_are_asked_for_and_changed_at_once(store):
    paths = [f"p{number}" for number in range(9000)]

    await store.change("one", paths, put(dict.fromkeys(paths, "1")))
    await store.change("one", paths, put(dict.fromkeys(paths[::2])))

    found, _ = await store.get("one", paths)
    assert found == dict.fromkeys(paths[1::2], "1")
    given, _ = await store.change("one", paths, look)
    assert given == {**dict.fromkeys(paths), **found}


# The clock


async def test_a_clock_of_the_test_s_own_is_used_throughout(clocked, clock):
    await clocked.change("one", ["a"], put({"a": "1"}))
    clock.now += 5

    assert (await clocked.get("one", ["a"])) == ({"a": "1"}, NOW + 5)
    assert (await clocked.change("one", ["a"], look)) == ({"a": "1"}, NOW + 5)
    (entry,) = (await clocked.runs(limit=1)).runs
    assert (entry.begun_at, entry.changed_at) == (NOW, NOW)


async def test_the_clock_is_the_server_s(store, client):
    seconds, micros = client.time()
    _, got = await store.get("one", [])
    _, decided = await store.change("one", [], look)
    later_seconds, later_micros = client.time()

    before, after = seconds * SECOND + micros, later_seconds * SECOND + later_micros
    assert before <= got <= decided <= after
