"""Which servers a strict journal trusts, and how; the rest it refuses by naming the setting and the other way."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from coterie.errors import Misuse, PolicyError, Unavailable
from coterie.stores.redis import RedisJournalPolicy, RedisJournalStore, durable, open_redis_journal
from coterie.stores.redis.standing import Course, Facts, ask_facts, judge
from coterie.stores.redis.wire import Wire
from coterie.testing.journal_handles import look
from tests.fleet.stores.redis_waiting import eventually, until
from tests.support.redis_servers import HOST, SYNCED, Server, redis62, valkey

TRUSTED = Facts(
    run_id="1",
    version=(7, 2, 4),
    is_primary=True,
    appends=True,
    eviction="noeviction",
    fsync="always",
    pauses=False,
    threads=1,
    waits=True,
)


def facts(**changed: Any) -> Facts:
    return Facts(**{name: changed.get(name, getattr(TRUSTED, name)) for name in Facts.__slots__})


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., RedisJournalStore]]:
    stores = []

    def open_one(url: str, *, namespace: str | None = None, **options: Any) -> RedisJournalStore:
        stores.append(open_redis_journal(url, namespace or uuid.uuid4().hex, **options))
        return stores[-1]

    yield open_one
    for store in stores:
        await store.aclose()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that syncs at once, and that the test may harm."""
    with valkey(arguments=SYNCED) as running:
        yield running


# What is decided about a server


@pytest.mark.parametrize(
    ("said", "replicas", "course"),
    [
        ({}, 0, "answers"),
        ({"waits": False, "version": (6, 2, 14)}, 0, "answers"),
        ({"threads": 8}, 0, "answers"),
        ({"eviction": "volatile-lru"}, 0, "answers"),
        ({"eviction": ""}, 0, "answers"),
        ({}, 1, "waits"),
        ({"pauses": True}, 0, "waits"),
        ({"fsync": "everysec"}, 0, "waits a second"),
        ({"fsync": "everysec", "pauses": True}, 2, "waits a second"),
        ({"fsync": None}, 0, "waits a second"),
    ],
)
def test_how_a_server_is_trusted(said: dict[str, Any], replicas: int, course: Course):
    assert judge(facts(**said), replicas=replicas, where="redis://h") == course


@pytest.mark.parametrize(
    ("said", "replicas", "problem"),
    [
        ({"appends": False}, 0, "appendonly no"),
        ({"appends": False, "fsync": None}, 0, "appendonly no"),
        ({"fsync": "no"}, 0, "appendfsync no"),
        ({"fsync": "everysec", "waits": False}, 0, "everysec.*WAITAOF"),
        ({"fsync": None, "waits": False}, 0, "not known to us.*WAITAOF"),
        ({"pauses": True, "waits": False}, 0, "no-appendfsync-on-rewrite yes.*WAITAOF"),
        ({"waits": False}, 1, "1 replicas.*WAITAOF"),
        ({"version": (6, 2, 14), "threads": 4}, 0, "io-threads"),
        ({"eviction": "allkeys-lru"}, 0, "maxmemory-policy is 'allkeys-lru'"),
        ({"eviction": "allkeys-random", "fsync": "everysec"}, 0, "allkeys-random"),
    ],
)
def test_a_server_that_cannot_be_trusted_is_refused(said: dict[str, Any], replicas: int, problem: str):
    with pytest.raises(PolicyError, match=problem) as caught:
        judge(facts(**said), replicas=replicas, where="redis://h")

    said_so = str(caught.value)
    assert said_so.startswith("redis://h ")
    for how in ("--journal relaxed", "COTERIE_JOURNAL=relaxed", "Airflow connection", "CoterieStore block"):
        assert how in said_so
    assert "durability='relaxed'" in said_so
    assert "appendfsync always" in str(caught.value) or "noeviction" in str(caught.value)


# Real servers


