"""The block for one resource pool: slots of agents that any task may borrow, whatever process it runs in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields
from functools import partial
from typing import Annotated, ClassVar, Literal, Self

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, field_validator, model_validator

from coterie.ids import check_name
from coterie.pool import Aimd, Lease, PoolPolicy, PoolStatus, ResourcePool
from coterie.ports import StateStore
from prefect_coterie.appearance import DOCUMENTATION, LOGO
from prefect_coterie.either import Either, blocking
from prefect_coterie.location import check_state_reach
from prefect_coterie.source import store_or_default
from prefect_coterie.state_block import CoterieStore
from prefect_coterie.waiting import said_while_waiting

__all__ = ["CoterieResourcePool"]


class CoterieResourcePool(Block):
    """Agents whose slots all runs share which load this block: whoever finds them taken waits in one fair queue."""

    _block_type_name: ClassVar[str] = "Coterie Resource Pool"
    _block_type_slug: ClassVar[str] = "coterie-resource-pool"
    _logo_url: ClassVar[HttpUrl] = LOGO
    _documentation_url: ClassVar[HttpUrl] = DOCUMENTATION
    _code_example: ClassVar[str] = """\
Borrow an agent for the time of a task:

```python
from prefect import task
from prefect_coterie import CoterieResourcePool


@task
def render(page: str):
    pool = CoterieResourcePool.load("BLOCK_NAME")
    with pool.lease() as lease:
        return render_on(lease.agent_id, page)
```
"""

    # What is shared comes first, then how it behaves: a policy's new fields go to the end.
    agent_type: str = Field(
        description="All that name the same type, in the same store, share its agents; those of teams too.",
    )
    agents: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict,
        description="The agents by id, each with its slots in the fleet; without any, those that others register.",
    )
    store: CoterieStore | None = Field(
        default=None,
        description="Where leases and the queue are kept; by default what COTERIE_STORE says, else a file of this "
        "machine.",
    )
    strategy: Literal[
        "round_robin",
        "least_loaded",
        "least_response_time",
        "random",
        "weighted",
        "power_of_two_choices",
        "consistent_hash",
    ] = Field(
        default="least_loaded",
        description="How an agent is picked among those that have a slot free.",
    )
    lease_s: float = Field(
        default=30.0,
        description="Seconds after which a slot is free again that its process no longer renews.",
    )
    heartbeat_s: float = Field(
        default=10.0,
        description="Seconds between two renewals.",
    )
    agent_ttl_s: float | None = Field(
        default=None,
        description="Seconds without a heartbeat after which an agent is not picked; by default three heartbeats.",
    )
    ageing_s: float = Field(
        default=60.0,
        description="Seconds of waiting that make up for one level of priority.",
    )
    queue_limit: int = Field(
        default=1000,
        description="How many may wait.",
    )
    healthy_share: float = Field(
        default=0.5,
        description="The share of healthy agents below which nobody may wait.",
    )
    max_wait_s: float = Field(
        default=300.0,
        description="Seconds that a caller waits who does not say.",
    )
    claim_s: float = Field(
        default=5.0,
        description="Seconds that a slot waits for the caller that it was granted to.",
    )
    deferred_claim_s: float = Field(
        default=60.0,
        description="Seconds that a slot waits for a caller that waits without a process, as on Airflow.",
    )
    ticket_s: float = Field(
        default=600.0,
        description="Seconds that such a caller keeps its place without asking.",
    )
    adaptive: Aimd | None = Field(
        default=None,
        description="How many slots of an agent are lent at once is found out, within these bounds; without them, all.",
    )

    @field_validator("agent_type")
    @classmethod
    def _check_agent_type(cls, value: str) -> str:
        return check_name(value, "the pool's agent type")

    @field_validator("agents")
    @classmethod
    def _check_agents(cls, value: dict[str, int]) -> dict[str, int]:
        for agent_id in value:
            check_name(agent_id, "agent id")
        return value

    @model_validator(mode="after")
    def _check_policy(self) -> Self:
        self.get_policy()
        return self

    def get_policy(self) -> PoolPolicy:
        """How it leases.

        Raises:
            PolicyError: the settings cannot work.
        """
        return PoolPolicy(**{field.name: getattr(self, field.name) for field in fields(PoolPolicy)})

    async def get_pool(self) -> ResourcePool:
        """The pool itself, for the running event loop, to keep for many leases; `aclose` closes its store too.

        Raises:
            PolicyError: its store lies on a machine that the runs of this work pool leave.
        """
        return await self._made(kept=True, registers=True)

    def lease(self, *, priority: int = 0, wait_s: float | None = None, key: str = "") -> Either[Lease]:
        """Borrow a slot: `async with block.lease() as lease:`, or `with block.lease() as lease:` without an event loop.

        Waiting, which the task run's log says, is by priority and arrival in the whole fleet. The slot is renewed while
        the block runs, and given back however it ends; an exception counts as the agent's failure.
        wait_s: by default `max_wait_s`; 0 does not wait. key: kept on one agent by the strategy `consistent_hash`.

        Raises:
            PoolBusy: no slot became free in time. NoLiveAgent: the pool has no agents. BreakerOpen: all are suspended.
            Unavailable: the store does not answer. LeaseLost: the slot was lost before the block ended.
            PolicyError: as for `get_pool`; or its state would be forgotten with the block.
        """
        return Either(partial(self._leased, priority, wait_s, key))

    def get_pool_status(self) -> PoolStatus:
        """Agents, what is leased of them, and who waits, as the store has it; agents that nobody offers now lack."""
        return blocking(self.aget_pool_status())

    async def aget_pool_status(self) -> PoolStatus:
        """`get_pool_status`, for coroutines."""
        async with await self._made(kept=False, registers=False) as pool:
            return await pool.refresh()

    @asynccontextmanager
    async def _leased(self, priority: int, wait_s: float | None, key: str) -> AsyncIterator[Lease]:
        async with await self._made(kept=False, registers=True) as pool, AsyncExitStack() as held:
            with said_while_waiting(f"waits in the queue of {self.agent_type!r}: every slot is taken"):
                lease = await held.enter_async_context(pool.lease(priority=priority, wait_s=wait_s, key=key))
            yield lease

    async def _made(self, *, kept: bool, registers: bool) -> ResourcePool:
        store = store_or_default(self.store)
        await check_state_reach(store, None, kept=kept)
        pool = _OwnPool(self, store.get_state_store())
        for agent_id, capacity in self.agents.items() if registers else ():
            pool.register_agent(agent_id, capacity=capacity)
        return pool


class _OwnPool(ResourcePool):
    """A pool that closes its store."""

    def __init__(self, block: CoterieResourcePool, store: StateStore) -> None:
        super().__init__(block.agent_type, store=store, policy=block.get_policy())
        self._own_store = store

    async def aclose(self) -> None:
        """As `ResourcePool.aclose`; the store is closed too."""
        try:
            await super().aclose()
        finally:
            await self._own_store.aclose()
