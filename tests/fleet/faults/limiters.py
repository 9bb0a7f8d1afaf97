"""Several processes' rate limiters on one server, their callers, and a log of who went when."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from coterie.errors import QuotaSpent, Unavailable
from coterie.limiter import Quota, RateLimiter
from tests.fleet.faults.weather import Strikes, until

__all__ = ["CALL_S", "MEMBERS", "QUOTA", "WAIT_S", "Fleet", "closed", "limiters_of", "through"]


QUOTA = Quota(rate_per_s=40.0, burst=5)
MEMBERS = 3
WORKERS = 3
WAIT_S = 1.0
# A wait of 1 s, and a store that takes all the time that it has before it fails, in asking and in giving back.
CALL_S = WAIT_S + 10.0


class Admission(NamedTuple):
    """Somewhere between these two instants the store let a caller go."""

    asked_s: float
    admitted_s: float


@dataclass
class Fleet:
    limiters: list[RateLimiter]
    log: list[Admission] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep_asking(self, limiter: RateLimiter, chance: Any) -> None:
        while not self.stop.is_set():
            patience_s = chance.choice([0.02, CALL_S, CALL_S, CALL_S])
            wait_s = chance.choice([0.0, 0.1, WAIT_S])
            asked_s = time.monotonic()
            try:
                async with asyncio.timeout(patience_s):
                    await limiter.acquire(max_wait_s=wait_s)
                self.log.append(Admission(asked_s, time.monotonic()))
                end = "done"
            except (QuotaSpent, Unavailable) as error:
                end = type(error).__name__
                await asyncio.sleep(0.01)
            except TimeoutError:
                end = "cancelled"
            # A cancelled caller gives its place back, which may take as long as the store.
            assert time.monotonic() - asked_s < CALL_S + 5, f"a caller was stuck: {end}"
            self.ends[end] += 1

    def excess(self) -> float:
        """By how many more than allowed callers went in the worst window; 0 or less: in none."""
        # Whoever asked within a window, and was admitted within it, counts in it for certain.
        worst = -float("inf")
        for begin_s in {one.asked_s for one in self.log}:
            ends = sorted(one.admitted_s for one in self.log if one.asked_s >= begin_s)
            for count, end_s in enumerate(ends, 1):
                worst = max(worst, count - QUOTA.burst - QUOTA.rate_per_s * (end_s - begin_s))
        return worst

    async def is_itself_again(self) -> None:
        """A full burst is granted at once when its time has passed, and all share one schedule again."""

        async def whole_burst(limiter: RateLimiter = self.limiters[0]) -> bool:
            try:
                await limiter.reserve(max_wait_s=0, requests=QUOTA.burst)
            except (QuotaSpent, Unavailable):
                return False
            return True

        # Places that were lost pass by themselves: as many as were ever waited for, at most.
        await until(whole_burst, "a full burst", within_s=WAIT_S + QUOTA.full_us / 1e6 + 5)
        async with asyncio.timeout(10):
            for limiter in self.limiters:
                while await whole_burst(limiter):
                    pass


async def through(fleet: Fleet, weather: Strikes, faults: list[str], chance: Any) -> float:
    """How long it took."""
    began = time.monotonic()
    asking = [asyncio.create_task(fleet.keep_asking(one, chance)) for one in fleet.limiters for _ in range(WORKERS)]
    try:
        for fault in faults:
            await weather.strike(fault)
    finally:
        fleet.stop.set()
        async with asyncio.timeout(CALL_S + 5):
            await asyncio.gather(*asking)
    return time.monotonic() - began


async def closed(fleet: Fleet) -> None:
    async with asyncio.timeout(10):
        await asyncio.gather(*(limiter.aclose() for limiter in fleet.limiters))


def limiters_of(opened: Any, how: Any) -> Fleet:
    return Fleet([RateLimiter("l", QUOTA, store=opened(), on_store_failure=how) for _ in range(MEMBERS)])
