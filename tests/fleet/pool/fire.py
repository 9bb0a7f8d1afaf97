"""A process that leases, works and gives back, over and over; run as `python fire.py URL LOG TARGET [seed]`.

Each holder writes to a log of its own, apart from the store, when it has a slot and before it gives it back.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sqlite3
import sys

from coterie.errors import LeaseLost, Refused, Unavailable
from coterie.pool import PoolPolicy, ResourcePool
from coterie.stores.opening import open_state_store

CAPACITY = {"north": 1, "south": 2}
POLICY = PoolPolicy(strategy="power_of_two_choices", lease_s=2.0, heartbeat_s=0.5, claim_s=2.0, max_wait_s=30.0)
TASKS = 3


def open_log(path: str) -> sqlite3.Connection:
    """An append-only table: `id` is the order in which things happened."""
    log = sqlite3.connect(path, timeout=30, isolation_level=None)
    log.execute("PRAGMA journal_mode=WAL")
    log.execute("PRAGMA synchronous=OFF")
    log.execute("CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY AUTOINCREMENT, what, agent, token, pid)")
    return log


def append(log: sqlite3.Connection, what: str, agent: str, token: int, pid: int) -> None:
    log.execute("INSERT INTO log (what, agent, token, pid) VALUES (?, ?, ?, ?)", (what, agent, token, pid))


def count(log: sqlite3.Connection, what: str) -> int:
    return int(log.execute("SELECT count(*) FROM log WHERE what = ?", (what,)).fetchone()[0])


async def work(pool: ResourcePool, log: sqlite3.Connection, target: int, chance: random.Random) -> None:
    # Counting takes longer the more there is to count.
    for number in itertools.count():
        if number % 8 == 0 and count(log, "out") >= target:
            break
        # The pool's own cancellation is under fire too.
        patience_s = chance.choice([0.001, 0.02, 30, 30, 30])
        try:
            async with asyncio.timeout(patience_s):
                await one(pool, log, chance)
        except (TimeoutError, Refused, LeaseLost):
            await asyncio.sleep(0)
        except Unavailable:
            await asyncio.sleep(0.05)


async def one(pool: ResourcePool, log: sqlite3.Connection, chance: random.Random) -> None:
    held = None
    try:
        async with pool.lease(priority=chance.randint(-1, 1)) as held:
            append(log, "in", held.agent_id, held.token, os.getpid())
            await asyncio.sleep(chance.choice([0, 0, 0.002, 0.01]))
            append(log, "out", held.agent_id, held.token, os.getpid())
    except (LeaseLost, asyncio.CancelledError):
        # The store's word, that the lease lasted to its end, is missing: its time counts neither way.
        if held is not None:
            append(log, "lost", held.agent_id, held.token, os.getpid())
        raise


async def main(url: str, path: str, target: int, seed: int) -> None:
    log, store, chance = open_log(path), open_state_store(url, "fire"), random.Random(seed)
    try:
        async with ResourcePool("linter", store=store, policy=POLICY) as pool:
            for name, capacity in CAPACITY.items():
                pool.register_agent(name, capacity=capacity)
            await asyncio.gather(*(work(pool, log, target, chance) for _ in range(TASKS)))
    finally:
        await store.aclose()
        log.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
