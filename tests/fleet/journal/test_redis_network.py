"""What a Redis journal does when the network lets it down: nothing half done, nothing twice, never wedged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from coterie.errors import Unavailable
from coterie.stores.redis import RedisJournalPolicy
from coterie.testing.journal_handles import count_up, look, put
from tests.fleet.stores.redis_waiting import WEDGED_S, eventually, until
from tests.support.redis_servers import HOST, Server
from tests.support.tcp_proxy import TcpProxy


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(server.port) as running:
        yield running


@pytest.mark.parametrize(
    ("write", "answers"),
    [
        (lambda store: store.write("one", {"n": "2"}), 0),
        # The first answer is the one to the reading.
        (lambda store: store.change("one", ["n"], count_up()), 1),
    ],
    ids=["write", "change"],
)
async def test_a_write_whose_answer_was_cut_off_is_reported_and_not_made_twice(opened, proxy, write, answers):
    store = opened(f"redis://{HOST}:{proxy.port}")
    await store.change("one", ["n"], put({"n": "1"}))

    proxy.cut_at_next_answer(after=answers)
    with pytest.raises(Unavailable, match="whether it was carried out is not known") as caught:
        await write(store)

    assert isinstance(caught.value.__cause__, ConnectionError)
    assert await store.read("one") == {"n": "2"}


async def test_the_first_write_of_a_run_that_is_cut_off_anywhere_is_whole_or_not_there_and_can_be_repeated(
    opened, proxy
):
    store = opened(f"redis://{HOST}:{proxy.port}")
    await store.runs(limit=1)

    for number in range(12):
        run = f"r{number}"
        if number % 2:
            proxy.cut_at_next_answer(after=number // 2)
        else:
            proxy.cut_at_next_request(after=number // 2, torn=True)
        try:
            await store.write(run, {"a": "1", "b": "1"})
        except Unavailable:
            assert await store.read(run) in ({}, {"a": "1", "b": "1"})
            await eventually(lambda run=run: store.write(run, {"a": "1", "b": "1"}))
        assert await eventually(lambda run=run: store.read(run)) == {"a": "1", "b": "1"}

    listed = await eventually(lambda: store.runs(limit=100))
    assert sorted(entry.run for entry in listed.runs) == sorted(f"r{number}" for number in range(12))


async def test_readings_that_are_cut_off_are_made_again(opened, proxy):
    store = opened(f"redis://{HOST}:{proxy.port}")
    await store.write("one", {"a": "1"})

    uses: list[Callable[[], Any]] = [
        lambda: store.get("one", ["a"]), lambda: store.read("one"), lambda: store.runs(limit=1),
        lambda: store.change("one", ["a"], look),
    ]  # fmt: skip
    for use in uses:
        proxy.cut_at_next_answer()
        assert await use()


async def test_a_shelf_is_read_anew_where_the_connection_changes_meanwhile(opened, proxy):
    store = opened(f"redis://{HOST}:{proxy.port}", policy=RedisJournalPolicy())
    texts = {f"item/{number}": f"{number}" * 20 for number in range(5000)}
    await store.write("one", texts)

    for cut_after in (1, 3, 5, 7):
        proxy.cut_at_next_answer(after=cut_after)
        assert await store.read("one") == texts

    assert proxy.accepted > 4


async def test_a_shelf_is_read_anew_where_the_server_was_started_again_meanwhile(opened, server, monkeypatch):
    store = opened(server.url, policy=RedisJournalPolicy())
    texts = {f"item/{number}": f"{number}" * 20 for number in range(20_000)}
    await store.write("one", texts)
    route = store._home.here().route
    run, scans = route.run, []

    async def restarting(key: bytes, command: Any, **terms: Any) -> Any:
        if command[0] == "HSCAN":
            scans.append(command[2])
            if len(scans) == 8:
                # It keeps what it has in another order now.
                await asyncio.to_thread(server.restart)
        return await run(key, command, **terms)

    monkeypatch.setattr(route, "run", restarting)
    assert await store.read("one") == texts
    assert scans.count(b"0") == 2


async def test_a_silent_network_ends_in_unavailable_for_all_and_they_are_back_when_it_is(opened, proxy):
    store = opened(f"redis://{HOST}:{proxy.port}")
    await store.write("one", {"a": "1"})

    proxy.stall()
    async with asyncio.timeout(WEDGED_S):
        ends = await asyncio.gather(
            *(store.write("one", {f"p{n}": "1"}) for n in range(50)),
            *(store.change("one", ["n"], count_up()) for _ in range(10)),
            *(use() for use in (lambda: store.read("one"), lambda: store.runs(limit=1), lambda: store.remove("two"))),
            return_exceptions=True,
        )
    proxy.flow()

    assert {type(end) for end in ends} == {Unavailable}
    await eventually(lambda: store.write("one", {"a": "2"}))


async def test_a_server_that_refuses_connections_is_unavailable_at_once_and_used_again_later(opened, proxy):
    store = opened(f"redis://{HOST}:{proxy.port}")
    proxy.refuse()

    ends = await asyncio.gather(*(store.write("one", {f"p{n}": "1"}) for n in range(20)), return_exceptions=True)
    proxy.accept()

    assert {type(end) for end in ends} == {Unavailable}
    # One attempt was shared by all.
    assert proxy.accepted <= 2
    await store.write("one", {"a": "1"})


async def test_closing_while_it_connects_leaves_nobody_waiting(opened, proxy):
    store = opened(f"redis://{HOST}:{proxy.port}")
    proxy.stall()
    uses = (
        store.write("one", {"a": "1"}), store.change("one", ["a"], put({"a": "1"})), store.read("one"),
        store.get("one", ["a"]), store.runs(limit=1), store.remove("one"),
    )  # fmt: skip
    waiting = [asyncio.ensure_future(use) for use in uses]
    await until(lambda: proxy.accepted >= 1)

    await store.aclose()
    async with asyncio.timeout(WEDGED_S):
        ends = await asyncio.gather(*waiting, return_exceptions=True)
    proxy.flow()

    assert [type(end) for end in ends] == [Unavailable] * len(uses)
    await until(lambda: proxy.connections == 0)


async def test_no_error_shows_the_password(opened):
    store = opened(f"redis://bob:s3cret@{HOST}:1/0")

    with pytest.raises(Unavailable, match=rf"{HOST}:1/0 failed to write 'one'.*is the server up") as caught:
        await store.write("one", {"a": "1"})

    assert "s3cret" not in repr(caught.value) + repr(caught.value.__cause__) + repr(store)
