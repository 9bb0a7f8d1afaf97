"""What the tests of the bus do again and again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from coterie.bus import CloudEvent, EventBus, Recorded, Subscription
from coterie.errors import CoterieError, Unavailable
from coterie.ports import LogStore

__all__ = ["LONG_S", "Weather", "numbers", "received", "served", "until"]

# No test waits so long, unless it fails.
LONG_S = 20.0


async def until(holds: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Look every 10 ms until it holds; an `AssertionError` that says `what` was awaited, if it never does."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LONG_S):
            while True:
                found = holds()
                if found if isinstance(found, bool) else await found:
                    return
                await asyncio.sleep(0.01)
    raise AssertionError(f"not within {LONG_S:g} s: {what}")


async def received(events: Subscription, count: int) -> list[CloudEvent]:
    """The next so many, acknowledged."""
    got = []
    async with asyncio.timeout(LONG_S):
        while len(got) < count:
            one = await anext(events)
            got.append(one.event)
            await one.ack()
    return got


async def numbers(events: AsyncIterator[Recorded]) -> list[Any]:
    """The data of all."""
    return [recorded.event.data async for recorded in events]


@asynccontextmanager
async def served(
    bus: EventBus, handler: Callable[..., Any], *patterns: str, **options: Any
) -> AsyncIterator[asyncio.Event]:
    """A service, from when it is ready until the block ends; its failure is the test's."""
    ready, stop = asyncio.Event(), asyncio.Event()
    service = asyncio.create_task(bus.serve(handler, *patterns, stop=stop, ready=ready, **options))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({service, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(LONG_S):
            await service


class Weather:
    """A log store that does not answer while it `is_away`, and beyond that as often as it is told.

    fails_after: the call is made, and its answer is lost; else it is not made.
    """

    def __init__(self, log: LogStore) -> None:
        self._log = log
        self.is_away = False
        self.fails_after = False
        self.failures = 0
        self.calls = 0
        self.names: Counter[str] = Counter()
        self.every: int | None = None
        self.error: CoterieError = Unavailable("the store is away; try again later")

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._log, name)
        if not asyncio.iscoroutinefunction(found) or name in ("aclose", "unwatch"):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            self.names[name] += 1
            if not self.is_away and (self.every is None or self.calls % self.every):
                return await found(*args, **kwargs)
            self.failures += 1
            if self.fails_after:
                await found(*args, **kwargs)
            raise self.error

        return call
