"""What is published lies in its topic, once, in its order, or the publisher is told why not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from typing_extensions import TypedDict

from coterie._rules.log import Retention
from coterie.bus import CloudEvent, EventBus
from coterie.errors import MalformedEvent, Misuse, OversizedMessage, PolicyError, TopicFull
from coterie.ports import LogStore
from tests.fleet.bus.buses import numbers, received


class Order(TypedDict):
    order: int


async def test_what_is_published_is_there_for_everybody(bus: EventBus):
    published = await bus.publish("com.example.placed", {"order": 1}, key="k", subject="order 1", priority=2)

    (recorded,) = [one async for one in bus.replay()]
    assert recorded.event == published.event
    assert recorded.position == published.position
    assert (recorded.event.source, recorded.event.key, recorded.event.subject) == ("coterie", "k", "order 1")


async def test_the_same_id_is_the_same_event(bus: EventBus):
    first = await bus.publish("com.example.placed", 1, id="order-1")
    second = await bus.publish("com.example.placed", 1, id="order-1")

    assert (second.position, first.is_duplicate, second.is_duplicate) == (first.position, False, True)
    assert await numbers(bus.replay()) == [1]


async def test_the_same_id_of_another_source_is_another_event(log: LogStore):
    await EventBus(log, source="/a").publish("com.example.a", 1, id="one")
    other = await EventBus(log, source="/b").publish("com.example.a", 2, id="one")

    assert not other.is_duplicate
    assert await numbers(EventBus(log).replay()) == [1, 2]


async def test_many_are_published_in_their_order(bus: EventBus):
    events = [bus.event("com.example.placed", number) for number in range(2500)]

    published = await bus.publish_all(events)

    assert [one.event for one in published] == events
    assert await numbers(bus.replay()) == list(range(2500))


async def test_one_that_may_not_be_sent_keeps_all_from_being_sent(log: LogStore):
    bus = EventBus(log, max_bytes=1000)

    with pytest.raises(OversizedMessage, match="1000"):
        await bus.publish_all([bus.event("com.example.a", 1), bus.event("com.example.b", "x" * 1000)])

    assert await numbers(bus.replay()) == []


async def test_the_size_is_that_of_the_text_in_bytes(log: LogStore):
    bus = EventBus(log, max_bytes=1000)

    await bus.publish("com.example.a", "x" * 700)
    with pytest.raises(OversizedMessage):
        await bus.publish("com.example.a", "ü" * 700)


async def test_a_number_that_is_too_long_to_be_written_is_refused(bus: EventBus):
    with pytest.raises(MalformedEvent, match="no JSON"):
        await bus.publish("com.example.a", [10**5000])

    assert await numbers(bus.replay()) == []


async def test_half_a_character_is_refused(bus: EventBus):
    with pytest.raises(MalformedEvent):
        await bus.publish("com.example.a", "\ud800")


async def test_a_full_topic_refuses(log: LogStore):
    bus = EventBus(log, retention=Retention(max_messages=2, when_full="refuse"))
    await bus.publish_all([bus.event("com.example.a", number) for number in range(2)])

    with pytest.raises(TopicFull):
        await bus.publish("com.example.a", 2)

    assert await numbers(bus.replay()) == [0, 1]


async def test_a_publisher_waits_for_room(log: LogStore):
    bus = EventBus(log, retention=Retention(max_messages=2, when_full="refuse"))
    async with bus.subscribe(group="g", begin="begin") as events:
        await bus.publish_all([bus.event("com.example.a", number) for number in range(2)])
        publishing = asyncio.create_task(bus.publish("com.example.a", 2, wait_s=30))
        await asyncio.sleep(0)

        assert [event.data for event in await received(events, 2)] == [0, 1]

        assert not (await publishing).is_duplicate
        assert [event.data for event in await received(events, 1)] == [2]


async def test_data_are_what_their_type_asks_for(log: LogStore):
    bus = EventBus(log, data_types={"com.example.placed": Order})

    await bus.publish("com.example.placed", {"order": 1})
    await bus.publish("com.example.other", "anything")
    with pytest.raises(MalformedEvent, match="order") as refused:
        await bus.publish("com.example.placed", {"order": "secret"})

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("topic", ["", "two words", "-x"])
async def test_a_topic_has_a_name(log: LogStore, topic: str):
    with pytest.raises(Misuse, match="topic"):
        await EventBus(log, topic=topic).publish("com.example.a")


@pytest.mark.parametrize("size", [0, 2**20 + 1, 1.5, True])
async def test_the_bound_of_an_events_size_is_one(log: LogStore, size: Any):
    with pytest.raises(PolicyError, match="max_bytes"):
        EventBus(log, max_bytes=size)


async def test_topics_do_not_meet(log: LogStore):
    await EventBus(log, topic="a").publish("com.example.a", 1)

    assert await numbers(EventBus(log, topic="b").replay()) == []


async def test_a_bus_that_opened_its_store_closes_it(log_url: str, namespace: str):
    async with EventBus.open(log_url, namespace=namespace) as bus:
        await bus.publish_all([CloudEvent("com.example.a", 1, source="urn:x")])

    with pytest.raises(Misuse, match="closed"):
        await bus.publish("com.example.a")
    await bus.aclose()
