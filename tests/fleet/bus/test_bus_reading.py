"""Whoever reads for himself takes nothing from anybody: what was, what comes, and what he waits for."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from coterie._rules.log import Message, Retention
from coterie.bus import EventBus
from coterie.errors import Misuse, NoReply
from coterie.events import Event
from coterie.ports import LogStore
from tests.fleet.bus.buses import LONG_S, numbers


async def test_what_is_kept_is_read_as_often_as_one_likes(bus: EventBus):
    await bus.publish_all([bus.event("com.example.a", number) for number in range(1200)])

    assert await numbers(bus.replay()) == list(range(1200))
    assert await numbers(bus.replay()) == list(range(1200))


async def test_a_replay_begins_behind_a_position_and_ends_with_one(bus: EventBus):
    places = [await bus.publish(f"com.example.{'ab'[number % 2]}", number) for number in range(10)]

    assert await numbers(bus.replay(since=places[2].position)) == list(range(3, 10))
    assert await numbers(bus.replay(until=places[4].position)) == list(range(5))
    # It ends there although that one is of another type.
    assert await numbers(bus.replay("*.b", until=places[4].position)) == [1, 3]
    assert await numbers(bus.replay(since=places[9].position)) == []
    assert await numbers(bus.replay(since="end")) == []


async def test_a_replay_begins_and_ends_at_a_time(bus: EventBus):
    published = [await bus.publish("com.example.a", number) for number in range(3)]
    events = [one async for one in bus.replay()]
    assert [one.position for one in events] == [one.position for one in published]
    before = datetime.now(UTC) - timedelta(hours=1)
    after = datetime.now(UTC) + timedelta(hours=1)

    assert await numbers(bus.replay(since=before, until=after)) == [0, 1, 2]
    assert await numbers(bus.replay(since=after)) == []
    assert await numbers(bus.replay(until=before.timestamp())) == []


async def test_a_time_without_a_zone_is_no_time(bus: EventBus):
    with pytest.raises(Misuse, match="time zone"):
        await numbers(bus.replay(since=datetime(2026, 1, 1)))  # noqa: DTZ001
    with pytest.raises(Misuse, match="no place"):
        await numbers(bus.replay(since=object()))  # type: ignore[arg-type]


async def test_patterns_choose_what_is_read(bus: EventBus):
    for name in ("task.completed", "workflow.completed", "com.example.a"):
        await bus.publish(name, name)

    assert await numbers(bus.replay("task.*", "com.*")) == ["task.completed", "com.example.a"]


async def test_what_is_no_event_is_passed_over_and_told(bus: EventBus, log: LogStore, heard: list[Event]):
    await log.append("events", [Message("1", "com.example.a", "{")], retention=Retention())
    await bus.publish("com.example.a", 1)

    assert await numbers(bus.replay()) == [1]
    assert [event.name for event in heard] == ["events.unreadable"]


async def test_what_was_dropped_while_one_read_is_told(log: LogStore, heard: list[Event]):
    bus = EventBus(log, retention=Retention(max_messages=5), on_event=heard.append)
    first = await bus.publish("com.example.a", 0)
    await bus.publish_all([bus.event("com.example.a", number) for number in range(1, 12)])

    got = await numbers(bus.replay(since=first.position))

    (told,) = heard
    assert (told.name, told.fields["lost"]) == ("events.lost", got[0] - 1)


async def test_a_tail_gives_what_comes(bus: EventBus):
    here = await bus.here()
    async with asyncio.timeout(LONG_S), aclosing(bus.tail("com.example.*", since=here)) as events:
        waiting = asyncio.ensure_future(anext(events))
        await bus.publish("org.example.a", 0)
        await bus.publish("com.example.a", 1)
        assert (await waiting).event.data == 1
        await bus.publish("com.example.a", 2)
        assert (await anext(events)).event.data == 2


async def test_one_waits_for_the_event_that_one_means(bus: EventBus):
    here = await bus.here()
    waiting = asyncio.create_task(
        bus.wait_for("com.example.*", where=lambda event: event.data == 2, since=here, timeout_s=LONG_S)
    )
    await bus.publish_all([bus.event("com.example.a", number) for number in range(4)])

    assert (await waiting).data == 2


async def test_one_does_not_wait_for_ever(bus: EventBus):
    await bus.publish("com.example.a")

    with pytest.raises(NoReply, match=r"com\.example\.a"):
        await bus.wait_for("com.example.a", timeout_s=0.05)


async def test_readers_leave_no_trace(bus: EventBus, log: LogStore):
    await bus.publish("com.example.a")
    await numbers(bus.replay())

    assert list(await log.groups("events")) == []


async def test_a_replay_ends_where_it_should_also_if_nothing_lies_there_any_more(log: LogStore):
    bus = EventBus(log, retention=Retention(max_messages=3))
    placed = [(await bus.publish("com.example.a", number)).position for number in range(6)]

    assert await numbers(bus.replay(until=placed[0])) == []
    assert await numbers(bus.replay(until=placed[4])) == [3, 4]
    assert await numbers(bus.replay(since=placed[4], until=placed[3])) == []
    assert await numbers(bus.replay(until="begin")) == []
    with pytest.raises(Misuse, match="nonsense"):
        await numbers(bus.replay(until="nonsense"))


async def test_a_tail_goes_on_in_a_topic_that_was_made_anew(bus: EventBus, log: LogStore, heard: list[Event]):
    for number in range(5):
        await bus.publish("com.example.a", number)

    async with aclosing(bus.tail(since=await bus.here())) as events, asyncio.timeout(LONG_S):
        await log.drop_topic("events")
        await bus.publish("com.example.a", "new")
        assert (await anext(events)).event.data == "new"

    assert heard == []


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), float("-inf")])
async def test_what_is_no_time_is_refused(bus: EventBus, moment: float):
    with pytest.raises(Misuse, match="no place"):
        await numbers(bus.replay(since=moment))
