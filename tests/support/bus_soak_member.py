"""A producer or a consumer of the bus's soak, in a process of its own, that may be killed at any moment.

    python -m tests.support.bus_soak_member produce|consume JSON

What each did lies in a file of its own, appended to line by line: a producer's ledger has what was acknowledged to it,
a consumer's what it handled, written before that is acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from coterie import JsonValue, Retry
from coterie._rules.log import Retention
from coterie.bus import CloudEvent, EventBus, Received
from coterie.errors import TopicFull, Unavailable
from coterie.events import Event
from coterie.ports import Durability, LogStore
from coterie.stores.opening import open_log_store

__all__ = [
    "CONCURRENCY",
    "GROUP",
    "HEALED",
    "PREFETCH",
    "Consuming",
    "Load",
    "Producing",
    "bus_of",
    "command",
    "lines",
]

TYPE = "com.example.soak.noted"
GROUP = "soak"
# While this file is not there, poison is poison.
HEALED = "healed"
PREFETCH = 64
CONCURRENCY = 8
DELIVERIES = 10
LEASE_S = 10.0
WAIT_S = 120.0


@dataclass(frozen=True)
class Load:
    """What is published by all together. room: how many messages the topic takes; more are refused until it has room.

    poison: how many of the events fail whoever handles them. pause_s: at most that long between two batches, and
    `busy_s` while an event is handled.
    """

    events: int
    producers: int
    consumers: int
    keys: int = 500
    poison: int = 50
    room: int = 1_000_000
    pause_s: float = 0.0
    busy_s: float = 0.0

    def of(self, producer: int) -> int:
        """How many of them are one producer's."""
        return len(range(producer, self.events, self.producers))

    def event(self, producer: int, number: int) -> CloudEvent:
        """A producer's event of this number: always the same. Its keys are no other producer's."""
        own = max(1, self.keys // self.producers)
        data: dict[str, JsonValue] = {"sequence": number // own, "poison": self._is_poison(producer, number)}
        return CloudEvent(TYPE, data, source="soak", id=f"{producer}-{number}", key=f"k{producer}-{number % own}")

    def _is_poison(self, producer: int, number: int) -> bool:
        every = max(1, self.events // self.poison) if self.poison else 0
        index = number * self.producers + producer
        return bool(every) and index % every == every // 2 and index // every < self.poison


@dataclass(frozen=True)
class Producing:
    url: str
    namespace: str
    durability: Durability
    ledger: str
    number: int
    load: Load
    seed: int


@dataclass(frozen=True)
class Consuming:
    url: str
    namespace: str
    durability: Durability
    journal: str
    busy_s: float
    seed: int


def bus_of(log: LogStore, load: Load | None = None) -> EventBus:
    retention = Retention(max_messages=load.room, when_full="refuse") if load else None
    return EventBus(log, topic="soak", source="soak", retention=retention)


def lines(path: Path) -> list[list[object]]:
    """All that was written whole: who is killed may leave a part of the last one."""
    text = path.read_text("utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


class _Pen:
    """Appends whole lines, in one write each time."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, *rows: list[object]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        assert os.write(self._file, text.encode()) == len(text)


async def produce(order: Producing) -> None:
    """Publish what is not in the ledger yet; what was published and never written down is published again."""
    chance, pen, load = random.Random(order.seed), _Pen(order.ledger), order.load
    log = open_log_store(order.url, order.namespace, durability=order.durability)
    bus, number = bus_of(log, load), len(lines(Path(order.ledger)))
    while number < load.of(order.number):
        last = min(load.of(order.number), number + chance.randint(1, 100))
        batch = [load.event(order.number, each) for each in range(number, last)]
        try:
            await bus.publish_all(batch, wait_s=WAIT_S)
        except (TopicFull, Unavailable):
            continue
        pen.write(*[[event.id, event.key, event.data["sequence"], event.data["poison"]] for event in batch])  # type: ignore[index, call-overload]
        number = last
        await asyncio.sleep(chance.uniform(0.0, load.pause_s))
    await log.aclose()


async def consume(order: Consuming) -> None:
    """Handle events until SIGTERM. The file is there from when this takes part."""
    ready, stop = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    log = open_log_store(order.url, order.namespace, durability=order.durability)
    consumer = _Consumer(order)
    bus = EventBus(log, topic="soak", source="soak", on_event=consumer.heard)
    service = asyncio.create_task(
        bus.serve(
            consumer.handle,
            group=GROUP,
            begin="begin",
            stop=stop,
            ready=ready,
            retry=Retry(max_attempts=DELIVERIES, base_s=0.01, cap_s=0.1),
            concurrency=CONCURRENCY,
            prefetch=PREFETCH,
            lease_s=LEASE_S,
        )
    )
    service.add_done_callback(lambda _: ready.set())
    await ready.wait()
    consumer.begin()
    await service
    await log.aclose()


class _Consumer:
    """Writes down what it handles, before that is acknowledged."""

    def __init__(self, order: Consuming) -> None:
        self._busy_s = order.busy_s
        self._chance = random.Random(order.seed)
        self._journal = Path(order.journal)
        self._pen: _Pen | None = None

    def begin(self) -> None:
        """Make the file."""
        self._journal.touch()

    async def handle(self, event: CloudEvent, received: Received) -> None:
        data = event.data
        assert isinstance(data, dict)
        is_sick = bool(data["poison"]) and not (self._journal.parent / HEALED).exists()
        began_ns = time.monotonic_ns()
        await asyncio.sleep(self._chance.uniform(0.0, self._busy_s))
        before = received.failures[-1].reason if received.failures else ""
        self._write([event.id, event.key, data["sequence"], received.number, began_ns, not is_sick, before])
        if is_sick:
            raise ValueError(f"{event.id} is poison")

    def heard(self, event: Event) -> None:
        if event.name == "events.expelled":
            self._write(["expelled", time.monotonic_ns()])

    def _write(self, row: list[object]) -> None:
        if self._pen is None:
            self._pen = _Pen(str(self._journal))
        self._pen.write(row)


def command(order: Producing | Consuming) -> list[str]:
    role = "produce" if isinstance(order, Producing) else "consume"
    return [sys.executable, "-m", "tests.support.bus_soak_member", role, json.dumps(asdict(order))]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(message)s")
    given = json.loads(sys.argv[2])
    if sys.argv[1] == "produce":
        asyncio.run(produce(Producing(**{**given, "load": Load(**given["load"])})))
    else:
        asyncio.run(consume(Consuming(**given)))
