"""Whatever was acknowledged is there after the server was killed, or another has taken over, at any moment."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from coterie._rules.written import Guard
from coterie.errors import CoterieError
from coterie.ports import JournalStore
from coterie.stores.redis import RedisJournalPolicy, open_redis_journal
from coterie.testing.journal_handles import count_up
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

KILLS, FULL_KILLS = 25, 250
RUNS, WRITERS = 4, 8


class Promises:
    """What was acknowledged: texts by run and shelf, and how far each run was counted."""

    def __init__(self) -> None:
        self.texts: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.counts: dict[str, int] = defaultdict(int)
        self.unknown = 0

    def wait_for(self, acknowledged: int) -> None:
        """Until so many texts were acknowledged; called in a thread."""
        wait_until(lambda: sum(map(len, tuple(self.texts.values()))) >= acknowledged, "writes are acknowledged")

    async def check(self, store: JournalStore, label: str = "") -> None:
        """Everything of the runs with that label is there, whole, and listed."""
        listed = [entry.run for entry in (await store.runs(limit=1000)).runs]
        assert len(listed) == len(set(listed))
        for (run, shelf), paths in self.texts.items():
            if not run.endswith(label):
                continue
            found = await store.read(run, shelf)
            assert paths <= set(found), f"of {run!r} {sorted(paths - set(found))[:5]} are lost"
            halves = {path for path in found if path.endswith(("/x", "/y"))}
            # Of what was written together, all or nothing is there.
            assert len(halves) == 2 * len({path[:-2] for path in halves})
            assert run in listed
        for run, count in self.counts.items():
            if not run.endswith(label):
                continue
            assert int((await store.read(run))["n"]) >= count


async def work(store: JournalStore, run: str, name: str, promises: Promises, over: asyncio.Event) -> None:
    """Write whatever there is to write, one after the other; what fails is repeated under another name."""
    for number in itertools.count():
        path = f"{name}-{number}"
        if over.is_set():
            return
        try:
            await write(store, run, path, number, promises)
        except CoterieError:
            promises.unknown += 1
            await asyncio.sleep(0)


async def write(store: JournalStore, run: str, path: str, number: int, promises: Promises) -> None:
    pair: dict[str, str | None] = {f"{path}/x": "1" * 50, f"{path}/y": "1"}
    if number % 4 == 0:
        await store.write(run, pair)
    elif number % 4 == 1:
        await store.write(run, pair, shelf="s")
        promises.texts[run, "s"] |= set(pair)
        return
    elif number % 4 == 2:
        count = await store.change(run, ["n"], count_up())
        promises.counts[run] = max(promises.counts[run], count)
        return
    else:
        await store.write(run, {f"claim/{path}": path})
        await store.write(run, pair, guard=Guard(f"claim/{path}", path))
    promises.texts[run, ""] |= set(pair)


async def while_working(store: JournalStore, label: str, promises: Promises, harm: Callable[[], Any]) -> None:
    """Have writers write while `harm` is done in a thread; return when all have ended."""
    over = asyncio.Event()
    working = asyncio.gather(
        *(work(store, f"r{n % RUNS}{label}", f"{label}-{n}", promises, over) for n in range(WRITERS))
    )
    try:
        await asyncio.to_thread(harm)
    finally:
        over.set()
        async with asyncio.timeout(WEDGED_S):
            await working


@pytest.mark.parametrize("start", [valkey, redis62], ids=["Valkey", "Redis 6.2"])
@pytest.mark.parametrize("kills", [KILLS, pytest.param(FULL_KILLS, marks=pytest.mark.full)])
async def test_everything_acknowledged_outlives_every_kill_of_the_server(start, kills):
    seed = random.randrange(10**9)
    print(f"seed {seed}")  # noqa: T201  # for whoever has to repeat it
    chance, promises = random.Random(seed), Promises()
    with start(arguments=SYNCED) as server:
        store = open_redis_journal(server.url, "ns", policy=RedisJournalPolicy(op_timeout_s=2.0))
        for number in range(kills):
            harm = partial(_restart, server, chance.uniform(0, 0.1))
            label = f"-{number // 10}"
            await while_working(store, label, promises, harm)
            await eventually(partial(promises.check, store, label))
        await eventually(lambda: promises.check(store))
        await store.aclose()

    assert promises.unknown > 0
    assert sum(map(len, promises.texts.values())) > kills


def _restart(server: Server, after_s: float) -> None:
    time.sleep(after_s)
    server.restart()


async def test_with_replicas_everything_acknowledged_outlives_the_loss_of_the_primary():
    promises = Promises()
    with valkey_sentinels(arguments=SYNCED) as sentinels:
        safe = open_redis_journal(sentinels.url, "ns", policy=RedisJournalPolicy(replicas=1, durable_timeout_s=1.0))
        # Once it is, the replica keeps a file as well.
        await eventually(lambda: safe.write("first", {"n": "0"}))
        before = sentinels.primary()

        def harm() -> None:
            promises.wait_for(20)
            before.kill()
            sentinels.wait_for_another(before)

        await while_working(safe, "-a", promises, harm)
        await safe.aclose()
        store = open_redis_journal(sentinels.url, "ns")
        await eventually(lambda: promises.check(store))
        await store.aclose()


async def test_in_a_cluster_everything_acknowledged_outlives_the_loss_of_a_primary():
    promises = Promises()
    with valkey_cluster(replicas=3, arguments=(*SYNCED, "--repl-diskless-sync-delay", "0")) as cluster:
        safe = open_redis_journal(cluster.url, "ns", policy=RedisJournalPolicy(replicas=1, durable_timeout_s=2.0))
        for run in range(RUNS):
            await eventually(lambda run=run: safe.write(f"r{run}-a", {"n": "0"}))
        lost = cluster.owner("{ns:run/r0-a}")

        def harm() -> None:
            promises.wait_for(100)
            lost.kill()
            cluster.wait_for_another_owner("{ns:run/r0-a}", lost)

        await while_working(safe, "-a", promises, harm)
        await safe.aclose()
        store = open_redis_journal(cluster.url, "ns")
        await eventually(lambda: promises.check(store))
        await store.aclose()

    assert {run for run, _ in promises.texts} == {f"r{n}-a" for n in range(RUNS)}
