"""One acquire of a rate limit on Redis, one after another and by 64 tasks: calls a second, beside a bare EVALSHA."""

from __future__ import annotations

__all__ = ["measure"]

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import redis.asyncio
from figures import Figure, Round, Rounds, at_least
from fleet_server import Server

from coterie import Quota, RateLimiter
from coterie.stores.redis import open_redis

TASKS = 64
BARE = "bare EVALSHA 'return 1', redis-py"
RATE = 1_000_000

# The least that a shared GCRA does: the server's clock, one key.
GCRA = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local new = tat + tonumber(ARGV[1])
if new - now > tonumber(ARGV[2]) then return { 0, new - now - tonumber(ARGV[2]) } end
redis.call('SET', KEYS[1], string.format('%.0f', new), 'PX', math.ceil((new - now) / 1000) + 1)
return { 1, 0 }
"""

Call = Callable[[], Awaitable[Any]]


async def measure(server: Server, *, quick: bool) -> list[Figure]:
    """Calls a second, and how much of a bare sequential EVALSHA that is."""
    calls, count = (640, 9) if quick else (1_280, 31)
    async with AsyncExitStack() as stack:
        subjects: dict[str, Round] = {}
        for name, call in (await _calls(server, stack)).items():
            subjects[name] = _one_by_one(call, calls // 2)
            subjects[f"{name}, {TASKS} tasks"] = _together(call, calls)
        rounds = Rounds("limiter acquire on Redis", subjects, count=count)
        await rounds.run()
    budgets = {"coterie": at_least(0.6), f"coterie, {TASKS} tasks": at_least(3.0)}
    budgets |= {"coterie, two dimensions": at_least(0.6), f"coterie, two dimensions, {TASKS} tasks": at_least(3.0)}
    return [rounds.figure(name, "per s", base=BARE, budget=budgets.get(name)) for name in subjects]


async def _calls(server: Server, stack: AsyncExitStack) -> dict[str, Call]:
    client = redis.asyncio.Redis.from_url(server.url)
    stack.push_async_callback(client.aclose)
    one, gcra = await client.script_load("return 1"), await client.script_load(GCRA)
    store = open_redis(server.url, "bench")
    stack.push_async_callback(store.aclose)
    quota = Quota(rate_per_s=RATE, burst=RATE)
    single = RateLimiter("one", quota, store=store)
    double = RateLimiter("two", {"requests": quota, "tokens": quota}, store=store)
    for limiter in (single, double):
        stack.push_async_callback(limiter.aclose)

    async def moving() -> None:
        assert await window.hit(item, "bench")

    async def pyrate() -> None:
        assert await bucket.try_acquire_async("bench", blocking=False)

    item, window = _moving_window(server)
    bucket = await _pyrate(client)
    stack.callback(bucket.close)
    return {
        BARE: lambda: client.evalsha(one, 1, "bench:bare"),
        "bare EVALSHA of a GCRA, redis-py": lambda: client.evalsha(gcra, 1, "bench:gcra", 1, RATE),
        "coterie": single.acquire,
        "coterie, two dimensions": lambda: double.acquire(tokens=100),
        "limits, moving window": moving,
        "pyrate-limiter": pyrate,
    }


def _moving_window(server: Server) -> tuple[Any, Any]:
    from limits import RateLimitItemPerSecond
    from limits.aio.storage import RedisStorage
    from limits.aio.strategies import MovingWindowRateLimiter

    storage = RedisStorage(f"async+{server.url}", implementation="redispy")
    return RateLimitItemPerSecond(RATE), MovingWindowRateLimiter(storage)


async def _pyrate(client: redis.asyncio.Redis) -> Any:
    from pyrate_limiter import Duration, Limiter, Rate, RedisBucket

    return Limiter(await RedisBucket.init([Rate(RATE, Duration.SECOND)], client, "bench:pyrate"))


def _one_by_one(call: Call, calls: int) -> Round:
    async def run() -> float:
        began = time.perf_counter()
        for _ in range(calls):
            await call()
        return calls / (time.perf_counter() - began)

    return run


def _together(call: Call, calls: int) -> Round:
    async def worker() -> None:
        for _ in range(calls // TASKS):
            await call()

    async def run() -> float:
        began = time.perf_counter()
        await asyncio.gather(*[worker() for _ in range(TASKS)])
        return calls // TASKS * TASKS / (time.perf_counter() - began)

    return run