@pytest.mark.parametrize(
    ("start", "arguments", "problem"),
    [
        (valkey, (), "appendonly no"),
        (redis62, (), "appendonly no"),
        (valkey, ("--appendonly", "yes", "--appendfsync", "no"), "appendfsync no"),
        (redis62, ("--appendonly", "yes", "--appendfsync", "everysec"), "WAITAOF"),
        # It answers before it has synced: a defect of it, which was found by strace.
        (valkey, ("--appendonly", "yes", "--appendfsync", "everysec"), "answers WAITAOF before it has synced"),
        (redis62, (*SYNCED, "--no-appendfsync-on-rewrite", "yes"), "no-appendfsync-on-rewrite"),
        (redis62, (*SYNCED, "--io-threads", "2"), "io-threads"),
        (valkey, (*SYNCED, "--maxmemory-policy", "allkeys-lru"), "allkeys-lru"),
    ],
)
async def test_a_strict_journal_refuses_a_server_whenever_it_is_used_and_leaves_nothing_there(
    opened, start: Callable[..., Any], arguments: Sequence[str], problem: str
):
    with start(arguments=arguments) as server, server.client() as client:
        store = opened(server.url)

        uses = (
            lambda: store.write("one", {"a": "1"}), lambda: store.change("one", ["a"], look),
            lambda: store.get("one", ["a"]), lambda: store.read("one"), lambda: store.runs(limit=1),
            lambda: store.remove("one"),
        )  # fmt: skip
        for use in uses:
            with pytest.raises(PolicyError, match=problem) as caught:
                await use()
            assert "durability='relaxed'" in str(caught.value)

        assert client.dbsize() == 0
        relaxed = opened(server.url, durability="relaxed")
        await relaxed.write("one", {"a": "1"})
        assert await relaxed.read("one") == {"a": "1"}


@pytest.mark.parametrize("settings", [{"no-appendfsync-on-rewrite": "yes"}, {"maxmemory-policy": "volatile-lru"}])
async def test_a_server_that_says_when_it_has_synced_is_trusted(opened, server: Server, settings: dict[str, str]):
    with server.client() as client:
        for name, value in settings.items():
            client.config_set(name, value)
    store = opened(server.url)

    await store.write("one", {"a": "1"})

    assert await store.read("one") == {"a": "1"}


async def test_runs_are_not_what_a_volatile_policy_evicts(opened, server: Server):
    store = opened(server.url)
    await store.write("one", {"a": "x" * 10_000})
    with server.client() as client:
        client.config_set("maxmemory-policy", "volatile-lru")
        client.config_set("maxmemory", 1)

        with pytest.raises(Unavailable, match="OOM"):
            await store.write("one", {"b": "1"})

        client.config_set("maxmemory", 0)
    assert await store.read("one") == {"a": "x" * 10_000}


async def test_a_relaxed_journal_warns_once_of_a_server_that_evicts_runs(opened, caplog: pytest.LogCaptureFixture):
    with valkey(arguments=("--maxmemory-policy", "allkeys-lfu")) as server, server.client() as client:
        store = opened(server.url, durability="relaxed")
        with caplog.at_level(logging.WARNING, logger="coterie.store"):
            await store.write("one", {"a": "1"})
            client.client_kill_filter(_type="normal", skipme=True)
            await eventually(lambda: store.write("one", {"a": "2"}))

    (record,) = caplog.records
    assert record.getMessage().startswith(f"store.evicts_runs {store.url}: its maxmemory-policy is 'allkeys-lfu'")


async def test_settings_are_looked_at_again_on_a_new_connection(opened, server: Server):
    store = opened(server.url)
    await store.write("one", {"a": "1"})

    with server.client() as client:
        client.config_set("appendonly", "no")
        client.client_kill_filter(_type="normal", skipme=True)

    with pytest.raises(PolicyError, match="appendonly no"):
        await eventually(lambda: store.write("one", {"a": "2"}))
    with server.client() as client:
        client.config_set("appendonly", "yes")
    await eventually(lambda: store.write("one", {"a": "3"}))
    assert await store.read("one") == {"a": "3"}


async def test_a_file_that_is_being_begun_is_waited_for(opened, server: Server):
    with server.client() as client:
        client.config_set("appendonly", "no")
        client.set("ballast", "x")
        # Longer than a test lasts.
        client.config_set("rdb-key-save-delay", 100_000_000)
        client.config_set("appendonly", "yes")
        store = opened(server.url, policy=RedisJournalPolicy(op_timeout_s=0.4))

        with pytest.raises(Unavailable, match="not kept yet"):
            await store.write("one", {"a": "1"})

        client.config_set("appendonly", "no")
        client.config_set("rdb-key-save-delay", 0)
        client.config_set("appendonly", "yes")
    await eventually(lambda: store.write("one", {"a": "1"}))


async def test_replicas_are_waited_for_where_that_is_asked(opened, server: Server):
    store = opened(server.url, policy=RedisJournalPolicy(replicas=1, durable_timeout_s=0.2))
    patient = opened(server.url, namespace=store.namespace, policy=RedisJournalPolicy(replicas=1))
    follow = (*SYNCED, "--replicaof", HOST, str(server.port))
    with server.client() as client:
        client.config_set("repl-diskless-sync-delay", 0)

    with pytest.raises(Unavailable, match=r"not known: .* of 0 of 1 replicas"):
        await store.write("one", {"a": "1"})
    with valkey(arguments=follow) as replica, replica.client() as client:
        await until(lambda: client.info("replication")["master_link_status"] == "up")
        await patient.write("one", {"a": "2"})

        assert client.hgetall(f"{{{store.namespace}:run/one}}") == {"a": "2"}


