"""What every caller does, whichever scheduler started it: ask the one provider again and again, through the breaker."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import httpx

from coterie.breaker import BreakerPolicy, CircuitBreaker
from coterie.errors import BreakerOpen
from coterie.stores.opening import open_state_store

BREAKER = "provider"
NAMESPACE = "demo"
POLICY = BreakerPolicy(failure_threshold=5, success_threshold=2, half_open_max_calls=3, timeout_s=10.0, jitter=0.0)

EVERY_S = 0.1
LONGEST_S = 600.0


async def keep_calling(scheduler: str, number: int) -> dict[str, int]:
    """Call until the folder `COTERIE_DEMO_FOLDER` holds a file `stop`; how many calls ended in which way.

    Each end is also a line `[when, how]` in a file of the folder, named for the caller.
    """
    folder = Path(os.environ["COTERIE_DEMO_FOLDER"])
    store = open_state_store(os.environ["COTERIE_STORE"], NAMESPACE)
    breaker = CircuitBreaker(BREAKER, POLICY, store=store)
    counts: dict[str, int] = {}
    headers = {"X-Scheduler": scheduler, "X-Caller": f"{scheduler}-{number}-{os.getpid()}"}
    give_up_s = time.monotonic() + LONGEST_S
    async with httpx.AsyncClient(headers=headers, timeout=5.0, trust_env=False) as client:
        with (folder / f"{scheduler}-{number}.jsonl").open("w") as log:
            while not (folder / "stop").exists() and time.monotonic() < give_up_s:
                how = await _once(breaker, client)
                counts[how] = counts.get(how, 0) + 1
                log.write(json.dumps([time.time(), how]) + "\n")
                log.flush()
                await asyncio.sleep(EVERY_S)
    await breaker.aclose()
    await store.aclose()
    return counts


async def _once(breaker: CircuitBreaker, client: httpx.AsyncClient) -> str:
    async def ask() -> None:
        answer = await client.post(os.environ["COTERIE_PROVIDER_URL"], json={})
        answer.raise_for_status()

    try:
        await breaker.call(ask)
    except BreakerOpen:
        return "refused"
    except httpx.HTTPError:
        return "failed"
    return "answered"
