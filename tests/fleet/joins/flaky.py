"""Code that fails as it is told, and questions to what protects it."""

from __future__ import annotations

import asyncio
from typing import Any

from coterie import Retry
from coterie._rules.breaker_policy import BreakerPolicy
from coterie.errors import BreakerOpen
from coterie.protect import Call, Protected, this_call

TWICE = BreakerPolicy(failure_threshold=2, timeout_s=60, jitter=0.0)
AT_ONCE = Retry(max_attempts=3, base_s=0, cap_s=0)


class Flaky:
    """Raises what it is told, call by call, then returns its arguments."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.calls: list[Call] = []

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(this_call())
        if self.failures:
            raise self.failures.pop(0)
        return {"args": list(args), **kwargs}


class SchedulersWord(BaseException):
    """Like TaskDeferred, or a Pause."""


async def opened(protected: Protected) -> bool:
    """Whether a breaker of two failures opens at the first, because it counted another before."""
    for _ in range(2):
        try:
            await protected.asking(retry=Retry(max_attempts=1)).call(Flaky(ValueError("down")))
        except ValueError:
            continue
        except BreakerOpen:
            return True
    return False


async def queued(protected: Protected, count: int) -> None:
    """Until so many calls stand in the queue."""
    (lane,) = protected.home._gate().tools.pool._lanes.values()
    while len(lane._parked) < count:  # noqa: ASYNC110  # the queue is another loop's: it tells nobody here
        await asyncio.sleep(0.001)
