"""How long until a breaker that opens in one process refuses calls in three others, beside a bare message between them.

    python benchmarks/breaker_push.py                      (SQLite, and a Valkey of its own)
    python benchmarks/breaker_push.py redis://host:6379/0  (that store)

By turns, in the same four processes: one message through the store, from `publish` to each listener's notice; and one
trip, from the failing call to each listener's breaker refusing. Budget: the trip's p99 at most 5 times the message's.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from coterie.breaker import BreakerPolicy, CircuitBreaker, Pace
from coterie.errors import BreakerOpen
from coterie.ports import StateStore
from coterie.stores.opening import open_state_store

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support.redis_servers import valkey

LISTENERS = 3
ROUNDS = 300
WARM_UP = 20
BUDGET = 5.0
POLICY = BreakerPolicy(timeout_s=600.0, jitter=0.0)
# Nobody looks by himself, or reports successes, in between.
PACE = Pace(reconcile_s=3600.0, flush_s=3600.0)


class Failed(Exception):
    """What the guarded call raises."""


async def fail() -> None:
    raise Failed


async def work() -> None:
    return None


def main() -> int:
    """Measure each store, print, judge."""
    within = True
    with contextlib.ExitStack() as stack:
        if urls := sys.argv[1:]:
            stores = {url: url for url in urls}
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            stores = {"SQLite": f"sqlite://{folder}/state.db", "Valkey": stack.enter_context(valkey()).url}
        for name, url in stores.items():
            within &= report(name, *measured(url))
    return 0 if within else 1


def report(name: str, bare: list[list[float]], trips: list[list[float]]) -> bool:
    """bare, trips: milliseconds until each listener was told; one list a round."""
    within = True
    print(f"{name}: {ROUNDS} rounds, {LISTENERS} listeners, milliseconds")
    for what, of in (("each listener", list), ("the last listener", lambda told: [max(told)])):
        pick: Callable[[list[float]], list[float]] = of
        message, trip = (sorted(ms for told in rounds for ms in pick(told)) for rounds in (bare, trips))
        for share, label in ((0.50, "p50"), (0.99, "p99")):
            one, other = at(message, share), at(trip, share)
            within &= share < 0.99 or other <= BUDGET * one
            print(f"  {what:18} {label}: message {one:7.2f}   trip {other:7.2f}   ratio {other / one:5.2f}")
    return within


def at(ordered: list[float], share: float) -> float:
    """A quantile of what is sorted."""
    return statistics.quantiles(ordered, n=100, method="inclusive")[round(share * 100) - 1]


def measured(url: str) -> tuple[list[list[float]], list[list[float]]]:
    """Start the listeners, and tell them things."""
    namespace = f"push-{uuid.uuid4().hex[:8]}"
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(listener(url, namespace)) for _ in range(LISTENERS)]
        return asyncio.run(told(url, namespace, listeners))


@contextlib.contextmanager
def listener(url: str, namespace: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, __file__, "--listen", url, namespace]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(20)


async def told(
    url: str, namespace: str, listeners: list[subprocess.Popen[str]]
) -> tuple[list[list[float]], list[list[float]]]:
    store = open_state_store(url, namespace)
    bare, trips = [], []
    for number in range(WARM_UP + ROUNDS):
        name = f"agent-{number}"
        for process in listeners:
            say(process, name)
        assert [hear(process) for process in listeners] == ["ready"] * LISTENERS
        breaker = CircuitBreaker(name, POLICY, store=store, residence="resident", pace=PACE)
        await breaker.refresh()
        message = await until_told(listeners, lambda name=name: store.publish(f"bare/{name}", "x" * 200))
        for _ in range(POLICY.failure_threshold - 1):
            with contextlib.suppress(Failed):
                await breaker.call(fail)
        await breaker.refresh()
        trip = await until_told(listeners, lambda breaker=breaker: expect_failure(breaker))
        await breaker.aclose()
        if number >= WARM_UP:
            bare.append(message)
            trips.append(trip)
    await store.aclose()
    return bare, trips


async def expect_failure(breaker: CircuitBreaker) -> None:
    with contextlib.suppress(Failed):
        await breaker.call(fail)


async def until_told(listeners: list[subprocess.Popen[str]], act: Callable[[], object]) -> list[float]:
    """Milliseconds from now until each listener was told; clocks of one machine are one clock."""
    began = time.monotonic_ns()
    await act()  # type: ignore[misc]  # all of them can be awaited
    moments = await asyncio.gather(*(asyncio.to_thread(hear, process) for process in listeners))
    return [(int(moment) - began) / 1e6 for moment in moments]


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def listen(url: str, namespace: str) -> None:
    """Tell the moment of each message, and the moment from which on each breaker refuses."""
    store = open_state_store(url, namespace)
    while name := (await asyncio.to_thread(sys.stdin.readline)).strip():
        await hear_once(store, name)
    await store.aclose()


async def hear_once(store: StateStore, name: str) -> None:
    breaker = CircuitBreaker(name, POLICY, store=store, residence="resident", pace=PACE)
    await breaker.refresh()
    loop = asyncio.get_running_loop()
    heard, refusing = loop.create_future(), loop.create_future()

    def message(_: str | None) -> None:
        heard.set_result(time.monotonic_ns())

    def signal(_: str | None) -> None:
        # Listeners are told in the order in which they came: the breaker knows already.
        if breaker.get_state().state == "open":
            refusing.set_result(time.monotonic_ns())

    await store.subscribe(f"bare/{name}", message)
    await store.subscribe(f"breaker/{name}", signal)
    print("ready", flush=True)
    print(await heard, flush=True)
    moment = await refusing
    try:
        await breaker.call(work)
    except BreakerOpen:
        print(moment, flush=True)
    await store.unsubscribe(f"bare/{name}", message)
    await store.unsubscribe(f"breaker/{name}", signal)
    await breaker.aclose()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--listen"]:
        asyncio.run(listen(*sys.argv[2:]))
    else:
        sys.exit(main())
