"""A store that does not answer is waited for, and that is told once; nothing is lost meanwhile, and nobody ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coterie._rules.log import Message, Retention, Terms
from coterie.bus import CloudEvent, EventBus
from coterie.errors import StateFormatError, Unavailable
from coterie.events import Event
from coterie.ports import LogStore
from coterie.task import Retry
from coterie.testing import FaultyLogStore
from tests.fleet.bus.buses import LONG_S, Weather, numbers, served, until


@pytest.fixture
def weather(log: LogStore) -> Weather:
    return Weather(log)


@pytest.fixture
def stormy(weather: Weather, heard: list[Event]) -> EventBus:
    return EventBus(weather, on_event=heard.append)  # type: ignore[arg-type]  # it has every method of a log store


def told(heard: list[Event]) -> list[str]:
    return [event.name for event in heard if event.name.startswith("events.store_")]


async def test_a_publisher_is_told_that_the_store_is_away(stormy: EventBus, weather: Weather):
    weather.is_away = True

    with pytest.raises(Unavailable):
        await stormy.publish("com.example.a")


@pytest.mark.parametrize("fails_after", [False, True])
async def test_a_publisher_may_wait_and_the_event_is_there_once(
    stormy: EventBus, bus: EventBus, weather: Weather, fails_after: bool
):
    weather.is_away, weather.fails_after = True, fails_after
    publishing = asyncio.create_task(stormy.publish("com.example.a", 1, wait_s=LONG_S))
    await until(lambda: weather.failures >= 2, "it was tried twice")

    weather.is_away = False
    await publishing

    assert await numbers(bus.replay()) == [1]


async def test_a_service_goes_on_when_the_store_is_back(
    stormy: EventBus, bus: EventBus, weather: Weather, heard: list[Event]
):
    got: list[Any] = []

    async def handler(event: CloudEvent) -> None:
        got.append(event.data)

    async with served(stormy, handler, group="g"):
        await bus.publish("com.example.a", 1)
        await until(lambda: got == [1], "the first is handled")
        weather.is_away = True
        await bus.publish("com.example.a", 2)
        await until(lambda: weather.failures >= 3, "it was asked several times")
        weather.is_away = False
        await until(lambda: got == [1, 2], "the second is handled")

    assert told(heard) == ["events.store_failed", "events.store_recovered"]


async def test_a_service_that_begins_in_an_outage_waits_for_its_end(
    stormy: EventBus, bus: EventBus, weather: Weather, heard: list[Event]
):
    got: list[Any] = []

    async def handler(event: CloudEvent) -> None:
        got.append(event.data)

    weather.is_away = True
    await bus.publish("com.example.a", 1)
    stop = asyncio.Event()
    service = asyncio.create_task(stormy.serve(handler, group="g", begin="begin", stop=stop))
    await until(lambda: weather.failures >= 2, "it was asked twice")
    weather.is_away = False
    await until(lambda: got == [1], "it is handled")
    stop.set()
    await service

    assert told(heard) == ["events.store_failed", "events.store_recovered"]


async def test_a_service_that_waits_for_the_store_may_be_stopped(stormy: EventBus, weather: Weather):
    weather.is_away = True
    stop = asyncio.Event()
    service = asyncio.create_task(stormy.serve(print, group="g", stop=stop))
    await until(lambda: weather.failures >= 1, "it was asked")

    stop.set()

    async with asyncio.timeout(LONG_S):
        await service


@pytest.mark.parametrize("fails_after", [False, True])
async def test_in_changing_weather_every_event_is_handled_in_the_order_of_its_key(
    stormy: EventBus, bus: EventBus, weather: Weather, fails_after: bool
):
    first: dict[str, list[Any]] = {"a": [], "b": [], "c": []}

    async def handler(event: CloudEvent) -> None:
        if event.data not in first[event.key]:
            first[event.key].append(event.data)
        if event.data % 10 == 3:
            raise ValueError("three")

    weather.every, weather.fails_after = 4, fails_after
    retry = Retry(max_attempts=2, base_s=0.0, cap_s=0.0)
    await bus.publish_all([bus.event("com.example.a", number, key="abc"[number % 3]) for number in range(60)])
    async with served(stormy, handler, group="g", begin="begin", concurrency=3, retry=retry, lease_s=1.0):
        await until(lambda: sum(map(len, first.values())) == 60, "all are handled")

    assert first == {"abc"[key]: list(range(key, 60, 3)) for key in range(3)}


async def test_a_message_that_is_no_event_is_put_aside_when_the_store_is_back(
    stormy: EventBus, bus: EventBus, weather: Weather
):
    got: list[Any] = []

    async def handler(event: CloudEvent) -> None:
        got.append(event.data)

    strict = EventBus(weather, max_bytes=500)  # type: ignore[arg-type]  # it has every method of a log store
    await bus.publish("com.example.a", "x" * 1000)
    await bus.publish("com.example.a", "sound")
    weather.every, weather.calls = 3, 1
    async with served(strict, handler, group="g", begin="begin"):
        await until(lambda: got == ["sound"], "the next is handled")

    assert len(await bus.dead_letters("g")) == 1


async def test_a_reader_who_follows_waits_for_the_store(
    stormy: EventBus, bus: EventBus, weather: Weather, heard: list[Event]
):
    weather.is_away = True
    waiting = asyncio.create_task(stormy.wait_for("com.example.b", since="begin", timeout_s=LONG_S))
    await until(lambda: weather.failures >= 2, "it was asked twice")
    weather.is_away = False
    await bus.publish("com.example.b", 1)

    assert (await waiting).data == 1
    assert told(heard) == ["events.store_failed", "events.store_recovered"]


async def test_who_reads_what_is_there_is_told_that_the_store_is_away(stormy: EventBus, weather: Weather):
    weather.is_away = True

    with pytest.raises(Unavailable):
        await numbers(stormy.replay())


async def test_a_subscription_that_cannot_begin_says_so(stormy: EventBus, weather: Weather):
    weather.is_away = True

    with pytest.raises(Unavailable):
        async with stormy.subscribe(group="g"):
            pass


async def test_a_consumer_that_keeps_what_it_has_gets_what_was_taken_unheard_too(
    stormy: EventBus, bus: EventBus, weather: Weather
):
    async with stormy.subscribe(group="g", begin="begin", lease_s=1.0) as events, asyncio.timeout(LONG_S):
        await bus.publish("com.example.a", 1)
        first = await anext(events)
        weather.is_away = weather.fails_after = True
        await bus.publish("com.example.a", 2)
        await until(lambda: weather.failures >= 1, "the second was taken, and the answer lost")
        weather.is_away = False

        got = {(await anext(events)).event.data for _ in range(2)}

        # It was not acknowledged in time, and comes again.
        assert got == {1, 2}
        await first.ack()


async def test_who_is_at_work_for_long_is_heard_of_all_the_time(stormy: EventBus, bus: EventBus, weather: Weather):
    await bus.publish("com.example.a", 1)
    async with stormy.subscribe(group="g", begin="begin", lease_s=1.0, prefetch=1) as events:
        await anext(events)
        begun = weather.names["take"]

        await until(lambda: weather.names["beat"] >= 3, "it was heard of three times")

        assert weather.names["take"] == begun
        (status,) = await bus.log.groups("events")
        assert [(one.name, one.held) for one in status.consumers] == [(events.consumer, 1)]


async def test_leaving_does_not_wait_for_a_store_that_is_away(stormy: EventBus, bus: EventBus, weather: Weather):
    await bus.publish("com.example.a")
    async with asyncio.timeout(LONG_S), stormy.subscribe(group="g", begin="begin") as events:
        await (await anext(events)).ack()
        weather.is_away = True


async def test_a_store_that_cannot_be_read_ends_a_service_and_is_raised(
    stormy: EventBus, bus: EventBus, weather: Weather
):
    weather.error = StateFormatError("of a newer coterie; update this one")

    async def handler(event: CloudEvent) -> None:
        weather.is_away = True

    await bus.publish_all([bus.event("com.example.a", number) for number in range(2)])
    with pytest.raises(StateFormatError):
        async with asyncio.timeout(LONG_S):
            await stormy.serve(handler, group="g", begin="begin", prefetch=1, concurrency=2)


async def test_what_its_consumers_died_of_is_given_up_and_told(bus: EventBus, log: LogStore, heard: list[Event]):
    await bus.publish("com.example.a", "deadly", key="k")
    await bus.publish("com.example.a", "harmless", key="k")
    once = Terms(max_deliveries=1)
    await log.take("events", "g", "the dead one", terms=once, limit=1)
    await log.leave("events", "g", "the dead one", died=True)

    async with bus.subscribe(group="g", max_deliveries=1) as events, asyncio.timeout(LONG_S):
        assert (await anext(events)).event.data == "harmless"

    (letter,) = await bus.dead_letters("g")
    assert (letter.event and letter.event.data, letter.reason) == ("deadly", "the consumer died")
    assert [event.fields["error"] for event in heard if event.name == "events.dead"] == ["the consumer died"]


async def test_who_gives_up_waiting_while_a_bad_message_is_refused_closes_no_key(
    stormy: EventBus, bus: EventBus, log: LogStore, weather: Weather
):
    await log.append("events", [Message("bad", "com.example.a", "no JSON", "k")], retention=Retention())
    await bus.publish("com.example.a", 1, key="k")

    async with stormy.subscribe(group="g", begin="begin") as events:
        await until(lambda: weather.names["take"] > 1, "the bad one was taken")
        weather.is_away = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(events)
        weather.is_away = False
        async with asyncio.timeout(LONG_S):
            assert (await anext(events)).event.data == 1


@pytest.mark.parametrize("error", [Unavailable("away; try again"), RuntimeError("a defect")], ids=["away", "defect"])
async def test_a_consumer_is_heard_of_whatever_comes_of_looking_for_the_dead(
    log: LogStore, bus: EventBus, error: Exception
):
    faulty = FaultyLogStore(log, {("groups", "before"): error})
    await bus.publish("com.example.a")

    async with EventBus(faulty).subscribe(group="g", begin="begin", prefetch=1, lease_s=1) as events:
        await anext(events)
        for beats in (1, 2):
            await until(lambda: faulty.calls.count(("beat", "events")) >= beats, "it is heard of")  # noqa: B023


async def test_what_was_given_back_by_a_call_whose_answer_was_lost_is_not_given_back_again(
    stormy: EventBus, bus: EventBus, weather: Weather, heard: list[Event]
):
    await bus.publish("com.example.a", 1)

    async with stormy.subscribe(group="g", begin="begin", lease_s=1) as events:
        first = await anext(events)
        weather.is_away = weather.fails_after = True
        with pytest.raises(Unavailable):
            await first.fail("no", retry_in_s=0.0)
        weather.is_away = False
        second = await anext(events)
        assert await first.fail("no", retry_in_s=0.0), "it is said again, as the answer was lost"
        await second.ack()

    assert second.number == 2
    assert "events.expelled" not in {event.name for event in heard}
    (group,) = await weather.groups("events")
    assert (group.held, group.waiting, group.dead) == (0, 0, 0)
