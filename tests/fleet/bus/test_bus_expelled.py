"""A consumer that learns that it was taken for dead: nothing that it is given meanwhile is handled twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from coterie.bus import CloudEvent, EventBus, Received
from coterie.ports import LogStore
from tests.fleet.bus.buses import served, until


class _SlowToLeave:
    """A log store that takes its time to let a consumer leave."""

    def __init__(self, log: LogStore) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def leave(self, *args: Any, **kwargs: Any) -> int:
        await asyncio.sleep(0.05)
        return await self._log.leave(*args, **kwargs)


async def test_what_a_consumer_is_given_as_it_learns_that_it_was_expelled_is_handled_once(log: LogStore):
    slow: Any = _SlowToLeave(log)
    bus, got = EventBus(slow), Counter[int]()

    async def handle(event: CloudEvent, received: Received) -> None:
        assert isinstance(event.data, int)
        got[event.data] += 1
        if event.data == 0 and received.number == 1:
            await log.leave("events", "g", received.consumer, died=True)
            await bus.publish_all([bus.event("com.example.a", number) for number in range(1, 9)])

    async with served(bus, handle, group="g", begin="begin", concurrency=4):
        await bus.publish("com.example.a", 0)
        await until(lambda: len(got) == 9, "all are handled")
        await asyncio.sleep(0.3)

    assert {number: got[number] for number in range(1, 9)} == dict.fromkeys(range(1, 9), 1)
