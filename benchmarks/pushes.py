"""How long until other processes see what one did: a breaker that trips, a slot that comes free.

Real processes, and in turn with each of these a bare message between the same processes, from `publish` to the notice.
The trip is `breaker_push.py`'s, which runs alone too; the waiter is here.
"""

from __future__ import annotations

__all__ = ["measure"]

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import breaker_push
from figures import Figure, at_most, percentile
from fleet_server import Server

from coterie.pool import ResourcePool
from coterie.ports import StateStore
from coterie.stores.redis import open_redis

WARM_UP = 10
BUDGET = 5.0
TYPE = "worker"
PATIENCE_S = 30.0


async def measure(server: Server, *, quick: bool) -> list[Figure]:
    """Milliseconds, at the median and the 99th of 100; the ratio to the same of the bare message."""
    rounds = 100 if quick else 400
    breaker_push.ROUNDS, breaker_push.WARM_UP = rounds, WARM_UP
    # It runs an event loop of its own.
    bare, trips = await asyncio.to_thread(breaker_push.measured, server.url)
    listeners = len(bare[0])
    figures = _figures(
        f"a trip seen by {listeners} other processes, Redis", "trip", _flat(trips), _flat(bare), of="each listener"
    )
    with _waiter(server.url) as waiter:
        bare_ms, woken_ms = await _woken(server.url, waiter, rounds)
    return figures + _figures("a waiter woken by a release, Redis", "release", woken_ms, bare_ms, of="the waiter")


async def wait(url: str) -> None:
    """The other process: for each line, one message and one lease, and when each came."""
    store = open_redis(url, "push")
    heard: asyncio.Queue[int] = asyncio.Queue()
    await store.subscribe("pool/bare", lambda _: heard.put_nowait(time.monotonic_ns()))
    async with ResourcePool(TYPE, store=store) as pool:
        while (await asyncio.to_thread(sys.stdin.readline)).strip():
            print("ready", flush=True)
            print(await heard.get(), flush=True)
            async with pool.lease(wait_s=PATIENCE_S):
                moment = time.monotonic_ns()
            print(moment, flush=True)
    await store.aclose()


async def _woken(url: str, waiter: subprocess.Popen[str], rounds: int) -> tuple[list[float], list[float]]:
    store = open_redis(url, "push")
    bare_ms: list[float] = []
    woken_ms: list[float] = []
    async with ResourcePool(TYPE, store=store) as pool:
        pool.register_agent("one")
        for number in range(WARM_UP + rounds):
            await asyncio.to_thread(_say, waiter, "go")
            if await asyncio.to_thread(_hear, waiter) != "ready":
                raise RuntimeError("the waiting process ended early")
            async with pool.lease(wait_s=PATIENCE_S):
                message = await _until_told(waiter, _publishing(store))
                await _until_queued(pool)
                began = time.monotonic_ns()
            moment = int(await asyncio.to_thread(_hear, waiter))
            if number >= WARM_UP:
                bare_ms.append(message)
                woken_ms.append((moment - began) / 1e6)
    await store.aclose()
    return bare_ms, woken_ms


async def _until_queued(pool: ResourcePool) -> None:
    """The other process stands in the queue; then it has a moment more, to listen."""
    while not (await pool.refresh()).waiting.get(TYPE):  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.005)


def _publishing(store: StateStore) -> Callable[[], Awaitable[Any]]:
    return lambda: store.publish("pool/bare", "x" * 200)


async def _until_told(waiter: subprocess.Popen[str], act: Callable[[], Awaitable[Any]]) -> float:
    """Milliseconds; the clocks of one machine's processes are one clock."""
    began = time.monotonic_ns()
    await act()
    return (int(await asyncio.to_thread(_hear, waiter)) - began) / 1e6


def _figures(section: str, what: str, told: list[float], bare: list[float], *, of: str) -> list[Figure]:
    figures = []
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        message, other = percentile(bare, share), percentile(told, share)
        budget = at_most(BUDGET) if share > 0.5 else None
        figures += [
            Figure(section, f"bare publish -> {of}, {label}", message, "ms", 1.0, "the bare message", samples=bare),
            Figure(
                section, f"{what} -> {of}, {label}", other, "ms", other / message, "the bare message", budget,
                f"{len(told)} samples, mean {statistics.fmean(told):.2f} ms", told,
            ),
        ]  # fmt: skip
    return figures


def _flat(rounds: list[list[float]]) -> list[float]:
    return [ms for told in rounds for ms in told]


@contextmanager
def _waiter(url: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, __file__, "--wait", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(PATIENCE_S)


def _say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


if __name__ == "__main__":
    asyncio.run(wait(*sys.argv[2:]))
