"""What the breakers' tests share: agents that do as told, and several processes' breakers on one store."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coterie.breaker import BreakerPolicy, CircuitBreaker, note
from coterie.errors import CoterieError
from coterie.events import Event
from coterie.ports import StateStore
from coterie.stores.memory import MemoryStateStore
from coterie.stores.sqlite import SqliteStateStore
from coterie.testing.clock import ManualClock
from coterie.testing.faults_state import FaultyStateStore

# How long a test waits for what must come; only a loss takes so long.
PATIENCE_S = 20.0
NAME = "agent"
# Without chance, so that a test knows when a breaker is tried again: after 60 s.
CERTAIN = BreakerPolicy(jitter=0.0)


class Broken(Exception):
    """What an agent under test raises."""


async def work(value: object = "done") -> object:
    return value


async def fail() -> None:
    raise Broken


async def until(holds: Callable[[], bool], what: str) -> None:
    """Give way to others until it holds."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # noqa: ASYNC110 - any condition, of any store
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"never came: {what}") from None


async def end_of(call: Any) -> object:
    """What a call returns, or the exception that it raises."""
    try:
        return await call
    except (Broken, CoterieError) as error:
        return error


async def failures(breaker: CircuitBreaker, count: int) -> None:
    for _ in range(count):
        assert isinstance(await end_of(breaker.call(fail)), Broken)


@dataclass
class Held:
    """An agent whose calls wait until they are let go; the independent log of a trial."""

    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    ok: bool = True
    began: int = 0
    running: int = 0
    most: int = 0

    async def __call__(self) -> str:
        self.began += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.let_go.wait()
        finally:
            self.running -= 1
        if not self.ok:
            raise Broken
        return "done"


@dataclass
class Fleet:
    """Breakers of one name, each with a handle of its own on one state, as processes would have them."""

    make_store: Callable[[], StateStore]
    clock: ManualClock
    events: list[Event] = field(default_factory=list)
    stores: list[FaultyStateStore] = field(default_factory=list)
    breakers: list[CircuitBreaker] = field(default_factory=list)

    def join(self, policy: BreakerPolicy = CERTAIN, **options: Any) -> CircuitBreaker:
        store = FaultyStateStore(self.make_store())
        options = {"residence": "resident", "on_event": self.events.append, "clock": self.clock, **options}
        breaker = CircuitBreaker(NAME, policy, store=store, **options)
        self.stores.append(store)
        self.breakers.append(breaker)
        return breaker

    def names(self) -> list[str]:
        return [event.name for event in self.events]

    def asked(self) -> list[tuple[str, str]]:
        """What of the stores, but for the note that whoever opens the breaker writes, once, in his own time."""
        return [call for store in self.stores for call in store.calls if call[1] != f"{note.KIND}/{NAME}"]

    def commands(self) -> int:
        return len(self.asked())

    def forget_commands(self) -> None:
        for store in self.stores:
            store.calls.clear()

    async def seen_by_all(self, state: str) -> None:
        """Wait until the signal has reached everybody, and the answer the one that decided."""
        await until(lambda: all(one.get_state().state == state for one in self.breakers), f"{state} at all")
        await until(lambda: self._told_of(state), f"the event of {state}")

    def _told_of(self, state: str) -> bool:
        transitions = [event.fields["state"] for event in self.events if "state" in event.fields]
        return transitions[-1:] == [state]


@asynccontextmanager
async def fleet_on(kind: str, folder: Path, url: str = "") -> AsyncIterator[Fleet]:
    """kind: memory; sqlite, in the folder; valkey, at the URL."""
    clock = ManualClock()
    handles: list[StateStore] = []
    namespace = f"test-{uuid.uuid4().hex[:12]}"
    if kind == "memory":
        handles.append(MemoryStateStore(clock=clock))

    def handle() -> StateStore:
        if kind == "sqlite":
            handles.append(SqliteStateStore(folder / "state.db", clock=clock))
        elif kind == "valkey":
            from coterie.stores.redis import open_redis

            handles.append(open_redis(url, namespace, clock=lambda: int(clock.now() * 1_000_000)))
        return handles[-1]

    fleet = Fleet(handle, clock)
    try:
        yield fleet
    finally:
        for store in fleet.stores:
            store.gate.set()
        for breaker in fleet.breakers:
            await breaker.aclose()
        for store in handles:
            await store.aclose()
