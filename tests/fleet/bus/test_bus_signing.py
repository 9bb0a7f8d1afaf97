"""With keys, only what was signed for its topic, not long before it arrived, is handed out."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from typing import Any

import pytest

from coterie._rules.log import Message, Retention
from coterie.bus import CloudEvent, EventBus, Signing
from coterie.bus.envelope import SIGNATURE
from coterie.errors import PolicyError
from coterie.ports import LogStore
from tests.fleet.bus.buses import numbers, received

OLD, NEW = "the old secret of the fleet", "the new secret of the fleet"
KEYS = Signing(keys={"2026-10": OLD})


@pytest.fixture
def signed(log: LogStore) -> EventBus:
    return EventBus(log, signing=KEYS)


async def message(log: LogStore, topic: str = "events") -> Message:
    (logged,) = (await log.read(topic)).messages
    return logged.message


async def refused(bus: EventBus, message: Message) -> str:
    """Why a message is not handed out; another one that is sound is."""
    await bus.log.append(bus.topic, [message], retention=Retention())
    await bus.publish("com.example.sound", "sound")
    async with bus.subscribe(group="g", begin="begin") as events:
        assert [event.data for event in await received(events, 1)] == ["sound"]
    (letter,) = await bus.dead_letters("g")
    assert letter.event is None
    return letter.reason


async def test_what_is_signed_is_handed_out_without_its_signature(signed: EventBus, log: LogStore):
    published = await signed.publish("com.example.a", {"text": "größer", "number": 1.5}, extensions={"tenant": "n"})

    async with signed.subscribe(group="g", begin="begin") as events:
        assert await received(events, 1) == [published.event]
    assert SIGNATURE in json.loads((await message(log)).text)


async def test_who_has_no_keys_reads_it_too(signed: EventBus, bus: EventBus):
    await signed.publish("com.example.a", 1)

    assert await numbers(bus.replay()) == [1]


async def test_what_is_not_signed_is_refused(signed: EventBus, bus: EventBus):
    unsigned = bus.event("com.example.a", 1)

    assert "not signed" in await refused(signed, Message(unsigned.id, unsigned.type, unsigned.to_json()))


@pytest.mark.parametrize(
    "changed", [{"data": 2}, {"subject": "x"}, {"partitionkey": "k"}, {"tenant": "m"}, {"priority": 1}, {"id": "2"}]
)
async def test_what_was_changed_is_refused(log: LogStore, signed: EventBus, changed: dict[str, Any]):
    document = signed.event("com.example.a", 1, id="1").to_dict()
    signature = KEYS.sign(document, namespace=log.namespace, topic="events", now_s=time.time())
    text = json.dumps({**document, SIGNATURE: signature, **changed})
    found = CloudEvent.from_json(text)

    assert "is wrong" in await refused(signed, Message(found.id, found.type, text, found.key, found.priority))


async def test_what_was_copied_from_another_topic_is_refused(log: LogStore, signed: EventBus):
    await EventBus(log, topic="elsewhere", signing=KEYS).publish("com.example.a", 1)

    assert "another topic" in await refused(signed, await message(log, "elsewhere"))


async def test_a_key_of_the_same_name_with_another_secret_is_refused(log: LogStore, signed: EventBus):
    stranger = EventBus(log, topic="elsewhere", signing=Signing(keys={"2026-10": NEW}))
    await stranger.publish("com.example.a", 1)

    assert "another secret" in await refused(signed, await message(log, "elsewhere"))


async def test_an_unknown_key_is_refused(log: LogStore, signed: EventBus):
    await EventBus(log, topic="elsewhere", signing=Signing(keys={"mallory": NEW})).publish("com.example.a", 1)

    assert "'mallory'" in await refused(signed, await message(log, "elsewhere"))


@pytest.mark.parametrize("signature", ["", "v1", "v2.a.1.b", f"v1.2026-10.x.{'0' * 64}", 7])
async def test_what_is_no_signature_is_refused(log: LogStore, signed: EventBus, signature: Any):
    event = signed.event("com.example.a", 1)
    text = json.dumps({**event.to_dict(), SIGNATURE: signature})

    assert (await refused(signed, Message(event.id, event.type, text))).startswith("UntrustedEvent: ")


class Yesterday:
    """A clock that is a day late."""

    def now(self) -> float:
        return time.time() - 86_400

    def monotonic(self) -> float:
        return 0.0


async def test_an_old_one_that_is_sent_again_is_refused(log: LogStore, signed: EventBus):
    old = EventBus(log, signing=KEYS, clock=Yesterday())

    await old.publish("com.example.a", 1)
    await signed.publish("com.example.a", 2)

    assert await numbers(signed.replay()) == [2]


async def test_one_that_is_sent_again_at_once_is_the_same_one(log: LogStore, signed: EventBus):
    await signed.publish("com.example.a", 1)
    sent = await message(log)

    (again,) = await log.append("events", [sent], retention=Retention())

    assert again.is_duplicate


async def test_one_that_is_sent_again_under_another_id_is_refused(log: LogStore, signed: EventBus):
    await signed.publish("com.example.a", 1)
    await log.append("events", [replace(await message(log), id="another")], retention=Retention())

    assert await numbers(signed.replay()) == [1]


async def test_keys_are_changed_one_after_the_other(log: LogStore):
    both = Signing(keys={"2026-10": OLD, "2026-11": NEW}, signs_with="2026-11")
    await EventBus(log, signing=KEYS).publish("com.example.a", 1)
    await EventBus(log, signing=both).publish("com.example.a", 2)

    assert await numbers(EventBus(log, signing=both).replay()) == [1, 2]
    assert await numbers(EventBus(log, signing=Signing(keys={"2026-11": NEW})).replay()) == [2]


async def test_a_requeued_letter_is_believed_again(signed: EventBus):
    await signed.publish("com.example.a", 1)
    async with signed.subscribe(group="g", begin="begin") as events:
        await (await anext(events)).reject("not now")
        await signed.requeue("g")
        assert [event.data for event in await received(events, 1)] == [1]


async def test_no_secret_is_ever_shown(log: LogStore, signed: EventBus, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG):
        reason = await refused(signed, Message("1", "com.example.a", "{}"))
    with pytest.raises(PolicyError) as short:
        Signing(keys={"a": "hunter2"})

    for text in (repr(KEYS), str(KEYS), reason, caplog.text, str(short.value)):
        assert OLD not in text
        assert "hunter2" not in text


def test_the_environment_says_the_keys(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COTERIE_SIGNING_KEYS", f"2026-11:{NEW}, 2026-10:{OLD}")

    signing = Signing.from_environment()

    assert signing == Signing(keys={"2026-11": NEW, "2026-10": OLD}, signs_with="2026-11")
    monkeypatch.setenv("COTERIE_SIGNING_KEYS", "")
    assert Signing.from_environment() is None


@pytest.mark.parametrize("text", [NEW, f"a b:{NEW}", "id:short", ",", f"id:{NEW},id:{OLD}"])
def test_an_environment_that_says_no_keys_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("COTERIE_SIGNING_KEYS", text)

    with pytest.raises(PolicyError) as refusal:
        Signing.from_environment()

    assert NEW not in str(refusal.value)
    assert "short" not in str(refusal.value) or "too short" in str(refusal.value)


@pytest.mark.parametrize(
    "options", [{"keys": {}}, {"keys": {"a": NEW}, "signs_with": "b"}, {"keys": {"a": NEW}, "max_age_s": 0}]
)
def test_keys_that_cannot_work_are_refused(options: dict[str, Any]):
    with pytest.raises(PolicyError):
        Signing(**options)


def test_secrets_may_be_bytes():
    assert Signing(keys={"a": NEW.encode()}) == Signing(keys={"a": NEW})
