"""Several processes' circuit breakers of one name on one server, the agent behind them, and its own log."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from coterie.breaker import BreakerPolicy, CircuitBreaker, Pace
from coterie.errors import BreakerOpen, Unavailable
from tests.fleet.faults.weather import Strikes, until

__all__ = ["COMBINATIONS", "MEMBERS", "POLICY", "Agent", "Fleet", "breakers_of", "closed", "through"]


POLICY = BreakerPolicy(
    failure_threshold=3, success_threshold=1, half_open_max_calls=2, timeout_s=0.5, probe_timeout_s=1.0,
    timeout_growth=1.0, max_timeout_s=0.5, jitter=0.0,
)  # fmt: skip
PACE = Pace(flush_s=0.005, reconcile_s=0.3)
MEMBERS = 3
# A call asks once and tells once; each may take a connection and an answer (0.5 s each), and be told once more.
CALL_S = 10.0
COMBINATIONS = [(stay, how) for stay in ("resident", "transient") for how in ("fail_open", "fail_closed")]


class Down(Exception):
    """What the agent raises while it is ill."""


@dataclass
class Agent:
    """The agent behind all breakers, and its log: the instant of each call that reached it."""

    ill: bool = False
    calls: list[float] = field(default_factory=list)

    async def __call__(self) -> str:
        self.calls.append(time.monotonic())
        await asyncio.sleep(0)
        if self.ill:
            raise Down
        return "done"


@dataclass
class Fleet:
    residence: str
    how: str
    breakers: list[CircuitBreaker]
    agent: Agent
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    ends: dict[str, int] = field(default_factory=dict)

    async def call(self, number: int) -> str:
        """One call, within its bound; how it ended."""
        try:
            async with asyncio.timeout(CALL_S):
                return str(await self.breakers[number].call(self.agent))
        except (Down, BreakerOpen, Unavailable) as error:
            return type(error).__name__

    async def keep_calling(self, number: int) -> None:
        while not self.stop.is_set():
            end = await self.call(number)
            self.ends[end] = self.ends.get(end, 0) + 1
            await asyncio.sleep(0.002)

    async def is_itself_again(self) -> None:
        """All use the store as they should, and trip and recover together."""
        stand = self.residence
        self.agent.ill = False
        await until(lambda: all(one.get_state().store == stand for one in self.breakers), f"all {stand}")
        for number in range(MEMBERS):
            await until(lambda number=number: self._passes(number), f"{number} lets calls pass")
        self.agent.ill = True
        await until(lambda: self._refuses(0), "one trips on failures")
        for number in range(MEMBERS):
            await until(lambda number=number: self._refuses(number), f"{number} refuses, too", within_s=5)
        self.agent.ill = False
        for number in range(MEMBERS):
            await until(lambda number=number: self._passes(number), f"{number} lets calls pass again")
        assert all(one.get_state().store == stand for one in self.breakers)

    async def _passes(self, number: int) -> bool:
        return await self.call(number) == "done"

    async def _refuses(self, number: int) -> bool:
        return await self.call(number) == "BreakerOpen"


async def through(fleets: list[Fleet], weather: Strikes, faults: list[str]) -> None:
    """Call all the time, while one fault follows the other."""
    calling = [asyncio.create_task(fleet.keep_calling(number)) for fleet in fleets for number in range(MEMBERS)]
    try:
        for fault in faults:
            await weather.strike(fault)
    finally:
        for fleet in fleets:
            fleet.stop.set()
        await asyncio.gather(*calling)
    for fleet in fleets:
        fleet.stop.clear()


async def closed(fleet: Fleet) -> None:
    async with asyncio.timeout(10):
        await asyncio.gather(*(breaker.aclose() for breaker in fleet.breakers))


def breakers_of(opened: Any, residence: Any, how: Any) -> Fleet:
    """A fleet whose breakers have a name of their own."""
    options: Any = {"residence": residence, "on_store_failure": how, "pace": PACE}
    name = f"{residence}-{how}"
    breakers = [CircuitBreaker(name, POLICY, store=opened(), **options) for _ in range(MEMBERS)]
    return Fleet(residence, how, breakers, Agent())
