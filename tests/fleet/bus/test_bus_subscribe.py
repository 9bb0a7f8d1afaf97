"""What a subscription hands out, and what becomes of what it was told of it."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from coterie._rules.log import Message, Retention, Terms
from coterie.bus import CloudEvent, EventBus
from coterie.bus.wire import message_id
from coterie.errors import Misuse, PolicyError
from coterie.events import Event
from coterie.ports import LogStore
from coterie.task import Retry
from tests.fleet.bus.buses import LONG_S, received, until


async def held(log: LogStore, group: str = "g") -> int:
    (status,) = [one for one in await log.groups("events") if one.name == group]
    return status.held


async def test_a_group_gets_each_event_once_and_another_group_gets_it_too(bus: EventBus):
    async with (
        bus.subscribe(group="g") as one,
        bus.subscribe(group="g") as other,
        bus.subscribe(group="h") as alone,
    ):
        await bus.publish_all([bus.event("com.example.a", number) for number in range(40)])

        got: list[Any] = []

        async def work(events: Any) -> None:
            async for event in events:
                got.append(event.event.data)
                await event.ack()

        tasks = [asyncio.create_task(work(one)), asyncio.create_task(work(other))]
        everything = await received(alone, 40)
        await until(lambda: len(got) >= 40, "the group has all")
        one.stop()
        other.stop()
        await asyncio.gather(*tasks)

    assert sorted(got) == list(range(40))
    assert [event.data for event in everything] == list(range(40))


async def test_a_group_begins_where_it_is_told_to(bus: EventBus):
    first = await bus.publish("com.example.a", 1)
    await bus.publish("com.example.a", 2)

    async with (
        bus.subscribe(group="all", begin="begin") as everything,
        bus.subscribe(group="behind", begin=first.position) as behind,
        bus.subscribe(group="new") as new,
    ):
        await bus.publish("com.example.a", 3)

        assert [event.data for event in await received(everything, 3)] == [1, 2, 3]
        assert [event.data for event in await received(behind, 2)] == [2, 3]
        assert [event.data for event in await received(new, 1)] == [3]


async def test_patterns_choose_what_comes(bus: EventBus):
    async with bus.subscribe("task.*", "com.example.*", group="g") as events:
        for name in ("workflow.started", "task.started", "org.example.a", "com.example.a"):
            await bus.publish(name)

        assert [event.name for event in await received(events, 2)] == ["task.started", "com.example.a"]


async def test_a_group_goes_on_where_it_was_when_nobody_was_there(bus: EventBus):
    async with bus.subscribe(group="g"):
        pass
    await bus.publish("com.example.a", 1)

    async with bus.subscribe(group="g") as events:
        assert [event.data for event in await received(events, 1)] == [1]


async def test_what_is_acknowledged_is_done_when_the_block_is_left(bus: EventBus, log: LogStore):
    await bus.publish("com.example.a", 1)
    async with bus.subscribe(group="g", begin="begin") as events:
        await received(events, 1)

    (status,) = await log.groups("events")
    assert (status.held, status.unread, status.waiting) == (0, 0, 0)


async def test_an_acknowledgement_goes_by_itself_soon(bus: EventBus, log: LogStore):
    await bus.publish("com.example.a", 1)
    async with bus.subscribe(group="g", begin="begin") as events:
        event = await anext(events)
        assert await held(log) == 1

        await event.ack()
        await event.ack()

        async def is_done() -> bool:
            return await held(log) == 0

        await until(is_done, "the acknowledgement arrived")


async def test_what_is_not_acknowledged_when_the_block_is_left_goes_to_others_uncounted(bus: EventBus):
    await bus.publish_all([bus.event("com.example.a", number) for number in range(3)])
    async with bus.subscribe(group="g", begin="begin") as events:
        first = await anext(events)
        await anext(events)
        await first.ack()

    async with bus.subscribe(group="g") as events:
        again = await anext(events)
        assert (again.event.data, again.number, again.failures) == (1, 1, ())


async def test_no_more_is_held_than_may_be(bus: EventBus, log: LogStore):
    await bus.publish_all([bus.event("com.example.a", number) for number in range(20)])
    async with bus.subscribe(group="g", begin="begin", prefetch=3) as events:
        some = [await anext(events) for _ in range(3)]
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.1)
        assert (await held(log), waiting.done()) == (3, False)

        await some[0].ack()

        async with asyncio.timeout(LONG_S):
            assert (await waiting).event.data == 3


async def test_giving_up_the_wait_loses_nothing(bus: EventBus):
    async with bus.subscribe(group="g") as events:
        got = []
        for number in range(20):
            await bus.publish("com.example.a", number)
            # Given up at another moment each time: while it is taken, before, or not at all.
            with suppress(TimeoutError):
                async with asyncio.timeout(0.0005 * (number % 5)):
                    one = await anext(events)
                    got.append(one.event.data)
                    await one.ack()
        got += [event.data for event in await received(events, 20 - len(got))]

        assert got == list(range(20))


async def test_a_failure_is_noted_and_the_event_comes_again_until_it_is_a_dead_letter(
    bus: EventBus, heard: list[Event]
):
    await bus.publish("com.example.a", 1)
    async with bus.subscribe(group="g", begin="begin", max_deliveries=3) as events:
        kept = []
        for _ in range(3):
            one = await anext(events)
            kept.append(await one.fail(ValueError(f"no {one.number}"), retry_in_s=0))

    assert kept == [True, True, False]
    (letter,) = await bus.dead_letters("g")
    assert [failure.reason for failure in letter.failures] == [f"ValueError: no {number}" for number in (1, 2, 3)]
    assert (letter.event and letter.event.data, letter.reason) == (1, "ValueError: no 3")
    (told,) = [event for event in heard if event.name == "events.dead"]
    assert told.fields["error"] == "ValueError: no 3"


async def test_a_failed_event_comes_again_after_a_while(bus: EventBus):
    await bus.publish("com.example.a", 1)
    retry = Retry(base_s=0.02, cap_s=0.02)
    async with bus.subscribe(group="g", begin="begin", retry=retry) as events, asyncio.timeout(LONG_S):
        await (await anext(events)).fail("not yet")

        again = await anext(events)

        assert (again.number, [failure.reason for failure in again.failures]) == (2, ["not yet"])


async def test_what_is_released_comes_again_uncounted(bus: EventBus):
    await bus.publish("com.example.a", 1)
    async with bus.subscribe(group="g", begin="begin") as events, asyncio.timeout(LONG_S):
        await (await anext(events)).release()

        again = await anext(events)

        assert (again.number, again.failures) == (1, ())


async def test_what_is_rejected_is_a_dead_letter_at_once(bus: EventBus):
    await bus.publish("com.example.a", 1)
    async with bus.subscribe(group="g", begin="begin") as events:
        await (await anext(events)).reject("never")

    (letter,) = await bus.dead_letters("g")
    assert (letter.reason, letter.number) == ("never", 1)


async def test_what_becomes_of_an_event_is_said_once(bus: EventBus):
    await bus.publish("com.example.a", 1)
    async with bus.subscribe(group="g", begin="begin") as events:
        event = await anext(events)
        await event.ack()

        with pytest.raises(Misuse, match="settled"):
            await event.fail("no")


async def test_events_of_one_key_come_one_after_the_other(bus: EventBus):
    await bus.publish_all([bus.event("com.example.a", number, key="k") for number in range(3)])
    async with bus.subscribe(group="g", begin="begin") as one, bus.subscribe(group="g", begin="begin") as other:
        first = await anext(one)
        waiting = [asyncio.ensure_future(anext(one)), asyncio.ensure_future(anext(other))]
        await asyncio.sleep(0.1)
        assert not any(each.done() for each in waiting)

        await first.ack()
        async with asyncio.timeout(LONG_S):
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        (second,) = done
        assert (first.event.data, second.result().event.data) == (0, 1)
        for each in waiting:
            each.cancel()


async def test_urgent_ones_come_first_where_that_is_wanted(bus: EventBus):
    await bus.publish_all([bus.event("com.example.a", number, priority=number) for number in range(3)])
    async with bus.subscribe(group="g", begin="begin", by_priority=True, prefetch=1) as events:
        assert [event.data for event in await received(events, 3)] == [2, 1, 0]


async def test_what_has_expired_is_not_handed_out(bus: EventBus):
    await bus.publish("com.example.a", 1, expires_in_s=0.0)
    await bus.publish("com.example.a", 2, expires_in_s=60.0)
    async with bus.subscribe(group="g", begin="begin") as events:
        assert [event.data for event in await received(events, 1)] == [2]

    assert await bus.dead_letters("g") == []


ONE = CloudEvent("com.example.a", id="1")
NAME = message_id(ONE)
NO_EVENTS = {
    "no JSON": Message(NAME, "com.example.a", "{"),
    "no object": Message(NAME, "com.example.a", "[]"),
    "no source": Message(NAME, "com.example.a", json.dumps({"specversion": "1.0", "id": "1", "type": "com.example.a"})),
    "another id": Message(NAME, "com.example.a", replace(ONE, id="2").to_json()),
    "another source": Message(NAME, "com.example.a", replace(ONE, source="/other").to_json()),
    "another type": Message(NAME, "com.example.b", ONE.to_json()),
    "another key": Message(NAME, "com.example.a", ONE.to_json(), key="k"),
    "another priority": Message(NAME, "com.example.a", ONE.to_json(), priority=1),
    "an answer elsewhere": Message(NAME, "com.example.a", replace(ONE, reply_to="tasks/a").to_json()),
    "too large": Message(NAME, "com.example.a", replace(ONE, data="x" * 300_000).to_json()),
}


@pytest.mark.parametrize("message", NO_EVENTS.values(), ids=NO_EVENTS)
async def test_what_is_no_event_is_a_dead_letter_and_the_next_one_comes(bus: EventBus, log: LogStore, message: Message):
    await log.append("events", [message], retention=Retention())
    await bus.publish("com.example.a", "sound")

    async with bus.subscribe(group="g", begin="begin") as events:
        assert [event.data for event in await received(events, 1)] == ["sound"]

    (letter,) = await bus.dead_letters("g")
    assert (letter.event, letter.message.text, letter.number) == (None, message.text, 1)
    assert letter.reason.startswith(("MalformedEvent: ", "OversizedMessage: "))


async def test_what_was_dropped_before_it_came_is_told_and_the_rest_comes(
    log: LogStore, heard: list[Event], caplog: pytest.LogCaptureFixture
):
    bus = EventBus(log, retention=Retention(max_messages=5), on_event=heard.append)
    async with bus.subscribe(group="g"):
        pass
    await bus.publish_all([bus.event("com.example.a", number) for number in range(12)])

    with caplog.at_level(logging.WARNING, "coterie.bus"):
        async with bus.subscribe(group="g") as events:
            got = await received(events, 1)

    (told,) = [event for event in heard if event.name == "events.lost"]
    assert told.fields["lost"] == got[0].data > 0
    assert "events.lost" in caplog.text


async def test_a_subscription_is_used_once(bus: EventBus):
    subscription = bus.subscribe(group="g")
    async with subscription:
        pass

    with pytest.raises(Misuse, match="make a new one"):
        async with subscription:
            pass


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"prefetch": 0}, "prefetch"),
        ({"prefetch": 1001}, "prefetch"),
        ({"prefetch": True}, "prefetch"),
        ({"lease_s": 0.1}, "lease_s"),
        ({"max_deliveries": 0}, "max_deliveries"),
    ],
)
async def test_what_cannot_work_is_refused_at_once(bus: EventBus, options: dict[str, Any], named: str):
    with pytest.raises(PolicyError, match=named):
        bus.subscribe(group="g", **options)


@pytest.mark.parametrize("group", ["", "two words"])
async def test_a_group_has_a_name(bus: EventBus, group: str):
    with pytest.raises(Misuse, match="group"):
        async with bus.subscribe(group=group):
            pass


async def test_a_consumer_that_was_taken_for_dead_goes_on_under_a_new_name(
    bus: EventBus, log: LogStore, heard: list[Event]
):
    await bus.publish_all([bus.event("com.example.a", number) for number in range(2)])
    async with bus.subscribe(group="g", begin="begin", consumer="me", prefetch=1, lease_s=1.0) as events:
        first = await anext(events)
        assert await log.leave("events", "g", "me", died=True) == 1

        async with asyncio.timeout(LONG_S):
            again = await anext(events)
        await again.ack()

        # The first delivery's end says nothing any more.
        await first.ack()
        assert (events.consumer, again.event.data, again.number) == ("me~2", 0, 2)
        assert [event.data for event in await received(events, 1)] == [1]

    assert [event.name for event in heard] == ["events.expelled"]
    assert (await log.take("events", "g", "you", terms=Terms(), limit=10)).deliveries == ()
