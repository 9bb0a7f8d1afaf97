"""Have a consumer be heard of while it takes nothing, and give what the dead hold to the living."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from coterie.bus.wire import Wire
from coterie.errors import Unavailable
from coterie.journal.bell import until_rung
from coterie.journal.owner import is_known_dead

__all__ = ["Pulse"]

_log = logging.getLogger("coterie.bus")

_LONGEST_PULSE_S = 2.0


class Pulse:
    """The heartbeat of one consumer.

    consumer: by which name the group knows it now. expelled: called where the group has taken it for dead.
    """

    def __init__(
        self, wire: Wire, group: str, lease_s: float, *, consumer: Callable[[], str], expelled: Callable[[], None]
    ) -> None:
        self._wire = wire
        self._group = group
        self._lease_s = lease_s
        self._consumer = consumer
        self._expelled = expelled
        self._heard_s = 0.0

    def heard(self) -> None:
        """The consumer was heard of, by whatever it asked."""
        self._heard_s = asyncio.get_running_loop().time()

    async def run(self, over: asyncio.Event) -> None:
        """Beat until it is over, whatever comes of it."""
        beat_s = self._lease_s / 3
        period_s = min(beat_s, _LONGEST_PULSE_S)
        while not over.is_set():
            if asyncio.get_running_loop().time() - self._heard_s >= beat_s - period_s / 2:
                await self._tried(self._beat)
            await self._tried(self._bury)
            await until_rung(over, period_s * (0.75 + random.random() / 4))  # noqa: S311  # spreads load

    async def _tried(self, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except Unavailable:
            # Told by who takes; the next beat comes in time.
            return
        # One that is not heard of loses what it holds: there is no error that this would be better than.
        except Exception:  # noqa: BLE001
            _log.exception("events.not_heard: a consumer of %s could not say that it goes on", self._group)

    async def _beat(self) -> None:
        consumer = self._consumer()
        is_known = await self._wire.log.beat(self._wire.topic, self._group, consumer, lease_s=self._lease_s)
        self.heard()
        if not is_known and consumer == self._consumer():
            self._expelled()

    async def _bury(self) -> None:
        """What a dead process of this machine held goes to others at once, not when its lease ends."""
        log, topic = self._wire.log, self._wire.topic
        if log.scope == "process":
            return
        for group in await log.groups(topic):
            if group.name == self._group:
                for consumer in group.consumers:
                    if consumer.name != self._consumer() and is_known_dead(consumer.name):
                        await log.leave(topic, self._group, consumer.name, died=True)
