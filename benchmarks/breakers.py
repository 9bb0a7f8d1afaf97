"""What a closed circuit breaker costs a call that succeeds: in this process alone, and shared over Redis."""

from __future__ import annotations

__all__ = ["measure_alone", "measure_shared"]

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from typing import Any

import interlock
from figures import Figure, Round, Rounds, at_most
from fleet_server import Server, Witness

from coterie import CircuitBreaker, sync_breaker
from coterie.breaker import BreakerPolicy
from coterie.stores.redis import open_redis

BARE_ASYNC, BARE_SYNC = "bare await", "bare call"
ALONE, RESIDENT = "coterie in memory", "coterie on Redis, resident"
BUDGET_ALONE, BUDGET_RESIDENT = 8.0, 1.5
# Between two looks of the event loop at what else is to be done, such as telling the store.
TOGETHER = 500
COUNTED = 10_000
# Longer than successes wait for company, so that what was counted is told.
SETTLED_S = 0.2

CONSECUTIVE = BreakerPolicy()
COUNT_AND_SLOW = BreakerPolicy(mode="count", slow_call_s=60.0, window_calls=100)
TIME = BreakerPolicy(mode="time", window_s=60)

Work = Callable[..., Any]


async def work() -> None:
    """What is guarded."""


def blocking_work() -> None:
    """The same, for code that cannot await."""


async def measure_alone(server: Server, *, quick: bool) -> list[Figure]:
    """CPU nanoseconds a call, and how many times a bare one that is."""
    calls, count = (4_000, 9) if quick else (20_000, 21)
    return [*await _async_alone(calls, count), *await _sync_alone(calls, count)]


