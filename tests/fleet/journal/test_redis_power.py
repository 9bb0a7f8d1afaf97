"""Whatever a strict journal acknowledged, or handed out, outlives every power cut."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator

import pytest

from coterie.errors import CoterieError
from coterie.stores.redis import RedisJournalStore, gate, open_redis_journal
from coterie.testing.journal_handles import put
from tests.fleet.journal.slow_sync import SLOWLY_SYNCED, SlowSync
from tests.support.redis_servers import valkey

ROUNDS, FULL_ROUNDS = 30, 300


@pytest.fixture
async def slow(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SlowSync]:
    """A second is as long as the test says."""
    monkeypatch.setattr(gate, "NEARLY_A_SECOND", 1_000)
    monkeypatch.setattr(gate, "_ASK_AFTER_S", 0.0)
    monkeypatch.setattr(gate, "_GATHER_S", 0.0)
    with valkey(arguments=SLOWLY_SYNCED) as server:
        async with SlowSync(server) as running:
            yield running


@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(FULL_ROUNDS, marks=pytest.mark.full)])
async def test_whatever_was_acknowledged_or_handed_out_outlives_every_power_cut(slow, rounds):
    seed = random.randrange(10**9)
    print(f"seed {seed}")  # noqa: T201  # for whoever has to repeat it
    chance = random.Random(seed)
    promised: dict[str, set[str]] = {}
    syncing = asyncio.create_task(_sync_at_random(slow, chance))
    try:
        for number in range(rounds):
            store = open_redis_journal(slow.url, "ns")
            other = open_redis_journal(slow.url, "ns")
            over = asyncio.Event()
            names = [f"{number}-{n}" for n in range(8)]
            working = [_work(store, f"r{chance.randrange(4)}", name, promised, over) for name in names]
            working += [_observe(other, f"r{n}", promised, over) for n in range(4)]
            ends = asyncio.gather(*working)
            await asyncio.sleep(chance.uniform(0.005, 0.15))
            slow.cut_power()
            over.set()
            await ends
            await asyncio.gather(store.aclose(), other.aclose())
            await _check(slow, promised)
    finally:
        syncing.cancel()
        await asyncio.wait([syncing])
    assert sum(map(len, promised.values())) > 0


async def _sync_at_random(slow: SlowSync, chance: random.Random) -> None:
    while True:
        await asyncio.sleep(chance.uniform(0.002, 0.02))
        slow.sync()


async def _work(
    store: RedisJournalStore, run: str, name: str, promised: dict[str, set[str]], over: asyncio.Event
) -> None:
    """Write until the power is cut; what was acknowledged is promised."""
    for number in itertools.count():
        path = f"{name}-{number}"
        if over.is_set():
            return
        try:
            if number % 2:
                await store.write(run, {path: "1"})
            else:
                await store.change(run, [path], put({path: "1"}))
        except CoterieError:
            return
        promised.setdefault(run, set()).add(path)


async def _observe(store: RedisJournalStore, run: str, promised: dict[str, set[str]], over: asyncio.Event) -> None:
    """Read until the power is cut; what was handed out is promised."""
    while not over.is_set():
        try:
            found = await store.read(run)
        except CoterieError:
            return
        promised.setdefault(run, set()).update(found)
        await asyncio.sleep(0)


async def _check(slow: SlowSync, promised: dict[str, set[str]]) -> None:
    relaxed = open_redis_journal(slow.url, "ns", durability="relaxed")
    listed = {entry.run for entry in (await relaxed.runs(limit=100)).runs}
    for run, paths in promised.items():
        if paths:
            assert paths <= set(await relaxed.read(run)), run
            assert run in listed
    await relaxed.aclose()
