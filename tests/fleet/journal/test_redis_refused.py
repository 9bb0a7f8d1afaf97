"""What a server refuses, or cannot do now, comes out as the error that says what to do, and changes nothing."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import redis

from coterie.errors import StateFormatError, Unavailable
from coterie.ports import JournalStore
from coterie.testing.journal_handles import count_up, look
from tests.fleet.stores.redis_waiting import WEDGED_S, eventually, until, until_unavailable
from tests.support.redis_servers import HOST, SYNCED, Server, redis62, valkey

SERVERS = pytest.mark.parametrize("start", [valkey, redis62], ids=["Valkey", "Redis 6.2"])
WRITES = pytest.mark.parametrize(
    "write",
    [lambda store: store.write("one", {"a": "2", "b": "2"}), lambda store: store.change("one", ["n"], count_up())],
    ids=["write", "change"],
)


async def everything(store: JournalStore) -> list[Any]:
    """What is there, run by run, shelf by shelf."""
    page = await store.runs(limit=100)
    return [(entry.run, await store.read(entry.run), await store.read(entry.run, "s")) for entry in page.runs]


# The server's memory, disk and role


@SERVERS
@WRITES
async def test_a_server_without_memory_is_unavailable_and_keeps_what_it_has(opened, start, write):
    with start(arguments=SYNCED) as server, server.client() as client:
        store = opened(server.url)
        await store.write("one", {"a": "1", "n": "1"})
        before = await everything(store)
        client.config_set("maxmemory", 1)

        with pytest.raises(Unavailable, match="OOM"):
            await write(store)
        with pytest.raises(Unavailable, match="OOM"):
            await store.write("two", {"a": "1"})
        with pytest.raises(Unavailable, match="OOM"):
            await store.write("one", {"a": None, "b": "1"})

        assert await everything(store) == before
        # What gives memory back is not refused.
        await store.write("one", {"a": None})
        assert await store.read("one") == {"n": "1"}
        assert await store.remove("one") is True
        client.config_set("maxmemory", 0)
        await store.write("two", {"a": "1"})


@SERVERS
@WRITES
async def test_a_server_that_cannot_save_is_unavailable(opened, start, write):
    with start(arguments=SYNCED) as server, server.client() as client:
        store = opened(server.url)
        await store.write("one", {"a": "1", "n": "1"})
        before = await everything(store)
        # What it would save takes the place of a folder, which fails.
        (server.folder / "dump.rdb" / "x").mkdir(parents=True)
        client.config_set("save", "3600 1")
        client.bgsave()
        await until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")

        with pytest.raises(Unavailable, match="MISCONF"):
            await write(store)

        assert await everything(store) == before
        client.config_set("stop-writes-on-bgsave-error", "no")
        await write(store)


@SERVERS
@WRITES
async def test_a_server_that_became_a_replica_is_unavailable(opened, start, write):
    with start(arguments=SYNCED) as server, server.client() as client:
        store = opened(server.url)
        await store.write("one", {"a": "1"})
        client.execute_command("REPLICAOF", HOST, 1)

        with pytest.raises(Unavailable):
            await write(store)
        # Also on a new connection, where it is looked at as what it is now.
        with pytest.raises(Unavailable):
            await write(opened(server.url, namespace=store.namespace))
        client.execute_command("REPLICAOF", "NO", "ONE")

        await eventually(lambda: write(store))


async def test_a_server_that_lacks_the_replicas_it_wants_is_unavailable(opened, server):
    store = opened(server.url)
    await store.write("one", {"a": "1"})
    with server.client() as client:
        client.config_set("min-replicas-to-write", 1)

        with pytest.raises(Unavailable, match="NOREPLICAS"):
            await store.write("one", {"a": "2"})

        client.config_set("min-replicas-to-write", 0)
    assert await store.read("one") == {"a": "1"}


async def test_a_server_that_loads_its_data_is_unavailable_and_used_when_it_has(opened, server):
    store = opened(server.url)
    await store.write("one", {f"p{n}": "1" for n in range(100)})
    with server.client() as client:
        client.config_set("rdbcompression", "no")
        for number in range(300):
            client.set(f"ballast:{number}", "x" * 100)
        client.execute_command("BGREWRITEAOF")
        await until(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0)
    server.arguments = [*server.arguments, "--key-load-delay", "300", "--loading-process-events-interval-bytes", "1024"]

    server.kill()
    starting = asyncio.create_task(asyncio.to_thread(server.start))
    seen: set[str] = set()
    async with asyncio.timeout(WEDGED_S):
        while not starting.done():
            try:
                await store.write("one", {"a": "1"})
            except Unavailable as error:
                seen.add(str(error).partition(": ")[2].partition(" ")[0])
            await asyncio.sleep(0.01)
    await starting

    assert "LOADING" in seen
    await eventually(lambda: store.write("one", {"a": "2"}))
    assert len(await store.read("one")) == 101


async def test_a_server_busy_with_a_script_is_unavailable(opened, server):
    store = opened(server.url)
    await store.write("one", {"a": "1"})
    with server.client() as client:
        client.config_set("busy-reply-threshold", 1)
    loops = threading.Thread(target=_loop_for_ever, args=(server,))
    loops.start()

    with pytest.raises(Unavailable, match="BUSY"):
        await until_unavailable(lambda: store.write("one", {"a": "2"}))
    with server.client() as client:
        client.script_kill()
    loops.join()

    await store.write("one", {"a": "3"})


def _loop_for_ever(server: Server) -> None:
    with server.client() as client, pytest.raises(redis.ResponseError, match="SCRIPT KILL"):
        client.eval("while true do end", 0)


async def test_scripts_that_were_flushed_are_given_again(opened, server):
    store = opened(server.url)
    await store.write("one", {"a": "1"})
    with server.client() as client:
        client.script_flush()

    await asyncio.gather(*(store.write("one", {f"p{n}": "1"}) for n in range(5)), store.runs(limit=1))
    with server.client() as client:
        client.script_flush()

    assert await store.change("one", ["n"], count_up()) == 1
    assert len(await store.read("one")) == 7


# What lies there


@SERVERS
@pytest.mark.parametrize(
    "key", ["{{{}:run/one}}", "{{{}:run/one}}:about", "{{{}:run/one}}:shelves", "{{{}:run/one}}/s"]
)
async def test_a_key_of_another_kind_is_a_format_error_and_nothing_is_written(opened, start, key):
    with start(arguments=SYNCED) as server, server.client() as client:
        store = opened(server.url)
        name = key.format(store.namespace)
        client.rpush(name, "theirs")

        with pytest.raises(StateFormatError, match="WRONGTYPE"):
            await store.write("one", {"a": "1"}, shelf="s")

        assert client.lrange(name, 0, -1) == ["theirs"]
        assert set(client.keys(f"{{{store.namespace}:run*")) <= {name}


async def test_a_list_of_runs_of_another_kind_is_a_format_error(opened, server):
    store = opened(server.url)
    with server.client() as client:
        client.set(f"{{{store.namespace}:runs}}", "theirs")

        for use in (lambda: store.write("one", {"a": "1"}), lambda: store.runs(limit=1)):
            with pytest.raises(StateFormatError, match="WRONGTYPE"):
                await use()

        assert len(client.keys(f"{{{store.namespace}:*")) == 1


async def test_what_is_no_text_is_a_format_error(opened, server):
    store = opened(server.url)
    await store.write("one", {"a": "1"})
    with server.client() as client:
        client.hset(f"{{{store.namespace}:run/one}}", "a", b"\xff\xfe")

    for use in (
        lambda: store.read("one"), lambda: store.get("one", ["a"]), lambda: store.change("one", ["a"], look)
    ):  # fmt: skip
        with pytest.raises(StateFormatError, match="no text"):
            await use()
