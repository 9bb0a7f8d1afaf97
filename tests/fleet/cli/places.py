"""The fleet of a test: where its state lies, its team, and states as they have come about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from coterie._rules.decided import Decided, Operation, State
from coterie.ports import StateStore
from coterie.stores.opening import open_state_store

__all__ = ["PASSWORD", "SECOND", "TEAM", "Place", "lived"]

SECOND = 1_000_000
T = TypeVar("T")

PASSWORD = "s3cret-pass"

TEAM = """
from coterie import Team
from coterie._rules.quota import Quota
from coterie._rules.pool_policy import PoolPolicy
from coterie.breaker import BreakerPolicy
from coterie.policies import Policies, Spend

team = Team("fleet")

@team.agent("linter", agent_id="linter-1", capacity=2)
async def one(task_input): ...

@team.agent("linter", agent_id="linter-2")
async def two(task_input): ...

@team.agent("writer")
async def three(task_input): ...

print("a team prints")
team.protect("linter", Policies(
    breaker=BreakerPolicy(mode="time", window_s=60),
    pool=PoolPolicy(heartbeat_s=1000, lease_s=4000, claim_s=2000, ageing_s=30),
    limits={"requests": Quota(rate_per_s=0.01, burst=10), "tokens": Quota(rate_per_s=0.1, burst=1000)},
    tokens_per_call=500,
    budgets=[
        Spend(name="money", limit="12.50", per_call="0.10", unit="money", window=20 * 86_400),
        Spend(name="run", limit=1000, per_call=10, per_run=True),
    ],
))
team.protect("writer", Policies(breaker=BreakerPolicy(), breaker_scope="type"))
"""


@dataclass(frozen=True)
class Place:
    """Where a test's fleet keeps its state. now: microseconds since the epoch when the test began."""

    url: str
    namespace: str
    now: int

    def with_store(self, work: Callable[[StateStore], Awaitable[T]]) -> T:
        """Do something to the store, in an event loop of its own."""

        async def done() -> T:
            store = open_state_store(self.url, self.namespace)
            try:
                return await work(store)
            finally:
                await store.aclose()

        return asyncio.run(done())

    def put(self, **states: State | None) -> None:
        """Store states as they are, `breaker__linter={...}`."""

        async def put(store: StateStore) -> None:
            for name, state in states.items():
                key = name.replace("__", "/", 1).replace("_", "-")
                await store.update(key, lambda _, __, state=state: Decided(state, None))

        self.with_store(put)

    def get(self, key: str) -> State | None:
        return self.with_store(lambda store: store.read(key))[0]


def lived(*decisions: tuple[int, Operation[Any]]) -> State | None:
    """The state after these decisions, each at its instant."""
    state: State | None = None
    for now, operation in decisions:
        state = operation(state, now).state
    return state
