"""Whatever was acknowledged is there after the server was killed, or another has taken over, at any moment."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from coterie._rules.log import Message, Retention, Terms
from coterie.errors import CoterieError
from coterie.stores.redis import RedisJournalPolicy
from coterie.stores.redis.log import RedisLogStore, open_redis_log
from tests.fleet.stores.redis_waiting import WEDGED_S, eventually
from tests.support.redis_servers import (
    SYNCED,
    Server,
    redis62,
    valkey,
    valkey_cluster,
    valkey_sentinels,
    wait_until,
)

KILLS, ROUNDS, FULL_ROUNDS = 12, 1, 5
TOPIC, GROUP, WRITERS, READERS = "t", "g", 4, 4
KEEP = Retention(max_messages=None)
# A consumer that the kill held up for so long is not taken for dead.
TERMS = Terms(lease_s=60)


class Ledger:
    """What was acknowledged to whom, by the ids of the messages."""

    def __init__(self) -> None:
        self.appended: list[str] = []
        self.delivered: Counter[str] = Counter()
        self.done: set[str] = set()
        self.again: set[str] = set()
        self.unknown = 0

    def take(self, message: Message) -> None:
        """A message that was acknowledged does not come again."""
        if message.id in self.done:
            self.again.add(message.id)
        self.delivered[message.id] += 1

    def wait_for(self, appended: int) -> None:
        """Until so many were acknowledged; called in a thread."""
        wait_until(lambda: len(self.appended) >= appended, "messages are acknowledged")

    async def check(self, store: RedisLogStore) -> None:
        """All is there, once, in order; and all came."""
        listed: list[str] = []
        after = ""
        while True:
            reading = await store.read(TOPIC, after=after, limit=1000)
            listed += [logged.message.id for logged in reading.messages]
            after = reading.after
            if reading.is_all:
                break
        assert len(listed) == len(set(listed)), "messages are there twice"
        assert set(self.appended) <= set(listed), f"lost: {sorted(set(self.appended) - set(listed))[:5]}"
        for writer in range(WRITERS):
            own = [name for name in listed if name.startswith(f"{writer}-")]
            assert own == sorted(own, key=lambda name: int(name.partition("-")[2])), "messages changed their order"
        assert not self.again, f"acknowledged, and delivered again: {sorted(self.again)[:5]}"
        assert set(listed) <= set(self.delivered), f"never delivered: {sorted(set(listed) - set(self.delivered))[:5]}"


async def write(store: RedisLogStore, name: int, ledger: Ledger, over: asyncio.Event) -> None:
    """Append one batch after the other; what fails is sent again as it was."""
    numbers = itertools.count()
    while not over.is_set():
        batch = [
            Message(f"{name}-{number}", "made", "x" * 50, key=f"k{number % 20}" * (number % 2))
            for number in itertools.islice(numbers, 3)
        ]
        while True:
            try:
                await store.append(TOPIC, batch, retention=KEEP)
            except CoterieError:
                ledger.unknown += 1
                await asyncio.sleep(0.001)
                continue
            ledger.appended += [message.id for message in batch]
            break


async def work_off(store: RedisLogStore, name: int, ledger: Ledger, over: asyncio.Event) -> None:
    """Take and acknowledge until nothing more comes after `over`."""
    held: dict[str, str] = {}
    while True:
        ended = over.is_set()
        try:
            taken = await store.take(TOPIC, GROUP, f"reader{name}", terms=TERMS, limit=5, done=list(held))
        except CoterieError:
            ledger.unknown += 1
            await asyncio.sleep(0.001)
            continue
        ledger.done |= set(held.values())
        held = {delivery.logged.position: delivery.logged.message.id for delivery in taken.deliveries}
        for delivery in taken.deliveries:
            ledger.take(delivery.logged.message)
        if ended and not held and taken.due_s is None:
            return
        if not held:
            await asyncio.sleep(0.001)


async def while_working(store: RedisLogStore, ledger: Ledger, harm: Callable[[], Any]) -> None:
    """Have writers and readers at work while `harm` is done in a thread; return when all is worked off."""
    over = asyncio.Event()
    working = asyncio.gather(
        *(write(store, name, ledger, over) for name in range(WRITERS)),
        *(work_off(store, name, ledger, over) for name in range(READERS)),
    )
    try:
        await asyncio.to_thread(harm)
    finally:
        over.set()
        async with asyncio.timeout(WEDGED_S):
            await working


@pytest.mark.parametrize("start", [valkey, redis62], ids=["Valkey", "Redis 6.2"])
@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(FULL_ROUNDS, marks=pytest.mark.full)])
async def test_everything_acknowledged_outlives_every_kill_of_the_server(start, rounds):
    seed = random.randrange(10**9)
    print(f"seed {seed}")  # noqa: T201  # for whoever has to repeat it
    chance = random.Random(seed)
    with start(arguments=SYNCED) as server:
        for number in range(rounds):
            store = open_redis_log(server.url, f"ns{number}", policy=RedisJournalPolicy(op_timeout_s=2.0))
            ledger, pauses = Ledger(), [chance.uniform(0, 0.1) for _ in range(KILLS)]
            await while_working(store, ledger, partial(_restart, server, pauses))
            await eventually(lambda store=store, ledger=ledger: ledger.check(store))
            await store.aclose()
            assert ledger.unknown > 0
            assert len(ledger.appended) > KILLS


def _restart(server: Server, pauses: list[float]) -> None:
    for pause in pauses:
        time.sleep(pause)
        server.restart()


async def test_with_replicas_everything_acknowledged_outlives_the_loss_of_the_primary():
    ledger = Ledger()
    with valkey_sentinels(arguments=SYNCED) as sentinels:
        policy = RedisJournalPolicy(replicas=1, durable_timeout_s=1.0)
        safe = open_redis_log(sentinels.url, "ns", durability="strict", policy=policy)
        # Once it is, the replica keeps a file as well.
        await eventually(lambda: safe.append("first", [Message("a", "b", "c")], retention=KEEP))
        before = sentinels.primary()
        over = asyncio.Event()
        writing = asyncio.gather(*(write_until(safe, name, ledger, over) for name in range(WRITERS)))

        def harm() -> None:
            ledger.wait_for(60)
            before.kill()
            sentinels.wait_for_another(before)

        await asyncio.to_thread(harm)
        over.set()
        await writing
        await safe.aclose()
        store = open_redis_log(sentinels.url, "ns")
        over.set()
        await eventually(lambda: work_off(store, 0, ledger, over))
        await ledger.check(store)
        await store.aclose()


async def test_in_a_cluster_everything_acknowledged_outlives_the_loss_of_a_primary():
    ledger = Ledger()
    with valkey_cluster(replicas=3, arguments=(*SYNCED, "--repl-diskless-sync-delay", "0")) as cluster:
        policy = RedisJournalPolicy(replicas=1, durable_timeout_s=2.0)
        safe = open_redis_log(cluster.url, "ns", durability="strict", policy=policy)
        await eventually(lambda: safe.append(TOPIC, [Message("9-0", "b", "c")], retention=KEEP))
        key = f"{{ns:log/{TOPIC}}}"
        lost, over = cluster.owner(key), asyncio.Event()
        writing = asyncio.gather(*(write_until(safe, name, ledger, over) for name in range(WRITERS)))

        def harm() -> None:
            ledger.wait_for(60)
            lost.kill()
            cluster.wait_for_another_owner(key, lost)

        await asyncio.to_thread(harm)
        over.set()
        await writing
        await safe.aclose()
        store = open_redis_log(cluster.url, "ns")
        await eventually(lambda: work_off(store, 0, ledger, over))
        await ledger.check(store)
        await store.aclose()


async def write_until(store: RedisLogStore, name: int, ledger: Ledger, over: asyncio.Event) -> None:
    """Append until `over`, which ends also what cannot be acknowledged any more, as no replica is left."""
    writing = asyncio.create_task(write(store, name, ledger, over))
    await over.wait()
    await asyncio.wait([writing], timeout=0.1)
    writing.cancel()
    await asyncio.wait([writing])
