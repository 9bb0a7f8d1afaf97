"""What a group has given up is kept, and is delivered again, or removed, when somebody says so."""

from __future__ import annotations

import pytest

from coterie._rules.log import Retention
from coterie.bus import EventBus
from coterie.errors import MalformedEvent
from coterie.events import Event
from coterie.ports import LogStore
from coterie.stores.log_memory import MemoryLogStore
from tests.fleet.bus.buses import received, served, until


async def give_up(bus: EventBus, count: int, group: str = "g") -> None:
    async with bus.subscribe(group=group, begin="begin", prefetch=50) as events:
        for _ in range(count):
            await (await anext(events)).reject("no")


async def test_letters_outlive_their_topics_retention(log: LogStore):
    bus = EventBus(log, retention=Retention(max_messages=2))
    await bus.publish("com.example.a", 0)
    await give_up(bus, 1)

    await bus.publish_all([bus.event("com.example.a", number) for number in range(1, 5)])

    (letter,) = await bus.dead_letters("g")
    assert letter.event is not None
    assert letter.event.data == 0


async def test_a_requeued_letter_goes_to_its_group_alone_with_its_history(bus: EventBus):
    await bus.publish("com.example.a", 1)
    await give_up(bus, 1)
    async with bus.subscribe(group="other", begin="begin") as others:
        await received(others, 1)
        (position,) = await bus.requeue("g")

        async with bus.subscribe(group="g") as events:
            again = await anext(events)
            assert (again.position, again.number) == (position, 1)
            assert [failure.reason for failure in again.failures] == ["no"]
            await again.ack()
        assert others.ready() is None

    assert await bus.dead_letters("g") == []


async def test_a_letter_that_is_removed_is_gone(bus: EventBus):
    await bus.publish_all([bus.event("com.example.a", number) for number in range(3)])
    await give_up(bus, 3)
    first, second, third = await bus.dead_letters("g")

    assert await bus.discard("g", [second.position, second.position]) == [second.position]
    assert await bus.discard("g", [second.position]) == []
    assert [letter.position for letter in await bus.dead_letters("g")] == [first.position, third.position]


async def test_so_many_are_looked_at_as_one_likes(bus: EventBus):
    await bus.publish_all([bus.event("com.example.a", number) for number in range(5)])
    await give_up(bus, 5)

    found = [letter.event and letter.event.data for letter in await bus.dead_letters("g", limit=3)]

    assert found == [0, 1, 2]
    assert len(await bus.dead_letters("g", limit=None)) == 5


async def test_any_number_is_delivered_again_or_removed():
    bus = EventBus(MemoryLogStore())
    await bus.publish_all([bus.event("com.example.a", number) for number in range(1300)])
    await give_up(bus, 1300)

    assert len(await bus.requeue("g")) == 1300
    await give_up(bus, 1300)
    assert len(await bus.discard("g")) == 1300
    assert await bus.dead_letters("g") == []


async def test_nobody_has_given_up_anything(bus: EventBus):
    assert await bus.dead_letters("g") == []
    assert await bus.requeue("g") == []
    assert await bus.discard("g") == []


async def test_a_listener_that_fails_ends_nobody(log: LogStore):
    def failing(event: Event) -> None:
        raise RuntimeError("the listener's own")

    bus = EventBus(log, on_event=failing)
    got = []

    async def handler(event: object) -> None:
        got.append(event)
        if len(got) == 1:
            raise ValueError("no")

    async with served(bus, handler, group="g", max_deliveries=1):
        await bus.publish("com.example.a", 1)
        await bus.publish("com.example.a", 2)
        await until(lambda: len(got) == 2, "the next one is handled")


async def test_a_type_of_data_that_fails_by_itself_ends_nobody(bus: EventBus, log: LogStore):
    class Odd:
        @classmethod
        def __get_pydantic_core_schema__(cls, source: object, handler: object) -> object:
            from pydantic_core import core_schema

            def check(value: object) -> object:
                raise KeyError("odd")

            return core_schema.no_info_plain_validator_function(check)

    odd = EventBus(log, data_types={"com.example.odd": Odd})
    with pytest.raises(MalformedEvent, match="KeyError"):
        await odd.publish("com.example.odd", 1)
    await bus.publish("com.example.odd", 1)
    await bus.publish("com.example.even", 2)

    async with odd.subscribe(group="g", begin="begin") as events:
        assert [event.data for event in await received(events, 1)] == [2]


async def test_who_is_told_of_a_dead_letter_is_told_the_id_that_its_publisher_gave(bus: EventBus, heard: list[Event]):
    await bus.publish("com.example.a", id="order 7")

    async with bus.subscribe(group="g", begin="begin") as events:
        await (await anext(events)).reject("no")

    assert [event.fields["id"] for event in heard if event.name == "events.dead"] == ["order 7"]
