"""A consumer of another process, which holds what it has received until somebody ends it."""

from __future__ import annotations

import asyncio
import sys

from coterie.bus import EventBus


async def hold(url: str, namespace: str) -> None:
    async with (
        EventBus.open(url, namespace=namespace) as bus,
        bus.subscribe(group="g", begin="begin", lease_s=3600, prefetch=3) as events,
    ):
        for _ in range(3):
            event = await anext(events)
            sys.stdout.write(f"{event.event.data}\n")
        sys.stdout.flush()
        await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(hold(*sys.argv[1:]))
