"""One process of a fleet that shares a limiter or a budget: `python -m tests.fleet.limits.fleet_worker JSON`.

Each thing done is one line in the file `out`, written through before the next.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path
from typing import Any

from coterie.budget import Budget
from coterie.errors import BudgetExhausted, BudgetSpent
from coterie.limiter import Quota, RateLimiter
from coterie.ports import StateStore
from coterie.stores.opening import open_state_store


async def limit(store: StateStore, settings: dict[str, Any], out: Any) -> None:
    """Take places, waiting for them or not; give some back; log the instants of those that were kept."""
    quota = Quota.per_window(settings["limit"], settings["window_s"], burst=settings["burst"])
    limiter = RateLimiter(settings["name"], quota, store=store, max_wait_s=86_400)
    chance = random.Random(settings["seed"])
    again = iter(range(settings["times"]))

    async def go() -> None:
        for _ in again:
            cost = chance.randint(1, settings["burst"])
            if settings["waits"]:
                reservation = await limiter.acquire(requests=cost)
            else:
                reservation = await limiter.reserve(requests=cost)
                if chance.random() < settings["cancelled"]:
                    await reservation.cancel()
                    continue
            assert reservation.reserved is not None
            out.write(f"{reservation.reserved.at_us} {cost}\n")

    await asyncio.gather(*(go() for _ in range(settings["tasks"])))
    await limiter.aclose()


async def spend(store: StateStore, settings: dict[str, Any], out: Any) -> None:
    """Spend until the budget refuses; what is written was spent, whether it was settled or not."""
    budget = Budget(settings["name"], settings["limit"], store=store)
    chance = random.Random(settings["seed"])

    async def go() -> None:
        while True:
            bound = chance.randint(1, 50)
            try:
                async with budget.reserve(bound) as spending:
                    amount = chance.randint(0, bound)
                    out.write(f"{amount}\n")
                    await asyncio.sleep(0)
                    spending.report(amount)
            except (BudgetSpent, BudgetExhausted):
                return

    await asyncio.gather(*(go() for _ in range(settings["tasks"])))
    await budget.aclose()


async def run(settings: dict[str, Any], out: Any) -> None:
    store = open_state_store(settings["url"], "fleet")
    await {"limit": limit, "spend": spend}[settings["work"]](store, settings, out)
    await store.aclose()


def main(settings: dict[str, Any]) -> None:
    with Path(settings["out"]).open("w", buffering=1, encoding="utf-8") as out:
        asyncio.run(run(settings, out))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
