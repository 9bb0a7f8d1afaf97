"""Whatever lies in a topic, services go on: the bad is put aside with the reason, and each good event is handled."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from coterie._rules.log import Message, Retention
from coterie.bus import CloudEvent, DeadEvent, EventBus, Signing
from coterie.clock import SystemClock
from coterie.events import Event
from coterie.ports import LogStore
from tests.fleet.bus.buses import served, until

TYPE = "com.example.noted"
SECRET = "the secret of the fleet"
KEYS = ("", "a", "b", "c")
GROUP = "g"
MOST_BYTES = 4_000
SIGNED = Signing(keys={"k": SECRET}, max_age_s=60.0)


@dataclass(frozen=True)
class Bad:
    """How a sound message is spoiled, and what its dead letter's reason says."""

    name: str
    spoil: Callable[[Message, random.Random], Message]
    reason: str


def _text(change: Callable[[dict[str, Any]], object]) -> Callable[[Message, random.Random], Message]:
    def spoil(message: Message, chance: random.Random) -> Message:
        document = json.loads(message.text)
        change(document)
        return replace(message, text=json.dumps(document))

    return spoil


def _cut(message: Message, chance: random.Random) -> Message:
    return replace(message, text=message.text[: chance.randrange(len(message.text))])


def _swapped(message: Message, chance: random.Random) -> Message:
    """One of its braces, quotes, colons or commas is another character: then it is no JSON, or another document."""
    places = [place for place, letter in enumerate(message.text) if letter in '{}":,']
    place = chance.choice(places)
    return replace(message, text=message.text[:place] + "\x01" + message.text[place + 1 :])


BAD = [
    Bad("cut off", _cut, "MalformedEvent"),
    Bad("a character is another", _swapped, "MalformedEvent"),
    Bad("no object", lambda message, _: replace(message, text='["specversion", "1.0"]'), "no object"),
    Bad("too deep", lambda message, _: replace(message, text='{"data":' + "[" * 3_000), "MalformedEvent"),
    Bad("a number without end", lambda message, _: replace(message, text="1" * 3_900), "MalformedEvent"),
    Bad("not a number", _text(lambda event: event.update(data=float("nan"))), "MalformedEvent"),
    Bad("too large", _text(lambda event: event.update(data="x" * MOST_BYTES)), "OversizedMessage"),
    Bad("of another version", _text(lambda event: event.update(specversion="2.0")), "specversion"),
    Bad("without an id", _text(lambda event: event.pop("id")), "'id'"),
    Bad("with a number as id", _text(lambda event: event.update(id=7)), "id"),
    Bad("without a type", _text(lambda event: event.pop("type")), "type"),
    Bad("of another type", _text(lambda event: event.update(type="com.example.other")), "another"),
    Bad("of another key", _text(lambda event: event.update(partitionkey="other")), "another"),
    Bad("under another id", lambda message, _: replace(message, id=f"{message.id}-copy"), "another"),
    Bad("at no time", _text(lambda event: event.update(time="yesterday")), "time"),
    Bad("expired at no time", _text(lambda event: event.update(expirytime="soon")), "expirytime"),
    Bad("urgent as a text", _text(lambda event: event.update(priority="high")), "priority"),
    Bad("answered anywhere", _text(lambda event: event.update(replyto="tasks/reviewer")), "replies/"),
    Bad("with an extension of no name", _text(lambda event: event.update({"No Name": 1})), "No Name"),
    Bad("with a list as extension", _text(lambda event: event.update(tenant=["a"])), "tenant"),
    Bad("of data that its type forbids", _text(lambda event: event.update(data={"number": "seven"})), "number"),
]
UNTRUSTED = [
    Bad("not signed", _text(lambda event: event.pop("coteriesignature")), "UntrustedEvent"),
    Bad("changed", _text(lambda event: event.update(data={"number": -1})), "UntrustedEvent"),
    Bad("signed with nothing", _text(lambda event: event.update(coteriesignature="")), "UntrustedEvent"),
    Bad("signed with something", _text(lambda event: event.update(coteriesignature={"k": 1})), "UntrustedEvent"),
]


@pytest.fixture
def seed() -> int:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    return seed


@pytest.mark.parametrize("bad", [*BAD, *UNTRUSTED], ids=lambda bad: bad.name)
async def test_a_bad_message_is_a_dead_letter_and_the_event_behind_it_is_handled(log: LogStore, seed: int, bad: Bad):
    bus, chance = _bus(log, signed=bad in UNTRUSTED), random.Random(seed)
    before, behind = _events(bus, 2)
    spoilt = bad.spoil(await _message(bus, replace(before, id="bad")), chance)
    got: list[Any] = []

    async def handle(event: CloudEvent) -> None:
        got.append(event.id)

    async with served(bus, handle, group=GROUP, begin="begin"):
        await _append(bus, [await _message(bus, before), spoilt, await _message(bus, behind)])
        await until(lambda: len(got) == 2, "both events are handled")
        await until(lambda: _dead(bus, 1), "the bad one is a dead letter")

    assert got == [before.id, behind.id]
    (letter,) = await bus.dead_letters(GROUP)
    assert bad.reason in letter.reason
    assert (letter.event, letter.message.text, letter.number) == (None, spoilt.text, 1)


