"""The bus for code that cannot await does what the other does."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coterie import Event, bus, sync
from coterie.bus import BusListener, CloudEvent
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


def test_both_are_opened_alike_but_for_the_clock():
    one, other = (inspect.signature(kind.open).parameters for kind in (EventBus, bus.EventBus))

    assert [*one.items(), ("clock", other["clock"])] == list(other.items())


def test_a_forked_process_asks_for_itself(tmp_path: Path):
    url = f"sqlite://{tmp_path}/state.db"
    with EventBus.open(url) as asking, EventBus.open(url) as answering:
        serving = sync.begin(answering._wrapped.serve(lambda event: event.data, group="g", begin="begin"))
        assert asking.request("com.example.a", 1, timeout_s=LONG_S).data == 1

        assert _forked(lambda: asking.request("com.example.a", 2, timeout_s=LONG_S).data == 2)

        assert asking.request("com.example.a", 3, timeout_s=LONG_S).data == 3
        serving.cancel()


def test_a_forked_process_publishes_what_it_is_told_and_nothing_of_its_parents(tmp_path: Path):
    with EventBus.open(f"sqlite://{tmp_path}/state.db") as events:
        listener = BusListener(events._wrapped)
        listener(Event("task.started", "parent"))

        async def tell(run: str) -> None:
            listener(Event("task.started", run))
            await listener.aclose()

        def child() -> bool:
            sync.run(tell("child"))
            return True

        assert _forked(child)
        sync.run(tell("parent"))

        assert [one.event.key for one in events.replay()] == ["child", "parent", "parent"]


def _forked(work: Callable[[], bool]) -> bool:
    """Whether it holds in a forked process."""
    pid = os.fork()
    if pid == 0:
        holds = False
        try:
            holds = work()
        finally:
            os._exit(0 if holds else 1)
    return os.waitpid(pid, 0)[1] == 0
