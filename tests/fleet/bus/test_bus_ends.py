"""What was acknowledged is said to the store before a consumer has ended, whatever it is interrupted in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coterie.bus import CloudEvent, EventBus
from coterie.errors import Unavailable
from coterie.ports import LogStore
from coterie.testing import FaultyLogStore
from tests.fleet.bus.buses import LONG_S, received, served, until


async def _left_over(bus: EventBus, count: int) -> list[Any]:
    async with bus.subscribe(group="g") as events:
        return [event.data for event in await received(events, count)]


@pytest.mark.parametrize(("call", "prefetch"), [("take", 2), ("acknowledge", 4)])
async def test_a_loop_that_ends_while_the_store_is_asked_loses_no_acknowledgement(
    bus: EventBus, log: LogStore, call: str, prefetch: int
):
    faulty = FaultyLogStore(log)
    await bus.publish_all([bus.event("com.example.a", number) for number in range(4)])
    others = asyncio.all_tasks()

    async with EventBus(faulty).subscribe(group="g", begin="begin", prefetch=prefetch) as events:
        one = await anext(events)
        faulty.gate.clear()
        await one.ack()
        await until(lambda: faulty.calls[-1][0] == call, "the acknowledgement is on its way")
        # As `asyncio.run` does in the end.
        for task in asyncio.all_tasks() - others:
            task.cancel()
        await asyncio.sleep(0.01)
        faulty.gate.set()

    assert await _left_over(bus, 3) == [1, 2, 3]


async def test_a_store_that_fails_once_at_the_end_is_told_again(bus: EventBus, log: LogStore):
    faulty = FaultyLogStore(log)
    await bus.publish_all([bus.event("com.example.a", number) for number in range(2)])

    async with EventBus(faulty).subscribe(group="g", begin="begin") as events:
        await (await anext(events)).ack()
        faulty.script["acknowledge", "before"] = Unavailable("not now; try again")
        asyncio.get_running_loop().call_later(0.05, faulty.script.clear)

    assert await _left_over(bus, 1) == [1]


async def test_a_task_that_is_cancelled_has_said_what_is_done(bus: EventBus, log: LogStore):
    await bus.publish_all([bus.event("com.example.a", number) for number in range(2)])
    handled = asyncio.Event()

    async def consume() -> None:
        async with bus.subscribe(group="g", begin="begin") as events:
            await (await anext(events)).ack()
            handled.set()
            await asyncio.sleep(LONG_S)

    task = asyncio.create_task(consume())
    await handled.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await _left_over(bus, 1) == [1]


async def test_a_service_that_is_stopped_is_heard_of_until_it_has_finished(bus: EventBus, log: LogStore):
    faulty = FaultyLogStore(log)
    begun, hold = asyncio.Event(), asyncio.Event()
    await bus.publish("com.example.a", 1)

    async def slow(event: CloudEvent) -> None:
        begun.set()
        await hold.wait()

    async with served(EventBus(faulty), slow, group="g", begin="begin", lease_s=1) as stop:
        await begun.wait()
        stop.set()
        await asyncio.sleep(0.01)
        faulty.calls.clear()
        await until(lambda: faulty.calls.count(("beat", "events")) >= 2, "it is heard of")
        hold.set()


async def test_a_service_that_is_stopped_says_at_once_what_is_done(bus: EventBus, log: LogStore):
    hold = asyncio.Event()

    async def handler(event: CloudEvent) -> None:
        if event.data == 0:
            await hold.wait()
        else:
            stop.set()

    async def is_said() -> bool:
        (group,) = await log.groups("events")
        return (group.held, group.unread) == (1, 0)

    async with served(bus, handler, group="g", concurrency=2) as stop:
        await bus.publish_all([bus.event("com.example.a", number) for number in range(2)])
        await until(is_said, "one is done, one is still handled")
        hold.set()


async def test_what_is_said_twice_at_once_is_counted_once(bus: EventBus, log: LogStore):
    await bus.publish_all([bus.event("com.example.a", number) for number in range(4)])

    async with bus.subscribe(group="g", begin="begin", prefetch=1) as events:
        one = await anext(events)
        # A store that answers without waiting is asked once, and the second caller told.
        await asyncio.gather(*(one.fail("no", retry_in_s=60) for _ in range(3)), return_exceptions=True)
        await anext(events)
        await asyncio.sleep(0.1)
        (group,) = await log.groups("events")

    assert group.held == 1
