"""A question is answered by whoever serves it, or its asker is told in time that nobody did."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from coterie._rules.log import Message, Retention
from coterie.bus import CloudEvent, EventBus, Received
from coterie.bus.names import REPLIES
from coterie.bus.wire import message_id
from coterie.errors import MalformedEvent, Misuse, NoReply, Unavailable
from coterie.ports import LogStore
from coterie.stores.log_memory import MemoryLogStore
from coterie.stores.log_sqlite import SqliteLogStore
from coterie.testing import ManualClock
from tests.fleet.bus.buses import LONG_S, received, served, until


async def test_what_a_handler_returns_is_the_answer(bus: EventBus):
    async def handler(event: CloudEvent) -> Any:
        return {"twice": 2 * event.data}

    async with served(bus, handler, "com.example.twice", group="g"):
        answer = await bus.request("com.example.twice", 21, timeout_s=LONG_S, correlation_id="run-1")

    assert (answer.data, answer.correlation_id, answer.name) == ({"twice": 42}, "run-1", "events.replied")


async def test_each_asker_gets_his_own_answer(bus: EventBus, log: LogStore):
    async def handler(event: CloudEvent) -> Any:
        await asyncio.sleep(0.001 * (event.data % 3))
        return event.data

    async with served(bus, handler, group="g", concurrency=5), EventBus(log) as other:
        answers = await asyncio.gather(
            *(
                asker.request("com.example.a", number, timeout_s=LONG_S)
                for number in range(10)
                for asker in (bus, other)
            )
        )

    assert [answer.data for answer in answers] == [number for number in range(10) for _ in range(2)]


async def test_nobody_answers(bus: EventBus):
    with pytest.raises(NoReply, match=r"com\.example\.a"):
        await bus.request("com.example.a", timeout_s=0.05)


async def test_a_question_whose_time_is_over_is_handed_to_nobody(bus: EventBus):
    with pytest.raises(NoReply):
        await bus.request("com.example.a", 1, timeout_s=0.05)
    await bus.publish("com.example.a", 2)

    async with bus.subscribe(group="g", begin="begin") as events:
        assert [event.data for event in await received(events, 1)] == [2]


async def test_who_only_looks_on_answers_nothing(bus: EventBus):
    seen: list[Any] = []

    async def looking_on(event: CloudEvent) -> None:
        seen.append(event.data)

    async def handler(event: CloudEvent) -> Any:
        await until(lambda: seen == [1], "the other one was first")
        return "answer"

    async with served(bus, looking_on, group="audit"), served(bus, handler, group="g"):
        assert (await bus.request("com.example.a", 1, timeout_s=LONG_S)).data == "answer"


async def test_a_handler_may_answer_itself_even_nothing(bus: EventBus):
    async def handler(event: CloudEvent, received: Received) -> None:
        await received.reply(None)

    async with served(bus, handler, group="g"):
        assert (await bus.request("com.example.a", timeout_s=LONG_S)).data is None


async def test_an_answer_that_is_no_json_is_a_failure_of_the_handler(bus: EventBus):
    async def handler(event: CloudEvent) -> Any:
        return {1, 2}

    async with served(bus, handler, group="g"):
        with pytest.raises(NoReply):
            await bus.request("com.example.a", timeout_s=0.5)

    (letter,) = await bus.dead_letters("g")
    assert letter.reason.startswith("MalformedEvent: ")


async def test_the_topic_of_the_answers_ends_with_the_bus(log: LogStore):
    async with EventBus(log) as bus, served(bus, lambda event: 1, group="g"):
        await bus.request("com.example.a", timeout_s=LONG_S)
        assert [topic.name.partition("/")[0] for topic in await log.topics()] == ["events", "replies"]

    assert [topic.name for topic in await log.topics()] == ["events"]
    with pytest.raises(Misuse, match="closed"):
        await bus.request("com.example.a", timeout_s=1)


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_answers_come_also_after_hours_without_any(tmp_path: Path, store: str):
    clock = ManualClock()
    log = MemoryLogStore(clock=clock) if store == "memory" else SqliteLogStore(tmp_path / "log.db", clock=clock)

    async with EventBus(log, clock=clock) as bus, served(bus, lambda event: event.data, group="g"):
        for number in range(3):
            await bus.request("com.example.a", number, timeout_s=LONG_S)
        # The topic of the answers is idle for too long meanwhile.
        clock.advance(4000)
        assert (await bus.request("com.example.a", 7, timeout_s=LONG_S)).data == 7
    await log.aclose()


async def test_who_waits_when_the_bus_is_closed_is_told(log: LogStore):
    bus = EventBus(log)
    asking = asyncio.create_task(bus.request("com.example.a", timeout_s=LONG_S))
    await until(lambda: asyncio.wait_for(_is_asked(bus), LONG_S), "the question is there")

    await bus.aclose()

    with pytest.raises(Misuse, match="closed"):
        await asking


async def _is_asked(bus: EventBus) -> bool:
    return bool([recorded async for recorded in bus.replay()])


@pytest.mark.parametrize("topic", ["events", "replies/", "replies/a b", "replies/ü"])
async def test_an_answer_is_sent_nowhere_else(bus: EventBus, log: LogStore, topic: str):
    event = bus.event("com.example.a", reply_to=topic)
    with pytest.raises(MalformedEvent, match="replies/"):
        await bus.publish_all([event])

    message = Message(message_id(event), event.type, event.to_json())
    await log.append("events", [message], retention=Retention())
    handled: list[CloudEvent] = []
    async with served(bus, handled.append, group="g", begin="begin"):
        await until(lambda: _is_dead(bus), "it is a dead letter")
    assert handled == []


async def _is_dead(bus: EventBus) -> bool:
    return bool(await bus.dead_letters("g"))


class NoAnswers(MemoryLogStore):
    """A store that takes no answers while it is away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = asyncio.Event()
        self.asked = asyncio.Event()

    async def append(self, topic: str, *arguments: Any, **more: Any) -> Any:
        if topic.startswith(REPLIES) and self.away.is_set():
            self.asked.set()
            raise Unavailable("no answers now")
        return await super().append(topic, *arguments, **more)


async def test_a_question_whose_answer_was_not_taken_before_the_service_ended_is_answered_by_the_next():
    log = NoAnswers()
    async with EventBus(log) as bus:

        async def handler(event: CloudEvent) -> Any:
            return event.data

        log.away.set()
        async with served(bus, handler, group="g"):
            question = asyncio.create_task(bus.request("com.example.a", 1, timeout_s=LONG_S))
            await log.asked.wait()
        log.away.clear()
        async with served(bus, handler, group="g"):
            assert (await question).data == 1
    await log.aclose()
