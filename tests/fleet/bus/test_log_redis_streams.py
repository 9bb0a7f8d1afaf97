"""What of a Redis log others may see, and rely upon: streams, consumer groups, keys, and what is not ours."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import redis

from coterie._rules.log import Retention, Terms
from coterie.errors import Misuse, PolicyError, StateFormatError, Unavailable
from coterie.stores.redis.log import RedisLogStore, open_redis_log
from coterie.stores.redis.log_calls import LOG_RIGHTS
from coterie.testing.log_handles import TOPIC, append, ids, message, positions, take
from tests.support.redis_servers import Server, redis62, valkey

WAITING = "\twaiting"


@pytest.fixture(scope="module", params=[valkey, redis62], ids=["Valkey", "Redis 6.2"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as running:
        yield running


@pytest.fixture
async def store(server: Server) -> AsyncIterator[RedisLogStore]:
    store = open_redis_log(server.url, uuid.uuid4().hex)
    yield store
    await store.aclose()


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
def keys(store: RedisLogStore, client: redis.Redis) -> Callable[[], list[str]]:
    return lambda: sorted(client.scan_iter(f"*{store.namespace}*"))


def stream_of(store: RedisLogStore, topic: str = TOPIC) -> str:
    return f"{{{store.namespace}:log/{topic}}}"


async def test_messages_lie_in_a_stream(store, client):
    answers = await append(
        store, message("one", type="made", text="{}"), message("two", key="k", priority=3, text="[]")
    )

    found = client.xrange(stream_of(store))

    assert [place for place, _ in found] == [answer.position for answer in answers]
    assert [place.partition("-")[2] for place, _ in found] == ["1", "2"]
    assert [fields for _, fields in found] == [{"one\nmade": "{}"}, {"two\nmade": "[]", "k": "3"}]


async def test_groups_are_consumer_groups_that_tell_who_holds_what(store, client):
    await append(store, "a", message("b", key="k"), message("c", key="k"), "d")
    taken = await take(store, "host:1")
    await take(store, "host:1", limit=0, done=positions(taken)[:1])

    (group,) = client.xinfo_groups(stream_of(store))
    consumers = {each["name"]: each["pending"] for each in client.xinfo_consumers(stream_of(store), "group")}
    held = client.xpending_range(stream_of(store), "group", "-", "+", 10, consumername="host:1")

    assert ids(taken) == ["a", "b", "d"]
    assert (group["name"], group["pending"]) == ("group", 3)
    assert consumers == {"host:1": 2, WAITING: 1}
    assert [(each["message_id"], each["times_delivered"]) for each in held] == [
        (position, 1) for position in positions(taken)[1:]
    ]


async def test_the_deliveries_that_are_counted_are_the_servers_own(store, client):
    await append(store, "a")
    for _ in range(3):
        (position,) = positions(await take(store))
        await store.give_back(TOPIC, "group", "one", position, reason="no")

    taken = await take(store)
    (held,) = client.xpending_range(stream_of(store), "group", "-", "+", 10)

    assert (held["consumer"], held["times_delivered"]) == ("one", taken.deliveries[0].number) == ("one", 4)


async def test_a_consumer_that_has_left_is_no_consumer_of_the_servers(store, client):
    await append(store, "a")
    await take(store, "gone")
    await store.leave(TOPIC, "group", "gone")

    assert [each["name"] for each in client.xinfo_consumers(stream_of(store), "group")] == [WAITING]
    assert ids(await take(store, "other")) == ["a"]


async def test_a_group_that_was_destroyed_by_hand_begins_anew(store, client):
    await append(store, "a", message("b", key="k"), message("c", key="k"))
    await take(store)
    client.xgroup_destroy(stream_of(store), "group")

    taken = await take(store)

    assert ids(taken) == ["a", "b"]
    assert ids(await take(store, done=positions(taken))) == ["c"]


async def test_all_keys_of_a_topic_lie_in_one_slot(store, keys):
    await fill(store)

    assert len(keys()) > 8
    assert all(key.startswith(stream_of(store)) for key in keys())


async def test_a_topic_that_is_dropped_leaves_no_key_behind(store, keys):
    await fill(store)
    for number in range(30):
        await take(store, group=f"group{number}", limit=1)

    assert await store.drop_topic(TOPIC)

    assert keys() == []


async def test_a_group_that_is_dropped_leaves_no_key_behind(store, keys, client):
    await append(store, "before")
    before = keys()
    await fill(store)

    assert await store.drop_group(TOPIC, "group")

    assert set(keys()) - {f"{stream_of(store)}:older-ids"} == set(before)
    assert client.xinfo_groups(stream_of(store)) == []


async def test_what_everybody_is_done_with_leaves_nothing_but_the_stream_and_the_ids(store, keys, client):
    await fill(store)
    page = await store.dead_letters(TOPIC, "group")
    await store.discard(TOPIC, "group", [letter.logged.position for letter in page.letters])
    await store.leave(TOPIC, "group", "one")
    done: list[str] = []
    while True:
        taken = await take(store, "two", done=done)
        done = positions(taken)
        if not done and taken.due_s is None:
            break
    await store.leave(TOPIC, "group", "two")

    main = stream_of(store)
    assert set(keys()) <= {main, f"{main}:about", f"{main}:ids", f"{main}:older-ids", f"{main}/group"}
    assert set(client.hkeys(f"{main}/group")) <= {"born", "pos", "turn", "gone"}
    assert client.xpending(main, "group")["pending"] == 0


async def test_a_topic_that_may_be_dropped_when_idle_ends_with_all_that_belongs_to_it(store, keys, client):
    await append(store, "a", message("b", key="k"), retention=Retention(idle_s=60, dedup_s=60))
    await take(store)

    ends = {key: client.pttl(key) for key in keys()}

    assert ends
    assert all(0 < left <= 122_000 for left in ends.values()), ends

    await append(store, "c")
    assert client.pttl(stream_of(store)) == -1


async def test_ids_are_forgotten_by_the_server_itself(store, client):
    await append(store, "a", retention=Retention(dedup_s=60))

    assert 0 < client.pttl(f"{stream_of(store)}:ids") <= 121_000


async def test_a_topic_of_a_newer_format_is_left_alone(store, client):
    await append(store, "a")
    client.hset(f"{stream_of(store)}:about", "v", "9")
    before = client.xlen(stream_of(store))

    for use in (
        lambda: append(store, "b"), lambda: store.read(TOPIC), lambda: take(store), lambda: store.drop_topic(TOPIC),
        lambda: store.requeue(TOPIC, "group", []), store.topics,
    ):  # fmt: skip
        with pytest.raises(StateFormatError, match="newer coterie"):
            await use()
    assert client.xlen(stream_of(store)) == before


async def test_what_is_no_stream_is_left_alone(store, client):
    client.set(stream_of(store), "theirs")

    for use in (lambda: append(store, "b"), lambda: store.read(TOPIC), lambda: take(store)):
        with pytest.raises(StateFormatError, match="something else uses the key"):
            await use()
    assert client.get(stream_of(store)) == "theirs"


async def test_what_is_no_message_of_ours_is_told(store, client):
    await append(store, "a")
    (place, _), *_ = client.xrange(stream_of(store))
    client.xadd(stream_of(store), {"theirs": "1"}, id=f"{place.partition('-')[0]}-2")

    with pytest.raises(StateFormatError, match="no message of ours"):
        await store.read(TOPIC)


async def test_the_rights_that_an_error_names_suffice(server, client):
    client.execute_command("ACL", "SETUSER", "least", "reset", "resetchannels", "on", ">pw", *rights("ns"))
    client.execute_command("ACL", "SETUSER", "reader", "reset", "on", ">pw", "~*", "&*", "+@read", "+@connection")
    least = open_redis_log(server.url.replace("//", "//least:pw@"), "ns")
    reader = open_redis_log(server.url.replace("//", "//reader:pw@"), "ns")

    await fill(least)
    await least.read(TOPIC)
    await least.locate(TOPIC, None)
    await least.watch(TOPIC, lambda _: None)
    assert [status.name for status in await least.topics()] == [TOPIC]
    assert [status.name for status in await least.groups(TOPIC)] == ["group"]
    await least.dead_letters(TOPIC, "group")
    await least.beat(TOPIC, "group", "one", lease_s=15)
    await least.leave(TOPIC, "group", "one")
    await append(least, "last", retention=Retention(when_full="refuse", max_messages=10, idle_s=60))
    await append(least, "very last")
    await least.drop_group(TOPIC, "group")
    assert await least.drop_topic(TOPIC)
    with pytest.raises(Misuse, match=r"let the user do: \+@connection \+evalsha"):
        await append(reader, "a")

    await least.aclose()
    await reader.aclose()


async def test_a_server_without_memory_takes_nothing_new_and_is_worked_off(store, client):
    await append(store, "a", "b")
    done = positions(await take(store, limit=1))
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(Unavailable, match="OOM"):
            await append(store, "c")
        with pytest.raises(Unavailable, match="OOM"):
            await take(store)
        taken = await take(store, done=done)
        assert await store.acknowledge(TOPIC, "group", "one", positions(taken)) == []
    finally:
        client.config_set("maxmemory", 0)

    assert ids(taken) == ["b"]
    assert ids(await store.read(TOPIC)) == ["a", "b"]
    assert (await store.groups(TOPIC))[0].held == 0


async def test_a_durability_or_url_that_cannot_be_is_refused(server):
    with pytest.raises(PolicyError, match="durability='full'"):
        open_redis_log(server.url, durability="full")
    with pytest.raises(Misuse):
        open_redis_log("http://somewhere")


async def test_a_strict_log_refuses_a_server_that_does_not_sync(server):
    strict = open_redis_log(server.url, uuid.uuid4().hex, durability="strict")

    with pytest.raises(PolicyError, match="appendonly"):
        await append(strict, "a")
    await strict.aclose()


def rights(namespace: str) -> list[str]:
    """As an administrator gives them; Redis 6.2 has nothing to wait for a disk with."""
    return [right for right in LOG_RIGHTS.replace("<namespace>", namespace).split() if right != "+waitaof"]


async def fill(store: RedisLogStore) -> None:
    """Everything that a topic can have, in keys of its own."""
    terms = Terms(max_deliveries=1)
    keep = Retention(max_messages=9, dedup_s=60)
    await append(store, *(message(f"m{number}", key=f"k{number % 3}") for number in range(6)), "x", retention=keep)
    first, second, third, *_ = positions(await take(store, terms=terms))
    await store.give_back(TOPIC, "group", "one", first, max_deliveries=0)
    await store.give_back(TOPIC, "group", "one", second, delay_s=0.001)
    await store.give_back(TOPIC, "group", "one", third, reason="not now")
    await append(store, *(f"y{number}" for number in range(6)), retention=keep)
    await store.requeue(TOPIC, "group", [first])
    await take(store, terms=terms, limit=3)