@pytest.mark.parametrize("is_signed", [False, True])
async def test_among_any_number_of_bad_messages_each_key_is_handled_in_order(log: LogStore, seed: int, is_signed: bool):
    bus, chance = _bus(log, signed=is_signed), random.Random(seed)
    kinds = [*BAD, *UNTRUSTED] if is_signed else BAD
    events = _events(bus, 120)
    messages, bad = [], {}
    for event in events:
        for _ in range(chance.randrange(3)):
            kind = chance.choice(kinds)
            spoilt = kind.spoil(await _message(bus, replace(event, id=f"bad-{len(bad)}")), chance)
            bad[spoilt.id] = spoilt
            messages.append(spoilt)
        messages.append(await _message(bus, event))
    got: dict[str, list[str]] = defaultdict(list)

    async def handle(event: CloudEvent) -> None:
        got[event.key].append(event.id)

    async with served(bus, handle, group=GROUP, begin="begin", concurrency=4):
        await _append(bus, messages)
        await until(lambda: sum(map(len, got.values())) == len(events), "all events are handled")
        await until(lambda: _dead(bus, len(bad)), "all others are dead letters")

    assert got == {key: [event.id for event in events if event.key == key] for key in KEYS}
    letters = await bus.dead_letters(GROUP, limit=1_000)
    assert {letter.message.id: letter.message.text for letter in letters} == {id_: m.text for id_, m in bad.items()}
    assert all(letter.reason for letter in letters)


async def test_what_was_sent_to_another_topic_or_long_ago_is_not_believed(log: LogStore):
    bus, other = _bus(log, signed=True), _bus(log, signed=True, topic="other")
    old = EventBus(log, signing=SIGNED, data_types=TYPES, max_bytes=MOST_BYTES, clock=_Yesterday())
    sound, copied, replayed = _events(bus, 3)
    got: list[Any] = []

    async def handle(event: CloudEvent) -> None:
        got.append(event.id)

    async with served(bus, handle, group=GROUP, begin="begin"):
        await _append(bus, [await _message(other, copied), await _message(old, replayed), await _message(bus, sound)])
        await until(lambda: got == [sound.id], "the sound one is handled")
        await until(lambda: _dead(bus, 2), "the others are dead letters")

    assert all("UntrustedEvent" in letter.reason for letter in await bus.dead_letters(GROUP))


async def test_a_dead_letter_that_is_requeued_unmended_is_a_dead_letter_again(log: LogStore):
    bus = _bus(log)
    (event,) = _events(bus, 1)
    spoilt = replace(await _message(bus, event), text="{")
    got: list[Any] = []

    async def handle(event: CloudEvent) -> None:
        got.append(event.id)

    async with served(bus, handle, group=GROUP, begin="begin"):
        await _append(bus, [spoilt])
        await until(lambda: _dead(bus, 1), "it is a dead letter")
        await bus.requeue(GROUP)
        await until(lambda: _failed_twice(bus), "it is one again")
        await bus.publish(TYPE, {"number": 1}, id="sound")
        await until(lambda: got == ["sound"], "the sound one is handled")


async def test_a_consumer_slower_than_its_topic_keeps_is_told_and_goes_on(log: LogStore):
    heard: list[Event] = []
    bus = EventBus(log, retention=Retention(max_messages=5), on_event=heard.append)
    got: list[int] = []

    async def handle(event: CloudEvent) -> None:
        assert isinstance(event.data, int)
        if not got:
            # Held back by nobody, its topic goes on without it.
            await bus.publish_all([bus.event(TYPE, number) for number in range(1, 41)])
        got.append(event.data)

    async with served(bus, handle, group=GROUP, prefetch=1):
        await bus.publish(TYPE, 0)
        await until(lambda: 40 in got, "the last one is handled")
        await bus.publish(TYPE, 41)
        await until(lambda: 41 in got, "and one after it")

    lost = sum(event.fields["lost"] for event in heard if event.name == "events.lost")
    assert got == sorted(got)
    assert len(got) + lost == 42
    assert lost >= 30
    assert await bus.dead_letters(GROUP) == []


TYPES = {TYPE: dict[str, int]}


class _Yesterday(SystemClock):
    """A clock that is a day behind."""

    def now(self) -> float:
        return super().now() - 86_400.0


def _bus(log: LogStore, *, signed: bool = False, topic: str = "events") -> EventBus:
    signing = SIGNED if signed else None
    return EventBus(log, topic=topic, signing=signing, data_types=TYPES, max_bytes=MOST_BYTES)


def _events(bus: EventBus, count: int) -> list[CloudEvent]:
    return [
        bus.event(TYPE, {"number": number}, id=f"good-{number}", key=KEYS[number % len(KEYS)])
        for number in range(count)
    ]


async def _message(bus: EventBus, event: CloudEvent) -> Message:
    """As this bus would append it."""
    return bus._wire.message(event)


async def _append(bus: EventBus, messages: list[Message]) -> None:
    await bus.log.append(bus.topic, messages, retention=Retention())


async def _dead(bus: EventBus, count: int) -> bool:
    return len(await bus.dead_letters(GROUP, limit=1_000)) == count


async def _failed_twice(bus: EventBus) -> bool:
    letters: list[DeadEvent] = list(await bus.dead_letters(GROUP))
    return [len(letter.failures) for letter in letters] == [2]
