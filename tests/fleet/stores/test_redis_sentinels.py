"""A store under sentinels follows the primary, whoever it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from coterie.errors import Misuse, Unavailable
from coterie.stores.redis import RedisPolicy
from tests.fleet.stores.redis_waiting import KEY, WEDGED_S, add, eventually, until
from tests.fleet.twins.counting import count
from tests.support.redis_servers import HOST, Sentinels, valkey_sentinels


@pytest.fixture
def policy() -> RedisPolicy:
    """Of several servers, one may be slower to answer."""
    return RedisPolicy(connect_timeout_s=2.0, op_timeout_s=1.0, ping_every_s=0.2, close_timeout_s=0.2)


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Sentinels]:
    with valkey_sentinels() as running:
        yield running


async def test_updates_go_on_after_an_ordered_failover(sentinels, opened):
    store, inbox = opened(sentinels.url), []
    await store.subscribe(KEY, inbox.append)
    await store.update("pool/a", add)
    await store.update(KEY, count(1))
    calls = 0

    async def keep_calling(stop: asyncio.Event) -> None:
        nonlocal calls
        while not stop.is_set():
            await eventually(lambda: store.update("pool/a", add))
            calls += 1

    stop = asyncio.Event()
    calling = asyncio.create_task(keep_calling(stop))
    await asyncio.to_thread(sentinels.fail_over)
    before = calls
    await until(lambda: calls > before + 10)
    stop.set()
    await calling

    # The new primary has never seen the scripts. Replication is asynchronous: a state may be older, never broken.
    assert (await eventually(lambda: store.update(KEY, count(10))))["total"] in (10, 11)
    await until(lambda: None in inbox)
    await eventually(lambda: store.publish(KEY, "after"))
    await until(lambda: "after" in inbox)


async def test_a_primary_that_died_is_unavailable_until_another_took_over(opened):
    with valkey_sentinels() as sentinels:
        store, inbox = opened(sentinels.url), []
        await store.subscribe(KEY, inbox.append)
        await store.update(KEY, add)
        before = sentinels.primary()
        with before.client() as client:
            client.execute_command("WAIT", 1, 5000)

        before.kill()
        with pytest.raises(Unavailable):
            await store.update(KEY, add)

        # Not a restart, not a new store: the same one goes on where the replica stood.
        assert await eventually(lambda: store.update(KEY, add)) == 2
        assert sentinels.primary() is not before
        await until(lambda: None in inbox)


async def test_a_primary_that_nobody_has_told_of_its_end_is_left_at_the_sentinels_word(opened):
    with valkey_sentinels() as sentinels:
        store = opened(sentinels.url)
        old = sentinels.primary()
        await store.update(KEY, add)
        with old.client() as client:
            # Sentinels cannot make it a replica: it goes on taking what would be lost.
            client.execute_command("ACL", "SETUSER", "default", "-replicaof", "-slaveof", "-client|kill")

        new = await asyncio.to_thread(sentinels.fail_over)
        name = f"{{{store.namespace}:pool/new}}"
        async with asyncio.timeout(WEDGED_S):
            with new.client() as client:
                while not client.exists(name):
                    await eventually(lambda: store.update("pool/new", add))

        with old.client() as client:
            assert client.execute_command("ROLE")[0] == "master"


async def test_a_service_that_no_sentinel_knows_is_unavailable(sentinels, opened):
    with pytest.raises(Unavailable, match=r"no sentinel names a primary of 'other' .*it knows of none"):
        await opened(sentinels.url.replace("/coterie", "/other")).read(KEY)


async def test_a_sentinel_that_is_away_is_passed_over(sentinels, opened):
    store = opened(sentinels.url.replace("://", f"://{HOST}:1,"))

    assert (await eventually(lambda: store.read(KEY)))[1] > 0


async def test_a_server_that_is_no_cluster_says_so(sentinels, opened):
    store = opened(f"redis+cluster://{HOST}:{sentinels.servers[0].port}")

    with pytest.raises((Unavailable, Misuse), match="cluster"):
        await store.read(KEY)
