"""How long from `publish` in one process to the handler in another, beside a bare PUBLISH between the same two."""

from __future__ import annotations

__all__ = ["measure"]

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager

import redis.asyncio
from bus_ours import Ours, Tuned
from bus_sides import Bare, FastStream, Side, TaskIq, Watch, orders
from figures import Figure, percentile
from fleet_server import Server

BARE = "bare PUBLISH, redis-py"
SIDES: dict[str, Callable[[str], Side]] = {
    "bare XADD -> XREADGROUP, redis-py": Bare,
    "coterie, serve": lambda url: Ours(url, Tuned(serves=True)),
    "FastStream": FastStream,
    "taskiq": TaskIq,
}
WARM_UP = 10
# More than anybody sends: it listens until it is ended.
ENDLESS = 10**9
END_S = 20.0


async def measure(server: Server, *, quick: bool) -> list[Figure]:
    """Milliseconds at the median and at the 99th of 100, in turn: one message of each."""
    made = orders(1)
    rounds = 100 if quick else 500
    samples: dict[str, list[float]] = {name: [] for name in (BARE, *SIDES)}
    client = redis.asyncio.Redis.from_url(server.url)
    sides = {name: build(server.url) for name, build in SIDES.items()}

    async def tell() -> None:
        await client.publish("latency-bare", made[0].text)

    acts: dict[str, Callable[[], Awaitable[None]]] = {BARE: tell}
    acts |= {name: _publishing(side, _stream(name)) for name, side in sides.items()}
    with ExitStack() as stack:
        listeners = {name: stack.enter_context(_listener(server.url, name)) for name in samples}
        for name, act in acts.items():
            await _ready(listeners[name], act)
        for number in range(WARM_UP + rounds):
            for name, act in acts.items():
                began = time.monotonic_ns()
                await act()
                took = (await asyncio.to_thread(_moment, listeners[name]) - began) / 1e6
                if number >= WARM_UP:
                    samples[name].append(took)
    for side in sides.values():
        await side.aclose()
    await client.aclose()
    return _figures(samples)


def _publishing(side: Side, stream: str) -> Callable[[], Awaitable[None]]:
    made = orders(1)
    return lambda: side.publish(stream, made)


def _figures(samples: dict[str, list[float]]) -> list[Figure]:
    figures = []
    section = "publish -> handler in another process"
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        bare = percentile(samples[BARE], share)
        for name, took in samples.items():
            value = percentile(took, share)
            figures.append(Figure(section, f"{name}, {label}", value, "ms", value / bare, BARE, samples=took))
    return figures


async def _ready(listener: subprocess.Popen[str], act: Callable[[], Awaitable[None]]) -> None:
    """It listens; what it was told before, it never heard of, or hears late: both are done with."""
    if (await asyncio.to_thread(_line, listener)) != "ready":
        raise RuntimeError("a listening process ended early")
    await act()
    await asyncio.to_thread(_moment, listener)


async def _listen(url: str, name: str) -> None:
    """The other process: for each message, when it came; until it is ended."""
    watch = _Told(ENDLESS)
    if name != BARE:
        print("ready", flush=True)
        await SIDES[name](url).consume(_stream(name), watch)
        return
    async with redis.asyncio.Redis.from_url(url) as client, client.pubsub() as heard:
        await heard.subscribe("latency-bare")
        async for message in heard.listen():
            if message["type"] == "subscribe":
                print("ready", flush=True)
            else:
                watch.handled()


class _Told(Watch):
    """Says when."""

    def handled(self) -> None:
        print(time.monotonic_ns(), flush=True)


@contextmanager
def _listener(url: str, name: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, __file__, "--listen", url, name]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait(END_S)


def _stream(name: str) -> str:
    return "latency-" + "".join(letter for letter in name if letter.isalnum())


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _moment(process: subprocess.Popen[str]) -> int:
    return int(_line(process))


if __name__ == "__main__":
    asyncio.run(_listen(*sys.argv[2:]))
