"""Events a second that one process publishes, and one consumes, beside bare redis-py, FastStream and taskiq."""

from __future__ import annotations

__all__ = ["measure_consume", "measure_publish"]

import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from typing import NamedTuple

from bus_ours import Ours, Tuned
from bus_sides import COUNT, Bare, FastStream, Order, Side, TaskIq, Watch, orders
from figures import Budget, Figure, Round, Rounds, at_least
from fleet_server import Server

FLOOR = at_least(0.5)
AHEAD = at_least(1.0)
_numbers = itertools.count(1)


class Sizes(NamedTuple):
    """rounds: that count. one: events published one by one; many: in batches, and consumed."""

    rounds: int
    one: int
    many: int


def _sizes(*, quick: bool) -> Sizes:
    return Sizes(2, 200, 1_000) if quick else Sizes(7, 1_000, 5_000)


class _Meter:
    """CPU time that this process and the server have used, for every event of each round."""

    def __init__(self, server: Server) -> None:
        self._client = server.client()
        self.samples: dict[str, list[float]] = {}

    def cpu_s(self) -> float:
        """Of both."""
        used = self._client.info("cpu")
        return time.process_time() + float(used["used_cpu_user"]) + float(used["used_cpu_sys"])

    def note(self, name: str, began_s: float, events: int) -> None:
        """What one round took."""
        self.samples.setdefault(name, []).append((self.cpu_s() - began_s) / events)

    def figures(self, section: str) -> list[Figure]:
        """Beside the first one; the first round warmed everything up."""
        base, *_ = self.samples
        found = []
        for name, samples in self.samples.items():
            pairs = zip(samples[1:], self.samples[base][1:], strict=True)
            ratio, micros = statistics.median(one / other for one, other in pairs), [each * 1e6 for each in samples[1:]]
            found.append(
                Figure(f"{section}: CPU, both", name, statistics.median(micros), "us", ratio, base, samples=micros)
            )
        return found

    def close(self) -> None:
        """Give up the connection."""
        self._client.close()


async def measure_publish(server: Server, *, quick: bool) -> list[Figure]:
    """One by one, and in batches of 64 and 100."""
    sizes = _sizes(quick=quick)
    sides: dict[str, Side] = {
        "bare XADD, redis-py": Bare(server.url),
        "coterie": Ours(server.url),
        "coterie, each with a key": Ours(server.url, Tuned(keyed=True)),
        "FastStream": FastStream(server.url),
        "taskiq": TaskIq(server.url),
    }
    made = orders(sizes.many)
    section = f"publish, one by one, {len(made[0].text)} bytes"
    budgets = {"coterie": FLOOR, "coterie, each with a key": FLOOR}
    with closing(_Meter(server)) as meter:
        one = {name: _timed(name, side.publish, made[: sizes.one], meter) for name, side in sides.items()}
        figures = await _figures(section, one, sizes.rounds, budgets, meter)
    for size in (64, COUNT):
        with closing(_Meter(server)) as meter:
            many = {name: _timed(name, _batched(side, size), made, meter) for name, side in sides.items()}
            figures += await _figures(f"publish, batches of {size}", many, sizes.rounds, budgets, meter)
    for side in sides.values():
        await side.aclose()
    return figures


async def measure_consume(server: Server, *, quick: bool) -> list[Figure]:
    """What one process consumes and acknowledges, up to 100 at a time."""
    sizes = _sizes(quick=quick)
    sides: dict[str, Side] = {
        "bare XREADGROUP + XACK, redis-py": Bare(server.url),
        "the same, and the JSON read": Bare(server.url, parse=True),
        "coterie, subscribe": Ours(server.url),
        "coterie, subscribe, each with a key": Ours(server.url, Tuned(keyed=True)),
        "coterie, serve": Ours(server.url, Tuned(serves=True)),
        "coterie, serve, prefetch 16": Ours(server.url, Tuned(serves=True, prefetch=16)),
        "FastStream": FastStream(server.url),
        "FastStream, a list a call": FastStream(server.url, batch=True),
        "taskiq": TaskIq(server.url),
    }
    made = orders(sizes.many)
    section = f"consume and acknowledge, {COUNT} at a time"
    budgets = {"coterie, subscribe": FLOOR, "coterie, serve": FLOOR}
    with closing(_Meter(server)) as meter:
        subjects = {name: _consumed(name, side, made, meter) for name, side in sides.items()}
        figures = await _figures(section, subjects, sizes.rounds, budgets, meter, ours="coterie, serve")
    for side in sides.values():
        await side.aclose()
    return figures


async def _figures(
    section: str,
    subjects: Mapping[str, Round],
    count: int,
    budgets: Mapping[str, Budget],
    meter: _Meter,
    *,
    ours: str = "coterie",
) -> list[Figure]:
    """Beside the first of them; and ours beside each other library. What both ends compute is told, and has no budget:
    a busy machine moves it less than the clock on the wall.
    """
    rounds = Rounds(section, subjects, count=count)
    await rounds.run()
    base = next(iter(subjects))
    found = [rounds.figure(name, "events/s", base=base, budget=budgets.get(name)) for name in subjects]
    for peer in ("FastStream", "taskiq"):
        value = statistics.median(rounds.samples[ours])
        found.append(
            Figure(section, f"{ours}, beside {peer}", value, "events/s", rounds.ratio(ours, peer), peer, AHEAD)
        )
    return found + meter.figures(section)


def _timed(
    name: str, publish: Callable[[str, list[Order]], Awaitable[None]], made: list[Order], meter: _Meter
) -> Round:
    async def run() -> float:
        stream = f"published-{next(_numbers)}"
        cpu_s, began = meter.cpu_s(), time.perf_counter()
        await publish(stream, made)
        took_s = time.perf_counter() - began
        meter.note(name, cpu_s, len(made))
        return len(made) / took_s

    return run


def _batched(side: Side, size: int) -> Callable[[str, list[Order]], Awaitable[None]]:
    return lambda stream, made: side.publish_all(stream, made, size)


def _consumed(name: str, side: Side, made: list[Order], meter: _Meter) -> Round:
    async def run() -> float:
        stream = f"consumed-{next(_numbers)}"
        await side.publish_all(stream, made, COUNT)
        cpu_s = meter.cpu_s()
        rate = await side.consume(stream, Watch(len(made)))
        meter.note(name, cpu_s, len(made))
        return rate

    return run