async def test_what_a_replica_took_that_became_the_primary_since_it_was_looked_at_is_not_known_to_be_durable(
    opened, server: Server, monkeypatch: pytest.MonkeyPatch
):
    async def as_replica(wire: Wire) -> Facts:
        return replace(await ask_facts(wire), is_primary=False)

    store = opened(server.url)
    monkeypatch.setattr(durable, "ask_facts", as_replica)
    with pytest.raises(Unavailable, match=r"not known.*a replica a moment ago"):
        await store.write("one", {"a": "1"})
    monkeypatch.undo()

    await eventually(lambda: store.write("one", {"a": "2"}))
    assert await store.read("one") == {"a": "2"}


async def test_another_process_in_the_place_of_the_one_that_took_it_does_not_vouch_for_it(
    opened, server: Server, monkeypatch: pytest.MonkeyPatch
):
    async def as_another(wire: Wire) -> Facts:
        return replace(await ask_facts(wire), run_id="another", pauses=True)

    store = opened(server.url)
    monkeypatch.setattr(durable, "ask_facts", as_another)

    with pytest.raises(Unavailable, match=r"not known: another server has taken its place"):
        await store.write("one", {"a": "1"})


# Users


async def test_the_rights_that_the_error_names_suffice(opened, server: Server):
    rights = (
        "+@connection +evalsha +eval +time +hget +hmget +hlen +hset +hdel +hscan +exists +unlink +sadd +srem +scard "
        "+srandmember +zadd +zrem +zscore +zrevrange +zrevrangebyscore +set +del +waitaof +info +config|get +role "
        "+cluster|slots ~{ns:*"
    )
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "least", "on", ">pw", *rights.split())
        client.execute_command("ACL", "SETUSER", "less", "on", ">pw", "+@connection", "+info", "+config|get", "~{ns:*")
    store = opened(f"redis://least:pw@{HOST}:{server.port}", namespace="ns")

    await store.write("one", {"a": "1", "b": "1"})
    await store.write("one", {"a": None}, shelf="s")
    await store.write("one", {"c": "1"}, shelf="s")
    await store.change("one", ["b"], look)
    assert await store.read("one") == {"a": "1", "b": "1"}
    assert len((await store.runs(limit=1)).runs) == 1
    assert await store.remove("one") is True
    with pytest.raises(Misuse, match="NOPERM") as caught:
        await opened(f"redis://less:pw@{HOST}:{server.port}", namespace="ns").write("one", {"a": "1"})
    assert rights.replace("{ns:", "{<namespace>:") in str(caught.value)


async def test_a_user_who_may_not_see_the_settings_is_told_so(opened, server: Server):
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "blind", "on", ">pw", "~*", "+@all", "-config")
    store = opened(f"redis://blind:pw@{HOST}:{server.port}")

    # It syncs at once, which looks like one that does not tell the truth.
    with pytest.raises(PolicyError, match="let the user do CONFIG GET"):
        await store.write("one", {"a": "1"})


async def test_a_user_who_may_not_even_see_who_the_server_is_is_misuse(opened, server: Server):
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "blind", "on", ">pw", "~*", "+@all", "-info")

    with pytest.raises(Misuse, match=r"NOPERM.*\+info"):
        await opened(f"redis://blind:pw@{HOST}:{server.port}").write("one", {"a": "1"})


@pytest.mark.parametrize("durability", ["none", "", "Strict", None])
def test_what_is_no_durability_of_a_redis_journal_is_refused(durability):
    with pytest.raises(PolicyError, match="neither 'strict' nor 'relaxed'"):
        open_redis_journal("redis://localhost", "ns", durability=durability)


@pytest.mark.parametrize(
    "policy", [{"durable_timeout_s": 0}, {"replicas": -1}, {"replicas": True}, {"op_timeout_s": 0}]
)
def test_what_is_no_policy_of_a_redis_journal_is_refused(policy):
    with pytest.raises(PolicyError):
        RedisJournalPolicy(**policy)


def test_a_url_that_cannot_be_is_refused_before_anything_is_connected():
    with pytest.raises(Misuse):
        open_redis_journal("http://localhost", "ns")
    with pytest.raises(Misuse, match="namespace"):
        open_redis_journal("redis://localhost", "n/s")
