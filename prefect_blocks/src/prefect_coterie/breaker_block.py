"""The block for one circuit breaker: what any task may put around its calls of something that fails at times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields
from functools import partial
from typing import ClassVar, Literal, Self

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, field_validator, model_validator

from coterie.breaker import BreakerPolicy, BreakerStatus, CircuitBreaker, Guard
from coterie.errors import BreakerOpen
from coterie.ids import check_name
from coterie.ports import StateStore
from prefect_coterie.appearance import DOCUMENTATION, LOGO
from prefect_coterie.either import Either, blocking
from prefect_coterie.location import check_state_reach
from prefect_coterie.source import store_or_default
from prefect_coterie.state_block import CoterieStore
from prefect_coterie.waiting import wait_for

__all__ = ["CoterieCircuitBreaker"]


class CoterieCircuitBreaker(Block):
    """A circuit breaker that all runs share which load this block: it stops calls of what fails, and tries it again."""

    _block_type_name: ClassVar[str] = "Coterie Circuit Breaker"
    _block_type_slug: ClassVar[str] = "coterie-circuit-breaker"
    _logo_url: ClassVar[HttpUrl] = LOGO
    _documentation_url: ClassVar[HttpUrl] = DOCUMENTATION
    _code_example: ClassVar[str] = """\
Guard what a task calls:

