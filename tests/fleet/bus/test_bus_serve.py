"""A service handles what comes: in order, at once, again; and no handler, message or outage ends it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict
from typing import Any

import pytest

from coterie._rules.log import Message, Retention
from coterie.bus import CloudEvent, EventBus, Received
from coterie.errors import BreakerOpen, MalformedEvent, Misuse, PolicyError, Refused
from coterie.events import Event
from coterie.ports import LogStore
from coterie.task import Retry
from tests.fleet.bus.buses import LONG_S, served, until

AT_ONCE = Retry(max_attempts=3, base_s=0.0, cap_s=0.0)


async def groups(log: LogStore) -> dict[str, tuple[int, int, int]]:
    return {one.name: (one.unread, one.held, one.dead) for one in await log.groups("events")}


async def test_what_a_handler_returns_from_is_done(bus: EventBus, log: LogStore):
    got: list[Any] = []

    async def handler(event: CloudEvent) -> None:
        got.append(event.data)

    async with served(bus, handler, "com.example.*", group="g"):
        await bus.publish_all([bus.event("com.example.a", number) for number in range(50)])
        await until(lambda: len(got) == 50, "all are handled")

    assert got == list(range(50))
    assert await groups(log) == {"g": (0, 0, 0)}


async def test_a_handler_that_takes_two_is_given_how_it_was_received(bus: EventBus):
    got: list[Received] = []

    async def handler(event: CloudEvent, received: Received) -> None:
        assert received.event is event
        got.append(received)

    async with served(bus, handler, group="g"):
        published = await bus.publish("com.example.a")
        await until(lambda: len(got) == 1, "it is handled")

    assert (got[0].position, got[0].number) == (published.position, 1)


async def test_a_plain_function_is_called_in_a_thread_of_its_own(bus: EventBus):
    threads: list[str] = []

    def handler(event: CloudEvent) -> None:
        threads.append(threading.current_thread().name)

    async with served(bus, handler, group="g"):
        await bus.publish("com.example.a")
        await until(lambda: len(threads) == 1, "it is handled")

    assert threads != [threading.current_thread().name]


async def test_keys_are_handled_in_order_and_beside_each_other(bus: EventBus):
    begun: dict[str, list[Any]] = defaultdict(list)
    at_work: set[str] = set()
    most = 0

    async def handler(event: CloudEvent) -> None:
        nonlocal most
        assert event.key not in at_work
        at_work.add(event.key)
        most = max(most, len(at_work))
        begun[event.key].append(event.data)
        await asyncio.sleep(0.002)
        at_work.remove(event.key)

    async with served(bus, handler, group="g", concurrency=8):
        await bus.publish_all([bus.event("com.example.a", number, key=f"k{number % 5}") for number in range(50)])
        await until(lambda: sum(map(len, begun.values())) == 50, "all are handled")

    assert begun == {f"k{key}": list(range(key, 50, 5)) for key in range(5)}
    assert most > 1


async def test_no_more_are_handled_at_once_than_may_be(bus: EventBus):
    at_work, most, done = 0, 0, 0

    async def handler(event: CloudEvent) -> None:
        nonlocal at_work, most, done
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.001)
        at_work -= 1
        done += 1

    async with served(bus, handler, group="g", concurrency=4, prefetch=1):
        await bus.publish_all([bus.event("com.example.a", number) for number in range(40)])
        await until(lambda: done == 40, "all are handled")

    assert most == 4


async def test_a_slow_key_does_not_stop_the_others(bus: EventBus):
    goes_on, got = asyncio.Event(), []

    async def handler(event: CloudEvent) -> None:
        if event.key == "slow":
            await goes_on.wait()
        got.append(event.data)

    async with served(bus, handler, group="g", concurrency=2, prefetch=4):
        await bus.publish_all([bus.event("com.example.a", number, key="slow") for number in range(10)])
        await bus.publish_all([bus.event("com.example.a", number, key="fast") for number in range(10, 20)])
        await until(lambda: got == list(range(10, 20)), "the others are handled")
        goes_on.set()
        await until(lambda: len(got) == 20, "the slow ones are handled")

    assert got[10:] == list(range(10))


async def test_what_fails_comes_again_and_is_a_dead_letter_in_the_end(bus: EventBus):
    calls: list[Any] = []

    async def handler(event: CloudEvent, received: Received) -> None:
        calls.append((event.data, received.number))
        if event.data == "bad":
            raise ValueError(f"attempt {received.number}")

    async with served(bus, handler, group="g", retry=AT_ONCE):
        await bus.publish("com.example.a", "bad", key="k")
        await bus.publish("com.example.a", "good", key="k")
        await until(lambda: ("good", 1) in calls, "the next of the key is handled")

    assert calls == [("bad", 1), ("bad", 2), ("bad", 3), ("good", 1)]
    (letter,) = await bus.dead_letters("g")
    assert [one.reason for one in letter.failures] == [f"ValueError: attempt {number}" for number in (1, 2, 3)]


async def test_what_no_retry_can_help_is_a_dead_letter_at_once(bus: EventBus):
    async def handler(event: CloudEvent) -> None:
        raise MalformedEvent("no such order")

    async with served(bus, handler, group="g"):
        await bus.publish("com.example.a")
        await until(lambda: _dead(bus), "it is a dead letter")

    (letter,) = await bus.dead_letters("g")
    assert (letter.number, letter.reason) == (1, "MalformedEvent: no such order")


async def test_a_refusal_is_no_failure(bus: EventBus):
    numbers: list[int] = []

    async def handler(event: CloudEvent, received: Received) -> None:
        numbers.append(received.number)
        if len(numbers) < 8:
            raise BreakerOpen("linter", retry_after_s=0.001)

    async with served(bus, handler, group="g", retry=AT_ONCE):
        await bus.publish("com.example.a")
        await until(lambda: len(numbers) == 8, "it is handled")

    assert set(numbers) == {1}
    assert await bus.dead_letters("g") == []


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    "error",
    [
        Mute(),
        ValueError("half a character \udcff, and a null \x00"),
        *(Refused("not now", retry_after_s=seconds) for seconds in (float("inf"), float("nan"), -1.0, 1e12)),
    ],
    ids=repr,
)
async def test_no_error_of_a_handler_ends_a_service(bus: EventBus, error: Exception):
    got: list[int] = []

    async def handler(event: CloudEvent) -> None:
        got.append(event.data)
        if event.data == 1:
            raise error

    async with served(bus, handler, group="g", max_deliveries=1):
        await bus.publish_all([bus.event("com.example.a", number) for number in (1, 2)])
        await until(lambda: 2 in got, "the next event is handled")


async def test_a_handler_that_hangs_is_ended(bus: EventBus):
    ended: list[Any] = []

    async def handler(event: CloudEvent) -> None:
        try:
            await asyncio.sleep(3600 if event.data == "hangs" else 0)
        finally:
            ended.append(event.data)

    async with served(bus, handler, group="g", timeout_s=0.05, max_deliveries=1):
        await bus.publish("com.example.a", "hangs")
        await bus.publish("com.example.a", "fine")
        await until(lambda: ended == ["hangs", "fine"], "the next one is handled")

    (letter,) = await bus.dead_letters("g")
    assert letter.reason == "TimeoutError: the handler took longer than 0.05 s"


async def test_a_plain_handler_that_hangs_is_left_behind(bus: EventBus):
    goes_on, fine = threading.Event(), threading.Event()

    def handler(event: CloudEvent) -> None:
        if event.data == "hangs":
            goes_on.wait(LONG_S)
        else:
            fine.set()

    async with served(bus, handler, group="g", timeout_s=0.05, max_deliveries=1):
        await bus.publish("com.example.a", "hangs")
        await bus.publish("com.example.a", "fine")
        await until(fine.is_set, "the next one is handled")
    goes_on.set()

    assert len(await bus.dead_letters("g")) == 1


async def test_what_a_handler_waited_for_may_be_cancelled_without_ending_the_service(bus: EventBus):
    got: list[Any] = []

    async def handler(event: CloudEvent) -> None:
        got.append(event.data)
        if event.data == 0:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    async with served(bus, handler, group="g", max_deliveries=1):
        await bus.publish_all([bus.event("com.example.a", number) for number in range(2)])
        await until(lambda: got == [0, 1], "the next one is handled")

    assert len(await bus.dead_letters("g")) == 1


async def test_a_handler_may_say_itself_what_became_of_an_event(bus: EventBus):
    async def handler(event: CloudEvent, received: Received) -> None:
        await received.reject("not wanted")
        raise ValueError("and this changes nothing")

    async with served(bus, handler, group="g"):
        await bus.publish("com.example.a")
        await until(lambda: _dead(bus), "it is a dead letter")

    (letter,) = await bus.dead_letters("g")
    assert [one.reason for one in letter.failures] == ["not wanted"]


async def test_poison_among_others_never_stops_a_service(bus: EventBus, log: LogStore):
    got: list[Any] = []
    poison = ["{", "[]", "null", "{}", '{"specversion":"1.0"}', "\x00", "x" * 400_000, '{"data":' + "[" * 50_000]

    async def handler(event: CloudEvent) -> None:
        got.append(event.data)
        if event.data % 7 == 0:
            raise RuntimeError("seven")

    async with served(bus, handler, group="g", concurrency=3, max_deliveries=1):
        for number, text in enumerate(poison):
            await log.append("events", [Message(f"poison-{number}", "com.example.a", text)], retention=Retention())
            await bus.publish("com.example.a", number)
        await until(lambda: len(got) == len(poison), "all events are handled")

    assert sorted(got) == list(range(len(poison)))
    # Beside the poison: 0 and 7.
    assert len(await bus.dead_letters("g")) == len(poison) + 2


async def test_a_service_that_is_cancelled_gives_back_what_it_holds_uncounted(bus: EventBus, log: LogStore):
    begun = asyncio.Event()

    async def handler(event: CloudEvent) -> None:
        begun.set()
        await asyncio.sleep(3600)

    service = asyncio.create_task(bus.serve(handler, group="g", begin="begin", concurrency=2))
    await bus.publish_all([bus.event("com.example.a", number) for number in range(5)])
    await begun.wait()

    service.cancel()
    with pytest.raises(asyncio.CancelledError):
        await service

    got: list[Any] = []

    async def counting(event: CloudEvent, received: Received) -> None:
        got.append((event.data, received.number, received.failures))

    async with served(bus, counting, group="g"):
        await until(lambda: len(got) == 5, "another one handles all")
    assert sorted(got) == [(number, 1, ()) for number in range(5)]


async def test_a_service_that_is_stopped_finishes_what_it_has_begun_and_gives_back_the_rest(
    bus: EventBus, log: LogStore
):
    begun, goes_on, got = asyncio.Event(), asyncio.Event(), []

    async def handler(event: CloudEvent) -> None:
        begun.set()
        await goes_on.wait()
        got.append(event.data)

    await bus.publish_all([bus.event("com.example.a", number) for number in range(5)])
    async with served(bus, handler, group="g", begin="begin") as stop:
        await begun.wait()
        stop.set()
        await asyncio.sleep(0)
        goes_on.set()

    assert got == [0]
    (status,) = await log.groups("events")
    assert (status.held, status.unread + status.waiting) == (0, 4)


async def test_a_waiting_service_ends_at_once_when_it_is_stopped(bus: EventBus):
    async with served(bus, print, group="g"):
        pass


async def test_what_cannot_work_ends_a_service_and_is_raised(bus: EventBus):
    with pytest.raises(Misuse, match="group"):
        await bus.serve(print, group="two words")
    with pytest.raises(PolicyError, match="concurrency"):
        await bus.serve(print, group="g", concurrency=0)
    with pytest.raises(PolicyError, match="timeout_s"):
        await bus.serve(print, group="g", timeout_s=0)


async def test_what_was_lost_is_told_and_the_service_goes_on(
    log: LogStore, heard: list[Event], caplog: pytest.LogCaptureFixture
):
    bus = EventBus(log, retention=Retention(max_messages=5), on_event=heard.append)
    async with bus.subscribe(group="g"):
        pass
    await bus.publish_all([bus.event("com.example.a", number) for number in range(12)])
    got: list[Any] = []

    async def handler(event: CloudEvent) -> None:
        got.append(event.data)

    with caplog.at_level(logging.ERROR):
        async with served(bus, handler, group="g"):
            await until(lambda: 11 in got, "the last one is handled")

    (told,) = [event for event in heard if event.name == "events.lost"]
    assert told.fields["lost"] == got[0] == 12 - len(got)


async def test_a_handler_that_blocks_the_loop_beyond_its_lease_does_not_end_the_service(bus: EventBus):
    got: list[Any] = []

    async def handler(event: CloudEvent) -> None:
        got.append(event.data)
        if len(got) == 1:
            # What nobody ought to do in a coroutine.
            time.sleep(1.3)  # noqa: ASYNC251

    async with served(bus, handler, group="g", lease_s=1.0):
        await bus.publish_all([bus.event("com.example.a", number) for number in range(3)])
        await until(lambda: {0, 1, 2} <= set(got), "all are handled")


async def _dead(bus: EventBus) -> bool:
    return bool(await bus.dead_letters("g"))
