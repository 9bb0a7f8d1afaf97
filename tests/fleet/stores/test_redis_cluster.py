"""A store on a cluster finds its keys on whatever node they are."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from coterie.errors import Unavailable
from coterie.stores.redis import RedisPolicy
from coterie.stores.redis.cluster import slot_of
from tests.fleet.stores.redis_waiting import KEY, add, eventually, until
from tests.fleet.twins.counting import count
from tests.support.redis_servers import HOST, Cluster, Server, valkey_cluster


@pytest.fixture
def policy() -> RedisPolicy:
    """Of several servers, one may be slower to answer."""
    return RedisPolicy(connect_timeout_s=2.0, op_timeout_s=1.0, ping_every_s=0.2, close_timeout_s=0.2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with valkey_cluster() as running:
        yield running


async def test_keys_are_spread_over_the_cluster_and_all_found(cluster, opened):
    store = opened(cluster.url)
    keys = sorted(f"pool/k{number}" for number in range(60))

    await asyncio.gather(*(store.update(key, add) for key in keys), *(store.update(key, add) for key in keys))

    assert await store.keys("pool") == keys
    owners = {cluster.owner(f"{{{store.namespace}:{key}}}").port for key in keys}
    assert len(owners) == 3
    assert [((await store.read(key))[0] or {})["total"] for key in keys] == [2] * 60


async def test_scripts_are_loaded_on_every_node_and_again_after_a_flush(cluster, opened):
    store = opened(cluster.url)
    keys = [f"limit/k{number}" for number in range(30)]

    for round_ in range(1, 4):
        for node in cluster.nodes:
            with node.client() as client:
                client.script_flush()
        results = await asyncio.gather(*(store.update(key, count(1)) for key in keys))
        assert [result["total"] for result in results] == [round_] * 30


@pytest.mark.parametrize("change", [add, count(1)], ids=["compare and set", "twin"])
async def test_a_slot_that_moves_is_followed_at_every_stage(cluster, opened, change):
    store, key = opened(cluster.url), f"limit/{uuid.uuid4().hex[:8]}"
    await store.update(key, change)
    name = f"{{{store.namespace}:{key}}}"
    source = cluster.owner(name)
    target = next(node for node in cluster.primaries if node is not source)

    _cluster(target, "SETSLOT", slot_of(name.encode()), "IMPORTING", _id(source))
    _cluster(source, "SETSLOT", slot_of(name.encode()), "MIGRATING", _id(target))
    await store.update(key, change)
    with source.client() as client:
        client.execute_command("MIGRATE", HOST, target.port, name, 0, 5000)
    # The key is there, the slot not yet: the node sends us on for this once.
    await store.update(key, change)
    for node in (target, source, *cluster.primaries):
        _cluster(node, "SETSLOT", slot_of(name.encode()), "NODE", _id(target))
    await store.update(key, change)
    await store.update(key, change)

    state, _ = await store.read(key)
    assert (state or {})["total"] == 5
    assert cluster.owner(name) is target


async def test_a_message_reaches_listeners_on_any_node(cluster, opened):
    store, inbox = opened(cluster.url), []
    channels = [f"pool/c{number}" for number in range(12)]
    for channel in channels:
        await store.subscribe(channel, inbox.append)

    for channel in channels:
        await store.publish(channel, channel)

    await until(lambda: sorted(inbox) == sorted(channels))


async def test_a_node_that_died_takes_only_its_own_keys_and_comes_back_with_them(cluster, opened):
    store, inbox = opened(cluster.url), []
    keys = [f"pool/k{number}" for number in range(30)]
    await asyncio.gather(*(store.update(key, add) for key in keys))
    await store.subscribe("pool/x", inbox.append)
    for node in cluster.nodes:
        with node.client() as client:
            client.config_set("cluster-require-full-coverage", "no")
    lost = cluster.primaries[0]
    gone = {key for key in keys if cluster.owner(f"{{{store.namespace}:{key}}}") is lost}

    lost.kill()
    ends = await asyncio.gather(*(store.update(key, add) for key in keys), return_exceptions=True)
    again = await asyncio.gather(*(store.update(key, add) for key in keys), return_exceptions=True)

    for answers in (ends, again):
        assert {key for key, end in zip(keys, answers, strict=True) if isinstance(end, Unavailable)} == gone
    lost.start()
    await eventually(lambda: store.update(next(iter(gone)), add))
    while "heard" not in inbox:
        await eventually(lambda: store.publish("pool/x", "heard"))


@pytest.mark.full
async def test_a_replica_that_took_over_a_node_s_keys_is_found(opened):
    with valkey_cluster(replicas=1) as cluster:
        store = opened(cluster.url)
        key = next(
            key
            for key in (f"pool/k{number}" for number in range(100))
            if cluster.owner(f"{{{store.namespace}:{key}}}") is cluster.primaries[0]
        )
        await store.update(key, add)
        with cluster.primaries[0].client() as client:
            client.execute_command("WAIT", 1, 5000)

        cluster.primaries[0].pause()
        count_ = await eventually(lambda: store.update(key, add))
        cluster.primaries[0].resume()

        assert count_ == 2
        assert await eventually(lambda: store.update(key, add)) == 3


@pytest.mark.parametrize("change", [add, count(1)], ids=["compare and set", "twin"])
async def test_a_cluster_of_which_nothing_answers_is_unavailable(opened, change):
    store = opened(f"redis+cluster://{HOST}:1,{HOST}:2")

    with pytest.raises(Unavailable, match=rf"no node of the cluster answers .*{HOST}:1: .*{HOST}:2: "):
        await store.update(KEY, change)
    with pytest.raises(Unavailable):
        await store.keys("pool")


def test_the_slot_of_a_key_is_that_of_its_tag():
    # The values of the cluster's specification and of `CLUSTER KEYSLOT`.
    assert slot_of(b"123456789") == 0x31C3 % 16_384
    assert slot_of(b"{user1000}.following") == slot_of(b"{user1000}.followers") == slot_of(b"user1000")
    assert slot_of(b"foo{}{bar}") == slot_of(b"foo{}{bar}x") or slot_of(b"foo{}{bar}") == 8363
    assert slot_of(b"foo{{bar}}zap") == slot_of(b"{bar")


def _cluster(node: Server, *command: object) -> Any:
    with node.client() as client:
        return client.execute_command("CLUSTER", *command)


def _id(node: Server) -> str:
    return str(_cluster(node, "MYID"))
