"""From the bus to Prefect: what was received is acknowledged once the Prefect server has it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from coterie.bus import full_pattern, short_type
from coterie.errors import Misuse
from coterie.journal.owner import is_known_dead, told
from prefect_coterie.bridge.naming import consumer_of, default_name, digest_of, forwards_otherwise
from prefect_coterie.bridge.patience import patiently
from prefect_coterie.bridge.server import Confirm, Handover
from prefect_coterie.bridge.translation import came_from_prefect, to_prefect

if TYPE_CHECKING:
    from coterie.bus import EventBus, Received

__all__ = ["Outbound"]

_log = logging.getLogger("coterie.bridge")

_AT_ONCE = 64
_LEASE_S = 15.0
_LOOK_EVERY_S = 1.0
_MICROS = 1_000_000


class Outbound:
    """Sends a bus's events to the Prefect server.

    patterns: of their types. name: of the bridge; those of one name share the work; by default one for these patterns.
    begin: where the first one of that name begins. ready: set once none is missed that is published from then on.
    """

    def __init__(
        self, bus: EventBus, patterns: Sequence[str], *, name: str | None, begin: str, confirm: Confirm
    ) -> None:
        self.ready = asyncio.Event()
        self._bus = bus
        self._patterns = tuple(patterns)
        shown = [short_type(full_pattern(each)) for each in patterns]
        self._digest = digest_of("to", bus.topic, shown)
        self.name = name or default_name("to", bus.topic, shown)
        self._group = f"bridge-{self.name}"
        self._begin = begin
        self._confirm: Confirm = confirm

    async def run(self) -> None:
        """Do so until cancelled; while the server or the store is away, wait for it."""
        await patiently(self._run)

    async def _run(self) -> None:
        await self._refuse_others()
        subscription = self._bus.subscribe(
            *self._patterns,
            group=self._group,
            consumer=consumer_of(self._digest),
            begin=self._begin,
            prefetch=_AT_ONCE,
            lease_s=_LEASE_S,
        )
        async with Handover(confirm=self._confirm) as server, subscription as events, asyncio.TaskGroup() as group:
            self.ready.set()
            free = asyncio.Semaphore(_AT_ONCE)
            async for received in events:
                await free.acquire()
                group.create_task(self._forward(received, server)).add_done_callback(lambda _: free.release())

    async def _refuse_others(self) -> None:
        """Wait until no bridge of this name forwards anything else: each would take what only the other wants.

        Raises:
            Misuse: there still is one, when one that is dead would have been taken for that.
        """
        until = time.monotonic() + _LEASE_S + _LOOK_EVERY_S
        while other := await self._other():
            said = (
                f"the bridge {self.name!r} of {told(other)} forwards other events of the topic {self._bus.topic!r} "
                f"than {list(self._patterns)}; each would take from the other what only one of them forwards"
            )
            if time.monotonic() > until:
                raise Misuse(f"{said}; give each a name of its own, or none, or end the other one first")
            _log.warning("bridge.waits: %s; it is waited for, in case it ends", said)
            await asyncio.sleep(min(5 * _LOOK_EVERY_S, max(0.1, until - time.monotonic())))

    async def _other(self) -> str | None:
        """A consumer of the group, alive as far as is known, that forwards something else."""
        groups = await self._bus.log.groups(self._bus.topic)
        consumers = [one for group in groups if group.name == self._group for one in group.consumers]
        alive = [one.name for one in consumers if one.until > time.time() * _MICROS and not is_known_dead(one.name)]
        return next((name for name in alive if forwards_otherwise(name, self._digest)), None)

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
