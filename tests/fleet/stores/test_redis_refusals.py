"""What a Redis server refuses comes out as the error that says what to do, without secrets, and changes nothing."""

from __future__ import annotations

import asyncio
import threading

import pytest
import redis

from coterie.errors import Misuse, StateFormatError, Unavailable
from tests.fleet.stores.redis_waiting import KEY, add, total, until_unavailable
from tests.fleet.twins.counting import count
from tests.support.redis_servers import HOST, Server, redis62, valkey


@pytest.mark.parametrize("start", [valkey, redis62], ids=["Valkey", "Redis 6.2"])
@pytest.mark.parametrize("change", [add, count(1)], ids=["compare and set", "twin"])
async def test_a_key_of_another_kind_is_a_format_error_and_stays_as_it_was(opened, start, change):
    with start() as server, server.client() as client:
        store = opened(server.url, namespace="ns")
        client.rpush("{ns:limit/counter}", "one")

        with pytest.raises(StateFormatError, match="WRONGTYPE"):
            await store.update(KEY, change)
        with pytest.raises(StateFormatError):
            await store.read(KEY)

        assert client.lrange("{ns:limit/counter}", 0, -1) == ["one"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "17", '{"v":'])
async def test_a_text_that_is_no_state_is_a_format_error_for_all_who_wait(opened, shared, text):
    store = opened(shared.url)
    with shared.client() as client:
        client.set(f"{{{store.namespace}:{KEY}}}", text)

    ends = await asyncio.gather(*(store.update(KEY, add) for _ in range(3)), return_exceptions=True)

    assert [type(end) for end in ends] == [StateFormatError] * 3
    assert len({id(end) for end in ends}) == 3


@pytest.mark.parametrize("start", [valkey, redis62], ids=["Valkey", "Redis 6.2"])
@pytest.mark.parametrize("change", [add, count(1)], ids=["compare and set", "twin"])
async def test_a_server_without_memory_is_unavailable(opened, start, change):
    with start() as server, server.client() as client:
        store = opened(server.url)
        await store.update(KEY, change)
        client.config_set("maxmemory", 1)

        with pytest.raises(Unavailable, match="OOM"):
            await store.update(KEY, change)
        client.config_set("maxmemory", 0)

        await store.update(KEY, change)
        assert await total(store) == 2


@pytest.mark.parametrize("start", [valkey, redis62], ids=["Valkey", "Redis 6.2"])
@pytest.mark.parametrize("change", [add, count(1)], ids=["compare and set", "twin"])
async def test_a_server_that_became_a_replica_is_unavailable(opened, start, change):
    with start() as server, server.client() as client:
        store = opened(server.url)
        await store.update(KEY, change)
        client.execute_command("REPLICAOF", HOST, 1)

        with pytest.raises(Unavailable):
            await store.update(KEY, change)


async def test_a_server_busy_with_a_script_is_unavailable(opened, server):
    store = opened(server.url)
    await store.update(KEY, add)
    with server.client() as client:
        client.config_set("busy-reply-threshold", 1)
    loops = threading.Thread(target=_loop_for_ever, args=(server,))
    loops.start()

    with pytest.raises(Unavailable, match="BUSY"):
        await until_unavailable(lambda: store.update(KEY, count(0)))
    with server.client() as client:
        client.script_kill()
    loops.join()

    assert await store.update(KEY, add) == 2


@pytest.mark.parametrize("login", ["bob:wr0ng@", ":wr0ng@", "nobody:wr0ng@"])
async def test_a_wrong_password_is_misuse_and_is_not_shown(opened, login):
    with valkey(user="bob") as server:
        with server.client() as client:
            client.config_set("requirepass", "r1ght")
        store = opened(f"redis://{login}{HOST}:{server.port}")

        for use in (lambda: store.update(KEY, add), lambda: store.subscribe(KEY, print)):
            with pytest.raises(Misuse, match="give the right user and password") as caught:
                await use()
            assert "wr0ng" not in repr(caught.value) + repr(caught.value.__cause__)

        with pytest.raises(Misuse, match="give the right user and password"):
            await opened(f"redis://{HOST}:{server.port}").read(KEY)


async def test_a_user_without_the_rights_is_told_which(opened, server):
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@read", "+@connection")
    store = opened(f"redis://reader:pw@{HOST}:{server.port}")

    with pytest.raises(Misuse, match=r"NOPERM .*let the user do"):
        await store.update(KEY, add)
    with pytest.raises(Misuse, match="NOPERM"):
        await store.subscribe(KEY, print)


async def test_the_rights_that_the_error_names_suffice(opened, server):
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "least", "on", ">pw", *RIGHTS.split())
    store, inbox = opened(f"redis://least:pw@{HOST}:{server.port}", namespace="ns"), []

    await store.subscribe(KEY, inbox.append)
    await store.update(KEY, count(10))
    await store.update("pool/a", add, keep_s=60)
    await store.publish(KEY, "by hand")

    assert await store.keys("limit") == [KEY]
    assert (await store.read(KEY))[0] is not None
    await store.unsubscribe(KEY, inbox.append)
    assert inbox[:1] == ["at 10"]


RIGHTS = "+@connection +evalsha +eval +get +set +del +time +scan +publish +subscribe +unsubscribe ~{ns:* &ns*"


async def test_a_database_that_is_not_there_is_misuse(opened, server):
    with pytest.raises(Misuse, match="DB index"):
        await opened(server.url.removesuffix("0") + "99").read(KEY)


async def test_what_is_no_redis_is_unavailable(opened):
    async def say_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_hello, HOST, 0) as other:
        store = opened(f"redis://{HOST}:{other.sockets[0].getsockname()[1]}")

        with pytest.raises(Unavailable, match="does not speak the protocol"):
            await store.read(KEY)
        other.close()


def _loop_for_ever(server: Server) -> None:
    with server.client() as client, pytest.raises(redis.ResponseError, match="SCRIPT KILL"):
        client.eval("while true do end", 0)
