"""coterie's bus beside those of `bus_sides.py`: as a subscription, whose reader acknowledges, or as a service."""

# ruff: noqa: D102 - what each method does, `Side` says.
from __future__ import annotations

__all__ = ["Ours", "Tuned"]

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bus_sides import COUNT, GROUP, TYPE, Order, Watch

from coterie.bus import CloudEvent, EventBus
from coterie.stores.opening import open_log_store


@dataclass(frozen=True)
class Tuned:
    """How it is used. serves: by `serve`, with a handler; else by `subscribe`. keyed: each event has its key."""

    serves: bool = False
    keyed: bool = False
    prefetch: int = COUNT


class Ours:
    """One bus for each topic, all on one store."""

    def __init__(self, url: str, tuned: Tuned | None = None) -> None:
        self._log = open_log_store(url, "bench")
        self._tuned = tuned or Tuned()

    async def publish(self, stream: str, orders: Sequence[Order]) -> None:
        bus = self._bus(stream)
        for order in orders:
            await bus.publish(TYPE, order.data, key=self._key(order))

    async def publish_all(self, stream: str, orders: Sequence[Order], size: int) -> None:
        bus = self._bus(stream)
        for start in range(0, len(orders), size):
            await bus.publish_all(
                [bus.event(TYPE, order.data, key=self._key(order)) for order in orders[start : start + size]]
            )

    async def consume(self, stream: str, watch: Watch) -> float:
        if self._tuned.serves:
            return await self._served(self._bus(stream), watch)
        subscription = self._bus(stream).subscribe(group=GROUP, begin="begin", prefetch=self._tuned.prefetch)
        async with subscription as events:
            left = watch.count
            async for received in events:
                watch.handled()
                await received.ack()
                left -= 1
                if not left:
                    break
        return await watch.rate()

    async def aclose(self) -> None:
        await self._log.aclose()

    async def _served(self, bus: EventBus, watch: Watch) -> float:
        async def handle(event: CloudEvent) -> None:
            watch.handled()

        stop = asyncio.Event()
        service = asyncio.create_task(
            bus.serve(handle, group=GROUP, begin="begin", prefetch=self._tuned.prefetch, stop=stop)
        )
        try:
            return await watch.rate()
        finally:
            stop.set()
            await service

    def _bus(self, stream: str) -> EventBus:
        return EventBus(self._log, topic=stream, source="benchmark")

    def _key(self, order: Order) -> str:
        return order.key if self._tuned.keyed else ""
