"""A soak of the bus: producers and consumers in processes of their own, who are killed at random, and their server."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from coterie.bus import DeadEvent, EventBus
from coterie.errors import Unavailable
from coterie.ports import Durability
from coterie.stores.opening import open_log_store
from tests.environment import REPOSITORY
from tests.support.bus_soak_audit import DeadRow, Handled, Incident, Kind, Noted, Records
from tests.support.bus_soak_member import (
    CONCURRENCY,
    GROUP,
    HEALED,
    PREFETCH,
    Consuming,
    Load,
    Producing,
    bus_of,
    command,
    lines,
)
from tests.support.redis_servers import Server

__all__ = ["Storm", "soak"]

END_S = 30.0


@dataclass(frozen=True)
class Storm:
    """How often what is done to whom, spread at random over what is published. within_s: for how long all may take."""

    kills: int
    stops: int = 0
    producer_kills: int = 0
    server_kills: int = 0
    server_stops: int = 0
    within_s: float = 120.0

    def acts(self, chance: random.Random) -> list[tuple[float, str]]:
        """What to do, each once so much of all is published."""
        every = {
            "kill": self.kills,
            "stop": self.stops,
            "kill producer": self.producer_kills,
            "kill server": self.server_kills,
            "stop server": self.server_stops,
        }
        return sorted((chance.uniform(0.02, 0.98), name) for name, count in every.items() for _ in range(count))


def soak(
    url: str,
    folder: Path,
    load: Load,
    storm: Storm,
    *,
    seed: int,
    server: Server | None = None,
    durability: Durability = "strict",
) -> Records:
    """Let it run until everything is handled; what is left of it. server: the one at `url`, if it may be ended."""
    with _Field(url, folder, load, seed, server, durability).begun() as soaking:
        soaking.weather(storm)
        return asyncio.run(soaking.ended(storm.within_s))


@dataclass
class _Field:
    """Who is out there."""

    url: str
    folder: Path
    load: Load
    seed: int
    server: Server | None
    durability: Durability
    namespace: str = "soak"
    incidents: list[Incident] = field(default_factory=list)
    producers: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    consumers: dict[int, tuple[str, subprocess.Popen[bytes]]] = field(default_factory=dict)
    starts: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.deadline_s = 0.0

    @contextmanager
    def begun(self) -> Iterator[_Field]:
        try:
            for number in range(self.load.consumers):
                self._start_consumer(number)
            for number in range(self.load.producers):
                self._start_producer(number)
            yield self
        finally:
            for process in [*self.producers.values(), *[process for _, process in self.consumers.values()]]:
                process.kill()
                process.wait(END_S)

    def weather(self, storm: Storm) -> None:
        """Do to them what the storm says, when it is time; then wait until everything is published."""
        self.deadline_s = time.monotonic() + storm.within_s
        acts: dict[str, Callable[[], None]] = {
            "kill": partial(self._end_consumer, signal.SIGKILL, "killed"),
            "stop": partial(self._end_consumer, signal.SIGTERM, "stopped"),
            "kill producer": self._kill_producer,
            "kill server": partial(self._restart, signal.SIGKILL),
            "stop server": partial(self._restart, signal.SIGTERM),
        }
        for share, act in storm.acts(self.chance):
            self._until(lambda share=share: self._published() >= share * self.load.events, self.deadline_s)  # type: ignore[misc]
            acts[act]()
        self._until(lambda: self._published() == self.load.events, self.deadline_s)
        for process in self.producers.values():
            assert process.wait(END_S) == 0, "a producer failed"

    async def ended(self, within_s: float) -> Records:
        """Everything handled, the poison twice: before and after it was requeued."""
        log = open_log_store(self.url, self.namespace)
        bus = bus_of(log)
        letters = await self._worked_off(bus, within_s)
        (self.folder / HEALED).touch()
        requeued_ns = time.monotonic_ns()
        await bus.requeue(GROUP)
        left = await self._worked_off(bus, within_s)
        assert not left, f"dead after they were healed: {left[:3]}"
        topic = next(topic for topic in await log.topics() if topic.name == bus.topic)
        await log.aclose()
        for life, process in self.consumers.values():
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_S) == 0, f"{life} failed"
        return Records(
            published=[Noted(*row) for number in self.producers for row in lines(self._ledger(number))],  # type: ignore[arg-type]
            lives=self._lives(),
            appended=topic.appended,
            prefetch=PREFETCH,
            concurrency=CONCURRENCY,
            dead=[_row(letter) for letter in letters],
            requeued_ns=requeued_ns,
            incidents=self.incidents,
        )

    async def _worked_off(self, bus: EventBus, within_s: float) -> list[DeadEvent]:
        """The dead letters, once nothing else is left."""
        async with asyncio.timeout(within_s):
            while True:
                try:
                    (group,) = [each for each in await bus.log.groups(bus.topic) if each.name == GROUP]
                    if not (group.unread or group.held or group.waiting):
                        return list(await bus.dead_letters(GROUP, limit=10_000))
                # A server that has come back a moment ago.
                except Unavailable:
                    pass
                await asyncio.sleep(0.1)

    def _end_consumer(self, how: signal.Signals, kind: Kind) -> None:
        # One that takes part: to end others tells nothing.
        self._until(lambda: bool(self._present()), self.deadline_s)
        number = self.chance.choice(self._present())
        life, process = self.consumers[number]
        process.send_signal(how)
        process.wait(END_S)
        self.incidents.append(Incident(kind, life, time.monotonic_ns()))
        self._start_consumer(number)

    def _present(self) -> list[int]:
        return [number for number, (life, _) in self.consumers.items() if (self.folder / life).exists()]

    def _kill_producer(self) -> None:
        number = self.chance.choice(list(self.producers))
        if self.producers[number].poll() is None:
            self.producers[number].kill()
            self.producers[number].wait(END_S)
            self._start_producer(number)

    def _restart(self, how: signal.Signals) -> None:
        assert self.server is not None
        assert self.server.process is not None
        self.incidents.append(Incident("outage", "", time.monotonic_ns()))
        self.server.process.send_signal(how)
        self.server.process.wait(END_S)
        time.sleep(self.chance.uniform(0.0, 0.5))
        self.server.start()

    def _start_consumer(self, number: int) -> None:
        self.starts += 1
        life = f"consumer-{number}-{self.starts}"
        journal, seed = str(self.folder / life), self.chance.getrandbits(30)
        order = Consuming(self.url, self.namespace, self.durability, journal, self.load.busy_s, seed)
        self.consumers[number] = life, self._started(order)

    def _start_producer(self, number: int) -> None:
        ledger, seed = str(self._ledger(number)), self.chance.getrandbits(30)
        order = Producing(self.url, self.namespace, self.durability, ledger, number, self.load, seed)
        self.producers[number] = self._started(order)

    def _started(self, order: Producing | Consuming) -> subprocess.Popen[bytes]:
        with (self.folder / "said").open("ab") as said:
            return subprocess.Popen(command(order), cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=said, stderr=said)

    def _until(self, holds: Callable[[], bool], deadline_s: float) -> None:
        while not holds():
            assert time.monotonic() < deadline_s, f"{self._published()} published; they said: {self._said()}"
            for process in self.producers.values():
                assert not process.poll(), f"a producer failed: {self._said()}"
            for life, process in self.consumers.values():
                assert process.poll() is None, f"{life} ended: {self._said()}"
            time.sleep(0.02)

    def _published(self) -> int:
        return sum(path.read_bytes().count(b"\n") for path in self.folder.glob("ledger-*"))

    def _said(self) -> str:
        return (self.folder / "said").read_text("utf-8", errors="replace")[-3000:]

    def _ledger(self, number: int) -> Path:
        return self.folder / f"ledger-{number}"

    def _lives(self) -> dict[str, list[Handled]]:
        """What each wrote; that it was expelled is an incident."""
        lives = {}
        for path in sorted(self.folder.glob("consumer-*")):
            rows = lines(path)
            lives[path.name] = [Handled(*row) for row in rows if row[0] != "expelled"]  # type: ignore[arg-type]
            self.incidents += [
                Incident("expelled", path.name, row[1])  # type: ignore[arg-type]
                for row in rows
                if row[0] == "expelled"
            ]
        return lives


def _row(letter: DeadEvent) -> DeadRow:
    assert letter.event is not None
    return DeadRow(letter.event.id, letter.number, tuple(failure.reason for failure in letter.failures))
