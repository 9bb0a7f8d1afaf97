"""One process of a fleet that calls a strict provider: `python -m tests.fleet.limits.provider_caller JSON`.

Its callers share a limiter. Each has its connection; once admitted it is on its way for a while, drawn from a seed,
before it sends.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from typing import Any

from coterie.limiter import Quota, RateLimiter
from coterie.stores.opening import open_state_store


async def run(settings: dict[str, Any]) -> None:
    store = open_state_store(settings["url"], "fleet")
    quota = Quota.per_window(settings["limit"], settings["window_s"], burst=settings["burst"])
    limiter = RateLimiter(settings["name"], quota, store=store)
    chance = random.Random(settings["seed"])
    again = iter(range(settings["times"]))

    async def call() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", settings["port"])
        await reader.readline()
        for _ in again:
            reservation = await limiter.acquire()
            assert reservation.reserved is not None
            await asyncio.sleep(chance.uniform(0, settings["delay_s"]))
            writer.write(b"%d\n" % reservation.reserved.at_us)
            await reader.readline()
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(call() for _ in range(settings["callers"])))
    await limiter.aclose()
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.argv[1])))