async def measure_shared(server: Server, *, quick: bool) -> list[Figure]:
    """Microseconds a call by the clock on the wall, and the commands that the server was sent for 10,000 calls."""
    calls, count = (5_000, 11) if quick else (20_000, 21)
    async with AsyncExitStack() as stack:
        alone = CircuitBreaker("alone", COUNT_AND_SLOW)
        store = open_redis(server.url, "bench")
        stack.push_async_callback(store.aclose)
        resident = CircuitBreaker("resident", COUNT_AND_SLOW, store=store, residence="resident")
        stack.push_async_callback(resident.aclose)
        await resident.refresh()
        rivals = await _rivals_on_redis(server, stack)
        subjects: dict[str, Round] = {
            ALONE: _in_turns(alone.call, calls),
            RESIDENT: _in_turns(resident.call, calls),
            **{name: _by_the_wall(run, calls // 100) for name, run in rivals.items()},
        }
        rounds = Rounds("closed breaker on Redis", subjects, count=count)
        await rounds.run()
        budgets = {RESIDENT: at_most(BUDGET_RESIDENT)}
        timed = [rounds.figure(n, "us/call", base=ALONE, scale=1e6, budget=budgets.get(n)) for n in subjects]
        return [*timed, *await _commands(server, resident, rivals)]


async def _async_alone(calls: int, count: int) -> list[Figure]:
    from circuitbreaker import CircuitBreaker as Peer  # type: ignore[import-untyped]  # it ships no types
    from purgatory import AsyncCircuitBreakerFactory

    decorated = CircuitBreaker("decorated", COUNT_AND_SLOW)(work)
    guarding = CircuitBreaker("guard", COUNT_AND_SLOW)
    factory = AsyncCircuitBreakerFactory()
    block = await factory.get_breaker("block")

    async def guard() -> None:
        async with guarding.guard() as call:
            call.result(await work())  # type: ignore[func-returns-value]  # a result like any other

    async def purgatory_block() -> None:
        async with block:
            await work()

    by_time = interlock.Config(window_type=interlock.WindowType.TIME_BASED, window_size=60)
    through = {
        "coterie call, consecutive": CircuitBreaker("consecutive", CONSECUTIVE).call,
        "coterie call, count window and slow calls": CircuitBreaker("count", COUNT_AND_SLOW).call,
        "coterie call, time window": CircuitBreaker("time", TIME).call,
    }
    direct = {
        BARE_ASYNC: work,
        "coterie decorator, count window": decorated,
        "coterie guard, count window": guard,
        "circuitbreaker decorator": Peer()(work),
        "purgatory async with": purgatory_block,
        "purgatory decorator": factory("decorated")(work),
        "interlock-cb decorator, count window": interlock.CircuitBreaker(name="count")(work),
        "interlock-cb decorator, time window": interlock.CircuitBreaker(name="time", config=by_time)(work),
    }
    subjects = {
        name: _awaiting(call, (work,) if name in through else (), calls) for name, call in (direct | through).items()
    }
    rounds = Rounds("closed breaker in memory, async", subjects, count=count)
    await rounds.run()
    order = [BARE_ASYNC, *through, *[name for name in direct if name != BARE_ASYNC]]
    budgets = dict.fromkeys(through, at_most(BUDGET_ALONE))
    return [rounds.figure(n, "ns/call", base=BARE_ASYNC, scale=1e9, budget=budgets.get(n)) for n in order]


async def _sync_alone(calls: int, count: int) -> list[Figure]:
    import pybreaker
    from circuitbreaker import CircuitBreaker as Peer
    from purgatory import SyncCircuitBreakerFactory

    through = {
        "coterie.sync_breaker call, count window": sync_breaker.CircuitBreaker(
            CircuitBreaker("sync", COUNT_AND_SLOW)
        ).call,
        "pybreaker call": pybreaker.CircuitBreaker().call,
    }
    direct = {
        BARE_SYNC: blocking_work,
        "circuitbreaker decorator": Peer()(blocking_work),
        "purgatory decorator": SyncCircuitBreakerFactory()("decorated")(blocking_work),
        "interlock-cb decorator, count window": interlock.CircuitBreaker(name="sync")(blocking_work),
    }
    subjects = {
        name: _calling(call, (blocking_work,) if name in through else (), calls)
        for name, call in (direct | through).items()
    }
    rounds = Rounds("closed breaker in memory, sync", subjects, count=count)
    await rounds.run()
    order = [BARE_SYNC, *through, *[name for name in direct if name != BARE_SYNC]]
    return [rounds.figure(name, "ns/call", base=BARE_SYNC, scale=1e9) for name in order]


async def _rivals_on_redis(server: Server, stack: AsyncExitStack) -> dict[str, Callable[[int], Awaitable[None]]]:
    """By name: what makes so many calls."""
    import pybreaker
    import redis.asyncio
    from interlock.integrations.redis import AsyncRedisStorage
    from purgatory import AsyncCircuitBreakerFactory, AsyncRedisUnitOfWork

    blocking = stack.enter_context(redis.Redis.from_url(server.url))
    py = pybreaker.CircuitBreaker(
        state_storage=pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, blocking, namespace="bench")
    )
    unit = AsyncRedisUnitOfWork(server.url)
    factory = AsyncCircuitBreakerFactory(uow=unit)
    await factory.initialize()
    # It has no way to close them; they end with the server.
    purgatory = factory("bench")(work)
    client = redis.asyncio.Redis.from_url(server.url)
    stack.push_async_callback(client.aclose)
    coordinated = interlock.CircuitBreaker(name="bench", storage=AsyncRedisStorage(client))
    stack.push_async_callback(coordinated.aclose)
    inter = coordinated(work)

    async def pybreaker_calls(calls: int) -> None:
        for _ in range(calls):
            py.call(blocking_work)

    async def purgatory_calls(calls: int) -> None:
        for _ in range(calls):
            await purgatory()

    async def interlock_calls(calls: int) -> None:
        for number in range(calls):
            await inter()
            if not number % TOGETHER:
                await asyncio.sleep(0)

    return {
        "interlock-cb on Redis": interlock_calls,
        "pybreaker on Redis (blocking client)": pybreaker_calls,
        "purgatory on Redis": purgatory_calls,
    }


async def _commands(
    server: Server, resident: CircuitBreaker, rivals: dict[str, Callable[[int], Awaitable[None]]]
) -> list[Figure]:
    section = "commands for 10,000 calls of a closed breaker on Redis"
    with closing(Witness(server)) as witness:
        await asyncio.sleep(SETTLED_S)
        witness.sent()
        began = time.perf_counter()
        for _ in range(COUNTED):
            await resident.call(work)
        took_ms = (time.perf_counter() - began) * 1e3
        # Nothing above gave way to the event loop: what was sent until now, the calls themselves have sent.
        inline = witness.sent().total()
        await asyncio.sleep(SETTLED_S)
        later = witness.sent().total()
        note = f"in the {took_ms:.0f} ms of the calls and {SETTLED_S:g} s more; at most one report each 20 ms"
        found = [
            Figure(section, "coterie, resident: by the calls themselves", inline, "commands", budget=at_most(0)),
            Figure(section, "coterie, resident: in the background", later, "commands", note=note),
        ]
        for name, run in rivals.items():
            calls = COUNTED if name.startswith("interlock") else COUNTED // 20
            witness.sent()
            await run(calls)
            sent = witness.sent().total() * COUNTED / calls
            found.append(Figure(section, name.replace(" on Redis", ""), sent, "commands"))
    return found


def _awaiting(call: Work, arguments: tuple[Any, ...], calls: int) -> Round:
    """CPU seconds a call."""

    async def without() -> float:
        began = time.process_time()
        for _ in range(calls):
            await call()
        return (time.process_time() - began) / calls

    async def with_one() -> float:
        (argument,) = arguments
        began = time.process_time()
        for _ in range(calls):
            await call(argument)
        return (time.process_time() - began) / calls

    return with_one if arguments else without


def _calling(call: Work, arguments: tuple[Any, ...], calls: int) -> Round:
    """The same for blocking calls."""

    async def run() -> float:
        if arguments:
            (argument,) = arguments
            began = time.process_time()
            for _ in range(calls):
                call(argument)
        else:
            began = time.process_time()
            for _ in range(calls):
                call()
        return (time.process_time() - began) / calls

    return run


def _in_turns(call: Work, calls: int) -> Round:
    """Seconds a call, what the event loop does in between included."""

    async def run() -> float:
        began = time.perf_counter()
        for _ in range(calls // TOGETHER):
            for _ in range(TOGETHER):
                await call(work)
            await asyncio.sleep(0)
        return (time.perf_counter() - began) / (calls // TOGETHER * TOGETHER)

    return run


def _by_the_wall(run_calls: Callable[[int], Awaitable[None]], calls: int) -> Round:
    async def run() -> float:
        began = time.perf_counter()
        await run_calls(calls)
        return (time.perf_counter() - began) / calls

    return run
