"""The block for a bridge: which events pass between a bus and Prefect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Literal

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, field_validator

from coterie.errors import Misuse
from coterie.ids import check_name
from prefect_coterie.appearance import DOCUMENTATION, LOGO
from prefect_coterie.bridge.bridge import EventBridge
from prefect_coterie.either import Either
from prefect_coterie.source import store_or_default
from prefect_coterie.state_block import CoterieStore

__all__ = ["CoterieEventBridge"]


class CoterieEventBridge(Block):
    """Carries chosen events of a coterie bus to Prefect, so that automations react to them, and chosen ones back."""

    _block_type_name: ClassVar[str] = "Coterie Event Bridge"
    _block_type_slug: ClassVar[str] = "coterie-event-bridge"
    _logo_url: ClassVar[HttpUrl] = LOGO
    _documentation_url: ClassVar[HttpUrl] = DOCUMENTATION
    _code_example: ClassVar[str] = """\
Forward events for as long as a flow runs; `python -m prefect_coterie.bridge BLOCK_NAME` does so for ever:

```python
from prefect import flow
from prefect_coterie import CoterieEventBridge


@flow
async def watched():
    bridge = await CoterieEventBridge.aload("BLOCK_NAME")
    async with bridge.running():
        await work()
```

Outside of an event loop:

```python
from prefect_coterie import CoterieEventBridge

bridge = CoterieEventBridge.load("BLOCK_NAME")
with bridge.running():
    work()
```
"""

    # A new field goes to the end.
    to_prefect: list[str] = Field(
        default_factory=list,
        description="Types of events that go to Prefect, such as 'task.failed' or 'com.example.*'.",
    )
    from_prefect: list[str] = Field(
        default_factory=list,
        description="Names of Prefect's events that go to the bus, such as 'prefect.flow-run.*'.",
    )
    store: CoterieStore | None = Field(
        default=None,
        description="Where the bus is, in the store's topic; by default what COTERIE_STORE says.",
    )
    name: str | None = Field(
        default=None,
        description="Bridges of one name forward the same, share it, and go on where the last one was; by default one "
        "for each direction, topic and patterns.",
    )
    begin: Literal["begin", "end"] = Field(
        default="end",
        description="Whether the first bridge of that name forwards what is on the bus already, or what comes.",
    )
    confirm: Literal["accepted", "stored"] = Field(
        default="accepted",
        description="Whether an event is delivered once Prefect's server has it in its queue, or in its database.",
    )

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str | None) -> str | None:
        return None if value is None else check_name(value, "the name of a bridge")

    def block_initialization(self) -> None:
        """Refuse a bridge over which nothing passes.

        Raises:
            Misuse: there are no patterns.
        """
        if not (self.to_prefect or self.from_prefect):
            raise Misuse("a CoterieEventBridge forwards nothing; give it to_prefect or from_prefect, such as 'task.*'")

    def running(self) -> Either[None]:
        """Forward events for as long as a block of code: `async with`, or `with`.

        It is entered once nothing is missed that happens from then on.
        """
        return Either(self._running)

    async def arun(self) -> None:
        """Forward events until cancelled; as long as the store or the server is away, wait for it."""
        async with self._bridge() as bridge:
            await bridge.run()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        async with self._bridge() as bridge, bridge.running():
            yield

    @asynccontextmanager
    async def _bridge(self) -> AsyncIterator[EventBridge]:
        async with store_or_default(self.store).get_event_bus() as bus:
            yield EventBridge(
                bus,
                to_prefect=self.to_prefect,
                from_prefect=self.from_prefect,
                name=self.name,
                begin=self.begin,
                confirm=self.confirm,
            )
