"""Several processes' pools on one server, their callers, and a log of who holds what, apart from the store."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from coterie.errors import LeaseLost, Refused, Unavailable
from coterie.pool import Lease, PoolPolicy, ResourcePool
from tests.fleet.faults.weather import Strikes, until

__all__ = ["BACK_S", "CALL_S", "CAPACITY", "POLICY", "SLACK_S", "SLOTS", "Fleet", "closed", "pools_of", "through"]


CAPACITY = {"north": 1, "south": 2}
SLOTS = sum(CAPACITY.values())
POLICY = PoolPolicy(lease_s=2.0, heartbeat_s=0.5, claim_s=2.0, max_wait_s=5.0)
MEMBERS = 3
WORKERS = 2
# A caller that nobody serves waits for 5 s, then gives up its place: 5 s at most, as for giving back.
CALL_S = 20.0
# A slot whose holder is gone is free when its lease ends; who waits for it asks once a second.
BACK_S = POLICY.lease_s + 1.0
# What a busy machine may take on top.
SLACK_S = 5.0


@dataclass
class Log:
    """Who holds which agent, as the holders have it: apart from the store. most: at once, by agent."""

    holding: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)

    def take(self, agent_id: str) -> None:
        self.holding[agent_id] += 1
        self.most[agent_id] = max(self.most[agent_id], self.holding[agent_id])

    def let_go(self, agent_id: str) -> None:
        self.holding[agent_id] -= 1


@dataclass
class Fleet:
    pools: list[ResourcePool]
    log: Log = field(default_factory=Log)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep_leasing(self, pool: ResourcePool, chance: Any) -> None:
        while not self.stop.is_set():
            # Some are cancelled at any point; some work for longer than a heartbeat.
            patience_s = chance.choice([0.01, 0.1, CALL_S, CALL_S])
            work_s = chance.choice([0, 0, 0.01, 0.1, 0.7])
            began = time.monotonic()
            try:
                async with asyncio.timeout(patience_s):
                    await self._lease(pool, work_s)
                end = "done"
            except (Unavailable, LeaseLost, Refused) as error:
                end = type(error).__name__
                await asyncio.sleep(0.02)
            except TimeoutError:
                end = "cancelled"
            assert time.monotonic() - began < CALL_S + SLACK_S, f"a caller was stuck: {end}"
            self.log.ends[end] += 1

    async def _lease(self, pool: ResourcePool, work_s: float) -> None:
        async with pool.lease() as lease:
            self.log.take(lease.agent_id)
            try:
                # Who learns that its lease is lost stops, as the contract has it.
                async with asyncio.timeout(work_s):
                    await lease.lost.wait()
            except TimeoutError:
                pass
            finally:
                self.log.let_go(lease.agent_id)

    async def is_itself_again(self) -> None:
        """All slots can be leased at once, and after that nothing is held and nobody waits."""
        took = time.monotonic()
        async with AsyncExitStack() as held:
            async with asyncio.timeout(BACK_S + SLACK_S):
                leases = await asyncio.gather(*(self._patiently(held, n) for n in range(SLOTS)))
            assert Counter(lease.agent_id for lease in leases) == CAPACITY, "every slot, and none twice"
            assert time.monotonic() - took < BACK_S + SLACK_S
        await until(self._is_idle, "nothing is held, and nobody waits", within_s=BACK_S + SLACK_S)

    async def _patiently(self, held: AsyncExitStack, number: int) -> Lease:
        pool = self.pools[number % MEMBERS]
        while True:
            try:
                return await held.enter_async_context(pool.lease(wait_s=BACK_S + SLACK_S))
            except (Unavailable, Refused):
                await asyncio.sleep(0.05)

    async def _is_idle(self) -> bool:
        try:
            status = await self.pools[0].refresh()
        except Unavailable:
            return False
        used = {agent.agent_id: agent.in_use for agent in status.agents}
        return used == dict.fromkeys(CAPACITY, 0) and not any(status.waiting.values())


async def through(fleet: Fleet, weather: Strikes, faults: list[str], chance: Any) -> None:
    leasing = [
        asyncio.create_task(fleet.keep_leasing(pool, chance)) for pool in fleet.pools for _ in range(WORKERS)
    ]  # fmt: skip
    try:
        for fault in faults:
            await weather.strike(fault)
    finally:
        fleet.stop.set()
        async with asyncio.timeout(CALL_S + SLACK_S):
            await asyncio.gather(*leasing)
    fleet.stop.clear()


async def closed(fleet: Fleet) -> None:
    async with asyncio.timeout(10):
        await asyncio.gather(*(pool.aclose() for pool in fleet.pools))


def pools_of(opened: Any) -> Fleet:
    pools = [ResourcePool("t", store=opened(), policy=POLICY) for _ in range(MEMBERS)]
    for pool in pools:
        for agent_id, capacity in CAPACITY.items():
            pool.register_agent(agent_id, capacity=capacity)
    return Fleet(pools)