```python
from prefect import task
from prefect_coterie import CoterieCircuitBreaker


@task
def ask(question: str):
    breaker = CoterieCircuitBreaker.load("BLOCK_NAME")
    with breaker.guard(wait_s=120):
        return call_provider(question)
```
"""

    # What is shared comes first, then how it behaves: a policy's new fields go to the end.
    name: str = Field(
        description="All that name the same breaker, in the same store, share it; a team's agents have their ids.",
    )
    store: CoterieStore | None = Field(
        default=None,
        description="Where it counts; by default what COTERIE_STORE says, else a file of this machine.",
    )
    on_store_failure: Literal["fail_open", "fail_closed"] = Field(
        default="fail_open",
        description="While the store does not answer: decide on what happens here, or refuse.",
    )
    mode: Literal["consecutive", "count", "time"] = Field(
        default="consecutive",
        description="Opens after failures in a row, or by rates over the last calls, or over the last seconds.",
    )
    failure_threshold: int = Field(
        default=5,
        description="Failures in a row that open it, in the mode 'consecutive'.",
    )
    success_threshold: int = Field(
        default=2,
        description="Successes among the trial calls that close it, in the mode 'consecutive'.",
    )
    timeout_s: float = Field(
        default=60.0,
        description="Seconds that it stays open before it is tried again.",
    )
    half_open_max_calls: int = Field(
        default=3,
        description="Calls that one trial lets through, in the whole fleet.",
    )
    failure_rate: float = Field(
        default=0.5,
        description="The share of failures from which on it opens, in the modes 'count' and 'time'.",
    )
    slow_call_s: float | None = Field(
        default=None,
        description="Seconds after which a call counts as slow; by default none does.",
    )
    slow_rate: float = Field(
        default=1.0,
        description="The share of slow calls from which on it opens, in the modes 'count' and 'time'.",
    )
    window_calls: int = Field(
        default=100,
        description="The last calls that the mode 'count' judges by.",
    )
    window_s: int = Field(
        default=60,
        description="The last seconds that the mode 'time' judges by.",
    )
    min_calls: int = Field(
        default=20,
        description="Calls that must have been made before rates are judged.",
    )
    probe_timeout_s: float = Field(
        default=60.0,
        description="Seconds after which a trial call that has not reported is given up.",
    )
    round_timeout_s: float | None = Field(
        default=None,
        description="Seconds after which a trial without a verdict has failed; by default twice probe_timeout_s.",
    )
    timeout_growth: float = Field(
        default=2.0,
        description="How many times longer it stays open each time that it opens without having closed.",
    )
    max_timeout_s: float = Field(
        default=600.0,
        description="Seconds that it stays open at most.",
    )
    jitter: float = Field(
        default=0.1,
        description="The share by which chance shortens that, so that breakers are not all tried together.",
    )

    @field_validator("name")
    @classmethod
    def _check_breaker_name(cls, value: str) -> str:
        return check_name(value, "the circuit breaker")

    @model_validator(mode="after")
    def _check_policy(self) -> Self:
        self.get_policy()
        return self

    def get_policy(self) -> BreakerPolicy:
        """How it decides.

        Raises:
            PolicyError: the settings cannot work.
        """
        return BreakerPolicy(**{field.name: getattr(self, field.name) for field in fields(BreakerPolicy)})

    async def get_breaker(self) -> CircuitBreaker:
        """The breaker itself, for the running event loop, to keep for many calls; `aclose` closes its store too.

        Raises:
            PolicyError: its store lies on a machine that the runs of this work pool leave.
        """
        return await self._made(kept=True)

    def guard(self, *, wait_s: float = 0.0) -> Either[Guard]:
        """Guard one call: `async with block.guard():`, or `with block.guard():` where no event loop runs.

        An exception in the block is a failure of what was called; a cancellation and Prefect's signals say nothing.
        wait_s: how long an open breaker is waited for, which the task run's log says.

        Raises, before the block runs:
            BreakerOpen: it is open for longer; `.retry_after_s`.
            Unavailable: the store does not answer, and on_store_failure is "fail_closed".
            PolicyError: as for `get_breaker`; or its state would be forgotten with the block.
        """
        return Either(partial(self._guarded, wait_s))

    def get_state(self) -> BreakerStatus:
        """How it stands, as the store has it."""
        return blocking(self.aget_state())

    async def aget_state(self) -> BreakerStatus:
        """`get_state`, for coroutines."""
        async with self._opened() as breaker:
            return await breaker.refresh()

    def reset(self) -> None:
        """Close it, with nothing counted, also out of a forced state. This and what follows is the whole fleet's.

        Raises:
            Unavailable: the store did not confirm it.
        """
        blocking(self.areset())

    async def areset(self) -> None:
        """`reset`, for coroutines."""
        await self._decide(CircuitBreaker.reset)

    def force_open(self) -> None:
        """Refuse all calls until `auto`, `reset` or another force."""
        blocking(self.aforce_open())

    async def aforce_open(self) -> None:
        """`force_open`, for coroutines."""
        await self._decide(CircuitBreaker.force_open)

    def force_closed(self) -> None:
        """Close it now; it may open again by itself."""
        blocking(self.aforce_closed())

    async def aforce_closed(self) -> None:
        """`force_closed`, for coroutines."""
        await self._decide(CircuitBreaker.force_closed)

    def disable(self) -> None:
        """Let all calls pass and count nothing, until told otherwise."""
        blocking(self.adisable())

    async def adisable(self) -> None:
        """`disable`, for coroutines."""
        await self._decide(CircuitBreaker.disable)

    def metrics_only(self) -> None:
        """Let all calls pass, but count, until told otherwise."""
        blocking(self.ametrics_only())

    async def ametrics_only(self) -> None:
        """`metrics_only`, for coroutines."""
        await self._decide(CircuitBreaker.metrics_only)

    def auto(self) -> None:
        """Leave a forced state: closed, with nothing counted."""
        blocking(self.aauto())

    async def aauto(self) -> None:
        """`auto`, for coroutines."""
        await self._decide(CircuitBreaker.auto)

    async def _decide(self, decision: Callable[[CircuitBreaker], Awaitable[None]]) -> None:
        async with self._opened() as breaker:
            await decision(breaker)

    @asynccontextmanager
    async def _guarded(self, wait_s: float) -> AsyncIterator[Guard]:
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + wait_s
        async with self._opened() as breaker, AsyncExitStack() as entered:
            guard: Guard | None = None
            while guard is None:
                try:
                    guard = await entered.enter_async_context(breaker.guard())
                except BreakerOpen as refusal:
                    await wait_for(refusal, ends_s - loop.time())
            yield guard

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[CircuitBreaker]:
        breaker = await self._made(kept=False)
        try:
            yield breaker
        finally:
            await breaker.aclose()

    async def _made(self, *, kept: bool) -> CircuitBreaker:
        store = store_or_default(self.store)
        await check_state_reach(store, None, kept=kept)
        return _OwnBreaker(self, store.get_state_store(), kept=kept)


class _OwnBreaker(CircuitBreaker):
    """A breaker that closes its store. kept: for many calls."""

    def __init__(self, block: CoterieCircuitBreaker, store: StateStore, *, kept: bool) -> None:
        super().__init__(
            block.name,
            block.get_policy(),
            store=store,
            residence="auto" if kept else "transient",
            on_store_failure=block.on_store_failure,
        )
        self._own_store = store

    async def aclose(self) -> None:
        """As `CircuitBreaker.aclose`; the store is closed too."""
        try:
            await super().aclose()
        finally:
            await self._own_store.aclose()
