"""What a Redis log does when the network lets it down: nothing half done, nothing twice, nothing held by nobody."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from coterie.errors import Unavailable
from coterie.stores.redis import RedisJournalPolicy
from coterie.stores.redis.log import RedisLogStore, open_redis_log
from coterie.testing.log_handles import TOPIC, Bell, append, group_of, ids, positions, read_all, take
from tests.fleet.stores.redis_waiting import all_closed, eventually
from tests.support.redis_servers import HOST, Server, valkey
from tests.support.tcp_proxy import TcpProxy

# Short, so that tests of silence are; a loop that is held up for so long is none of this file's.
HASTY = RedisJournalPolicy(
    connect_timeout_s=0.5, op_timeout_s=0.5, update_timeout_s=1.0, ping_every_s=0.1, close_timeout_s=0.2
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with valkey() as running:
        yield running


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(server.port) as running:
        yield running


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., RedisLogStore]]:
    async with all_closed() as stores:

        def open_one(url: str, *, namespace: str | None = None) -> RedisLogStore:
            stores.append(store := open_redis_log(url, namespace or uuid.uuid4().hex, policy=HASTY))
            return store

        yield open_one


@pytest.fixture
def store(opened: Callable[..., RedisLogStore], proxy: TcpProxy) -> RedisLogStore:
    return opened(f"redis://{HOST}:{proxy.port}")


async def test_messages_whose_answer_was_cut_off_are_duplicates_when_they_are_appended_again(store, proxy):
    await append(store, "first")

    proxy.cut_at_next_answer()
    with pytest.raises(Unavailable, match="whether it was carried out is not known") as caught:
        await append(store, "a", "b")
    again = await append(store, "a", "b", "c")

    assert isinstance(caught.value.__cause__, ConnectionError)
    assert [answer.is_duplicate for answer in again] == [True, True, False]
    assert await read_all(store) == ["first", "a", "b", "c"]


async def test_messages_that_are_cut_off_anywhere_are_there_once_and_whole_when_they_are_appended_again(store, proxy):
    await append(store, "first")

    for number in range(12):
        if number % 2:
            proxy.cut_at_next_answer()
        else:
            proxy.cut_at_next_request(torn=number % 4 == 0)
        made = [f"{number}-{part}" for part in range(100)]
        await eventually(lambda made=made: append(store, *made))

    got = await read_all(store)
    assert got == ["first", *(f"{number}-{part}" for number in range(12) for part in range(100))]


async def test_what_a_taker_never_heard_of_having_taken_comes_with_its_next_call(store, proxy):
    await append(store, "a", "b", "c", "d")
    held = await take(store, limit=1)

    proxy.cut_at_next_answer()
    with pytest.raises(Unavailable):
        await take(store, limit=2)
    next_ones = await take(store, limit=10)

    assert ids(held) == ["a"]
    assert ids(next_ones) == ["b", "c", "d"]
    # Nobody has seen the delivery that was lost: it does not count.
    assert [delivery.number for delivery in next_ones.deliveries] == [1, 1, 1]
    assert (await group_of(store)).held == 4


async def test_what_a_taker_never_heard_of_having_taken_may_come_to_another_one(store, proxy):
    await append(store, "a", "b")

    proxy.cut_at_next_answer()
    with pytest.raises(Unavailable):
        await take(store)
    assert ids(await take(store, limit=0)) == []

    assert ids(await take(store, "another")) == ["a", "b"]


async def test_what_is_done_is_acknowledged_again_where_the_answer_was_cut_off(store, proxy):
    await append(store, "a", "b", "c")
    done = positions(await take(store, limit=2))

    proxy.cut_at_next_answer()
    with pytest.raises(Unavailable):
        await take(store, limit=1, done=done)
    again = await take(store, limit=1, done=done)

    assert list(again.stale) == done
    assert ids(again) == ["c"]
    assert (await group_of(store)).held == 1


async def test_a_take_that_is_cancelled_leaves_nothing_with_nobody(store):
    await append(store, "a", "b")
    await take(store, limit=0)

    taking = asyncio.create_task(take(store))
    # It has been sent by then, or not: both must do.
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking

    assert ids(await take(store)) == ["a", "b"]


async def test_readings_that_are_cut_off_are_made_again(store, proxy):
    await append(store, "a")
    await take(store)

    uses: list[Callable[[], Any]] = [
        lambda: store.read(TOPIC), lambda: store.locate(TOPIC, None), store.topics,
        lambda: store.groups(TOPIC), lambda: store.dead_letters(TOPIC, "group"),
        lambda: store.beat(TOPIC, "group", "one", lease_s=15),
    ]  # fmt: skip
    for use in uses:
        proxy.cut_at_next_answer()
        assert await use()


async def test_a_server_that_says_nothing_is_unavailable_and_then_found_again(store, proxy):
    await append(store, "a")

    proxy.stall()
    with pytest.raises(Unavailable, match="no answer within"):
        await append(store, "b")
    proxy.flow()

    await eventually(lambda: append(store, "b"))
    assert await read_all(store) == ["a", "b"]


async def test_who_watches_is_told_that_notices_may_have_been_missed(store, proxy, opened, server):
    notices: list[str | None] = []
    bell = Bell()

    def notice(message: str | None) -> None:
        notices.append(message)
        bell(message)

    await store.watch(TOPIC, notice)
    other = opened(server.url, namespace=store.namespace)

    await append(other, "a")
    await bell.rings()
    proxy.cut()
    await bell.rings()
    await append(other, "b")
    await bell.rings()
    await store.unwatch(TOPIC, notice)

    assert notices == [TOPIC, None, TOPIC]


async def test_of_many_calls_of_one_moment_the_first_leaves_at_once_and_the_others_together(store):
    await append(store, "first")
    wire = store._home.here().route._line.open_wire()
    writes: list[bytes] = []
    transport = wire._transport

    class Counting:
        def write(self, data: bytes) -> None:
            writes.append(data)
            transport.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(transport, name)

    wire._transport = Counting()
    await asyncio.gather(*(append(store, f"{number}") for number in range(10)))
    wire._transport = transport

    assert [write.count(b"EVALSHA") for write in writes] == [1, 9]
    assert sorted(await read_all(store)) == sorted(["first", *map(str, range(10))])
