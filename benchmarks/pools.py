"""Lease and release of a pooled agent on Redis: round trips at the server, and pairs a second beside bare EVALSHAs."""

from __future__ import annotations

__all__ = ["measure"]

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing

import redis.asyncio
from figures import Figure, Round, Rounds, at_most
from fleet_server import Server, Witness

from coterie.pool import PoolPolicy, ResourcePool
from coterie.stores.redis import open_redis

TASKS = 64
BARE = "two bare EVALSHA 'return 1', redis-py"
PAIR = "coterie lease + release"
TRIPS = 2
COUNTED = 200
# No heartbeat falls into what is counted: it is one command every so often, whatever the number of pairs.
SELDOM = PoolPolicy(lease_s=600.0, heartbeat_s=200.0)


async def measure(server: Server, *, quick: bool) -> list[Figure]:
    """Round trips a pair, and pairs a second."""
    pairs, count = (160, 9) if quick else (640, 21)
    async with AsyncExitStack() as stack:
        client = redis.asyncio.Redis.from_url(server.url)
        stack.push_async_callback(client.aclose)
        sha = await client.script_load("return 1")
        store = open_redis(server.url, "bench")
        stack.push_async_callback(store.aclose)
        pool = await stack.enter_async_context(ResourcePool("worker", store=store, policy=SELDOM))
        pool.register_agent("one", capacity=2 * TASKS)

        async def bare() -> None:
            await client.evalsha(sha, 1, "bench:bare")
            await client.evalsha(sha, 1, "bench:bare")

        async def pair() -> None:
            async with pool.lease():
                pass

        await pair()
        with closing(Witness(server)) as witness:
            for _ in range(COUNTED):
                await pair()
            sent = witness.sent()
        subjects: dict[str, Round] = {
            BARE: _pairs(bare, pairs, 1),
            PAIR: _pairs(pair, pairs, 1),
            f"{PAIR}, {TASKS} tasks": _pairs(pair, pairs * 2, TASKS),
        }
        rounds = Rounds("pool on Redis", subjects, count=count)
        await rounds.run()
    note = ", ".join(f"{number} {name}" for name, number in sent.items()) + f" in {COUNTED} pairs"
    trips = sent.total() / COUNTED
    counted = Figure("pool on Redis", f"{PAIR}: round trips", trips, "commands", budget=at_most(TRIPS), note=note)
    return [counted, *[rounds.figure(name, "pairs/s", base=BARE) for name in subjects]]


def _pairs(one: Callable[[], Awaitable[None]], pairs: int, tasks: int) -> Round:
    async def worker() -> None:
        for _ in range(pairs // tasks):
            await one()

    async def run() -> float:
        began = time.perf_counter()
        await asyncio.gather(*[worker() for _ in range(tasks)])
        return pairs // tasks * tasks / (time.perf_counter() - began)

    return run
