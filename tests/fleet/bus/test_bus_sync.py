"""The bus for code that cannot await does what the other does."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator

import pytest

from coterie import bus, sync
from coterie.bus import CloudEvent
from coterie.errors import Misuse, NoReply
from coterie.sync_bus import EventBus
from tests.fleet.bus.buses import LONG_S


@pytest.fixture
def events(log_url: str, namespace: str) -> Iterator[EventBus]:
    with EventBus.open(log_url, namespace=namespace) as events:
        yield events


def test_what_is_published_is_read_again(events: EventBus):
    events.publish("com.example.a", 0, key="k")
    events.publish_all([CloudEvent("com.example.a", number) for number in range(1, 450)])

    assert [recorded.event.data for recorded in events.replay()] == list(range(450))
    assert next(events.replay(since="begin")).event.key == "k"


def test_one_waits_for_an_event(events: EventBus):
    here = events.here()
    thread = threading.Thread(target=events.publish, args=["com.example.a", 1])
    thread.start()

    assert events.wait_for("com.example.*", since=here, timeout_s=LONG_S).data == 1
    thread.join()


def test_nobody_answers(events: EventBus):
    with pytest.raises(NoReply):
        events.request("com.example.a", timeout_s=0.05)


def test_dead_letters_are_looked_at_requeued_and_removed(events: EventBus):
    async def reject() -> None:
        async with events._wrapped.subscribe(group="g", begin="begin") as some:
            await (await anext(some)).reject("no")

    events.publish("com.example.a", 1)
    sync.run(reject())

    (letter,) = events.dead_letters("g")
    assert events.requeue("g") == [letter.position]
    sync.run(reject())
    assert events.discard("g", [letter.position]) == [letter.position]
    assert events.dead_letters("g") == []


async def test_it_is_not_for_an_event_loop():
    with pytest.raises(Misuse, match="event loop"):
        EventBus.open("memory://").publish("com.example.a")


def test_both_take_the_same_arguments():
    for name in (
        "publish",
        "publish_all",
        "replay",
        "wait_for",
        "request",
        "dead_letters",
        "requeue",
        "discard",
        "here",
    ):
        one, other = (inspect.signature(getattr(kind, name)) for kind in (EventBus, bus.EventBus))
        assert list(one.parameters.items()) == list(other.parameters.items()), name
