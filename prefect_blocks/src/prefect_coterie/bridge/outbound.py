"""From the bus to Prefect: what was received is acknowledged once the Prefect server has it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from coterie.errors import Misuse
from prefect_coterie.bridge.patience import patiently
from prefect_coterie.bridge.server import Confirm, Handover
from prefect_coterie.bridge.translation import came_from_prefect, to_prefect

if TYPE_CHECKING:
    from coterie.bus import EventBus, Received

__all__ = ["Outbound"]

_log = logging.getLogger("coterie.bridge")

_AT_ONCE = 64


class Outbound:
    """Sends a bus's events to the Prefect server.

    patterns: of their types. name: of the bridge; those of one name share the work. begin: where the first one of that
    name begins. ready: set once none is missed that is published from then on.
    """

    def __init__(self, bus: EventBus, patterns: Sequence[str], *, name: str, begin: str, confirm: Confirm) -> None:
        self.ready = asyncio.Event()
        self._bus = bus
        self._patterns = tuple(patterns)
        self._group = f"bridge-{name}"
        self._begin = begin
        self._confirm: Confirm = confirm

    async def run(self) -> None:
        """Do so until cancelled; while the server or the store is away, wait for it."""
        await patiently(self._run)

    async def _run(self) -> None:
        subscription = self._bus.subscribe(*self._patterns, group=self._group, begin=self._begin, prefetch=_AT_ONCE)
        async with Handover(confirm=self._confirm) as server, subscription as events, asyncio.TaskGroup() as group:
            self.ready.set()
            free = asyncio.Semaphore(_AT_ONCE)
            async for received in events:
                await free.acquire()
                group.create_task(self._forward(received, server)).add_done_callback(lambda _: free.release())

    async def _forward(self, received: Received, server: Handover) -> None:
        event = received.event
        if came_from_prefect(event):
            await received.ack()
            return
        try:
            await server.send(to_prefect(event, namespace=self._bus.log.namespace, topic=self._bus.topic))
        # What pydantic refuses is a ValueError.
        except (Misuse, ValueError) as error:
            _log.warning("bridge.left_out: %s %s: %s", event.type, event.id, error)
            await patiently(partial(received.reject, error))
            return
        await received.ack()
