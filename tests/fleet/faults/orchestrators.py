"""Several processes' orchestrators with one team under policies, and what its agents know themselves."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coterie import Agent, Orchestrator, Task, TaskContext, Team
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.quota import Quota
from coterie._rules.retry_budget import RetryAllowance
from coterie.errors import AgentUnavailable, Refused, Unavailable
from coterie.policies import Policies, Spend
from coterie.task import Retry
from tests.fleet.faults.weather import Strikes, until

__all__ = ["CAPACITY", "PER_CALL", "Fleet", "orchestrators_of", "through"]


CAPACITY = {"north": 2, "south": 1}
SLOTS = sum(CAPACITY.values())
POOL = PoolPolicy(lease_s=2.0, heartbeat_s=0.5, claim_s=2.0)
BREAKER = BreakerPolicy(
    failure_threshold=3, success_threshold=1, half_open_max_calls=1, timeout_s=0.3, max_timeout_s=0.3,
    timeout_growth=1.0, probe_timeout_s=1.0, jitter=0.0,
)  # fmt: skip
QUOTA = Quota(rate_per_s=100.0, burst=20)
BUDGET = 1_000_000
PER_CALL = 100
MEMBERS = 2
WORKERS = 3
WAIT_S = 2.0
# It waits 2 s at most, with what asks of the store on the way each bounded by a second or two: pool, breaker, limit,
# budget, and all of it back again; twice, since it is tried again.
TASK_S = 30.0


@dataclass
class World:
    """The agents, and what they know themselves: how many calls run, what was used."""

    ill: bool = False
    running: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    tokens: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def team(self, how: Any, budget: int) -> Team:
        policies = Policies(
            breaker=BREAKER,
            pool=POOL,
            limits={"requests": QUOTA},
            budgets=[Spend(name="tokens", limit=budget, per_call=PER_CALL)],
            retries=RetryAllowance(),
            max_wait_s=WAIT_S,
            max_hold_s=0.5,
            on_store_failure=how,
        )
        team = Team("faults", policies={"x": policies})
        for agent_id, capacity in CAPACITY.items():
            retry = Retry(max_attempts=2, base_s=0.01)
            team.add(Agent(agent_id, "x", self._handler(agent_id), capacity=capacity, retry=retry))
        return team

    def _handler(self, agent_id: str) -> Any:
        async def handle(given: Mapping[str, Any], ctx: TaskContext) -> str:
            self.calls += 1
            self.running[agent_id] += 1
            self.most[agent_id] = max(self.most[agent_id], self.running[agent_id])
            try:
                await asyncio.sleep(0.01)
                if self.ill:
                    raise AgentUnavailable(f"{agent_id} is down")
                ctx.report_usage(input_tokens=60, output_tokens=20)
                self.tokens += 80
            finally:
                self.running[agent_id] -= 1
            return "done"

        return handle

    async def one(self, orchestrator: Orchestrator) -> str:
        """One task; how it ended."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(TASK_S):
                result = await orchestrator.execute_task(Task("t", "x"))
            end = result.state if result.error is None else result.error.type
        except (Unavailable, Refused) as error:
            end = type(error).__name__
        assert time.monotonic() - began < TASK_S, f"a task was stuck: {end}"
        self.ends[end] += 1
        return end

    async def keep_working(self, orchestrator: Orchestrator) -> None:
        while not self.stop.is_set():
            if await self.one(orchestrator) != "succeeded":
                await asyncio.sleep(0.01)


@dataclass
class Fleet:
    world: World
    orchestrators: list[Orchestrator]

    async def is_itself_again(self) -> None:
        """Tasks succeed everywhere, as many at once as there are slots; the same objects, nothing restarted."""
        self.world.ill = False
        self.world.stop.clear()
        for orchestrator in self.orchestrators:

            async def succeeds(orchestrator: Orchestrator = orchestrator) -> bool:
                return await self.world.one(orchestrator) == "succeeded"

            await until(succeeds, "a task that succeeds")
        self.world.most.clear()
        await until(self._all_slots_work, "all slots at work at once")

    async def _all_slots_work(self) -> bool:
        await asyncio.gather(*(self.world.one(one) for one in self.orchestrators for _ in range(SLOTS)))
        return dict(self.world.most) == CAPACITY

    async def aclose(self) -> None:
        async with asyncio.timeout(15):
            await asyncio.gather(*(orchestrator.pipeline.aclose() for orchestrator in self.orchestrators))


async def through(fleet: Fleet, weather: Strikes, faults: list[str]) -> None:
    working = [
        asyncio.create_task(fleet.world.keep_working(one)) for one in fleet.orchestrators for _ in range(WORKERS)
    ]  # fmt: skip
    try:
        for fault in faults:
            await weather.strike(fault)
    finally:
        fleet.world.stop.set()
        async with asyncio.timeout(TASK_S + 5):
            await asyncio.gather(*working)


def orchestrators_of(opened: Any, how: Any, *, budget: int = BUDGET) -> Fleet:
    world = World()
    return Fleet(world, [Orchestrator(world.team(how, budget), store=opened()) for _ in range(MEMBERS)])
