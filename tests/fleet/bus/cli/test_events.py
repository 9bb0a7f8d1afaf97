"""`coterie events`: people look at events, and publish them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coterie import sync
from coterie._rules.log import Message, Retention
from coterie.sync_bus import EventBus
from tests.fleet.bus.cli.commands import Command
from tests.support.redis_servers import wait_until


def test_an_event_is_published_and_read_again(coterie: Command, events: EventBus):
    told = coterie.json(
        *("events", "publish", "com.example.placed", '{"order": 7}', "--key", "k", "--subject", "order 7"),
        *("--id", "1", "--correlation-id", "run-1", "--source", "urn:shop", "--priority", "3"),
    )

    (recorded,) = events.replay()
    assert told == {
        "store": events._wrapped.log.url,
        "topic": "events",
        "position": recorded.position,
        "is_duplicate": False,
        "event": recorded.event.to_dict(),
    }
    event = recorded.event
    assert (event.data, event.key, event.subject, event.source) == ({"order": 7}, "k", "order 7", "urn:shop")
    assert (event.id, event.correlation_id, event.priority) == ("1", "run-1", 3)


def test_people_are_told_where_an_event_lies_and_that_it_was_there(coterie: Command):
    first, store = coterie("events", "publish", "task.completed", "--id", "1").splitlines()
    again, same_store = coterie("events", "publish", "task.completed", "--id", "1").splitlines()

    assert first.startswith("task.completed 1 at ")
    assert again == f"{first} (it was there already)"
    assert store == same_store
    assert store.startswith(f"  in {coterie.place[1].removesuffix('state.db')}")


def test_data_come_from_standard_input_too(coterie: Command, events: EventBus, monkeypatch: pytest.MonkeyPatch):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("[1, 2]"))
    coterie("events", "publish", "com.example.a", "-")

    assert next(events.replay()).event.data == [1, 2]


def test_what_is_kept_is_shown_by_type_and_time(coterie: Command, events: EventBus):
    events.publish("task.completed", {"n": 1}, subject="run-1/a")
    second = events.publish("com.example.a", {"n": 2})
    events.publish("task.failed", {"n": 3})

    def shown(*words: str) -> list[int]:
        lines = coterie("events", "replay", "--json", *words).splitlines()
        return [json.loads(line)["event"]["data"]["n"] for line in lines]

    hour = timedelta(hours=1)
    now = datetime.now(UTC)
    assert shown() == [1, 2, 3]
    assert shown("task.*") == [1, 3]
    assert shown("--limit", "1") == [1]
    assert shown("--since", second.position) == [3]
    assert shown("--until", second.position) == [1, 2]
    assert shown("--since", "1h") == [1, 2, 3]
    assert shown("--since", (now + hour).isoformat()) == []
    assert shown("--until", (now - hour).strftime("%Y-%m-%dT%H:%M:%S")) == []
    lines = coterie("events", "replay").splitlines()
    assert "task.completed  run-1/a" in lines[0]
    assert lines[0].endswith('{"n": 1}')


def test_a_tail_shows_what_comes_until_it_is_told_to_end(coterie: Command, events: EventBus, tmp_path: Path):
    output = tmp_path / "lines"
    events.publish("com.example.a", 0)
    with output.open("w") as lines:
        words = ["events", "tail", "com.*", "--since", "begin", "--json", *coterie.place]
        tail = subprocess.Popen([sys.executable, "-m", "coterie", *words], stdout=lines)
        try:
            wait_until(lambda: output.read_text().count("\n") == 1, "the first is shown")
            events.publish("com.example.a", 1)
            wait_until(lambda: output.read_text().count("\n") == 2, "the second is shown")
        finally:
            tail.send_signal(signal.SIGTERM)
            assert tail.wait(20) == 0

    assert [json.loads(line)["event"]["data"] for line in output.read_text().splitlines()] == [0, 1]


def test_what_belongs_together_is_shown_alone(coterie: Command, events: EventBus):
    for number, of_run in enumerate(("run-1", "run-2", "run-1", None)):
        events.publish("com.example.a", number, correlation_id=of_run)

    def shown(*words: str) -> list[int]:
        lines = coterie("events", *words, "--correlation-id", "run-1", "--json").splitlines()
        return [json.loads(line)["event"]["data"] for line in lines]

    assert shown("replay") == shown("tail", "--since", "begin", "--limit", "2") == [0, 2]


def test_a_tail_ends_after_so_many(coterie: Command, events: EventBus):
    events.publish_all([events._wrapped.event("com.example.a", number) for number in range(3)])

    assert coterie("events", "tail", "--since", "begin", "--limit", "2", "--json").count("\n") == 2


def test_a_store_in_memory_is_nobody_elses(capsys: pytest.CaptureFixture[str]):
    assert "in memory" in Command(capsys, "memory://", "default")("events", "topics", code=2)


def test_what_is_published_is_signed_with_the_keys_of_the_environment(
    coterie: Command, events: EventBus, monkeypatch: pytest.MonkeyPatch
):
    events.publish("com.example.a", "unsigned")
    monkeypatch.setenv("COTERIE_SIGNING_KEYS", "2026-11:a secret of the fleet")
    coterie("events", "publish", "com.example.a", '"signed"')

    assert '"signed"' in coterie("events", "replay")
    assert "unsigned" not in coterie("events", "replay")


def test_what_is_not_signed_as_it_must_be_is_counted(
    coterie: Command, events: EventBus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COTERIE_SIGNING_KEYS", "old:the old secret of the fleet")
    for _ in range(3):
        coterie("events", "publish", "com.example.a")
    monkeypatch.setenv("COTERIE_SIGNING_KEYS", "new:the new secret of the fleet")

    told = coterie.aside("events", "replay")

    first = next(iter(sync.run(events._wrapped.log.read("events")).messages)).position
    assert told.startswith(f"3 passed over: not signed as COTERIE_SIGNING_KEYS asks for; the first at {first}: ")
    assert "'old', which is none of the keys ['new']" in told
    assert told.count("\n") == 1
    assert coterie("events", "replay") == coterie("events", "replay", "--json") == ""


def test_what_is_no_event_is_counted_apart(coterie: Command, events: EventBus, monkeypatch: pytest.MonkeyPatch):
    sync.run(events._wrapped.log.append("events", [Message("1", "com.example.a", "{\x1b")], retention=Retention()))
    events.publish("com.example.a", "seen")

    told = coterie.aside("events", "replay")

    assert told.startswith("1 passed over: no events; the first at ")
    assert "\x1b" not in told
    assert '"seen"' in coterie("events", "replay")


def test_a_tail_says_at_once_and_at_its_end_what_it_passes_over(
    coterie: Command, events: EventBus, monkeypatch: pytest.MonkeyPatch
):
    events.publish_all([events._wrapped.event("com.example.a", number) for number in range(2)])
    monkeypatch.setenv("COTERIE_SIGNING_KEYS", "new:the new secret of the fleet")
    coterie("events", "publish", "com.example.a")

    first, last = coterie.aside("events", "tail", "--since", "begin", "--limit", "1").splitlines()

    assert first.startswith("passed over at ")
    assert last.startswith("2 passed over: not signed ")


def test_why_nothing_is_shown_is_said(coterie: Command, events: EventBus):
    assert coterie.aside("events", "replay").startswith("no events of the topic 'events' in ")
    assert coterie.aside("events", "replay", "--topic", "x").startswith("no events of the topic 'x' in ")

    events.publish("com.example.a")

    assert coterie.aside("events", "replay") == ""
    assert coterie.aside("events", "replay", "task.*").startswith(
        "nothing of these types and times in the topic 'event"
    )


def test_a_tail_says_that_there_is_nothing_yet(coterie: Command, tmp_path: Path):
    told = tmp_path / "told"
    with told.open("w") as lines:
        words = ["events", "tail", "--topic", "x", *coterie.place]
        tail = subprocess.Popen([sys.executable, "-m", "coterie", *words], stderr=lines)
        try:
            wait_until(lambda: told.read_text().endswith(" yet\n"), "it is said")
        finally:
            tail.send_signal(signal.SIGTERM)
            assert tail.wait(20) == 0

    assert told.read_text().startswith("no events of the topic 'x' in ")


def test_a_position_that_was_not_reached_is_none(coterie: Command, events: EventBus):
    last = events.publish("com.example.a").position
    later = f"{int(last.split('-')[0]) + 983}" + ("-0" if "-" in last else "")

    for words in (["replay", "--since", later], ["replay", "--until", later], ["tail", "--since", later]):
        assert f"has no {later} yet (the last is {last})" in coterie("events", *words, code=2)
    assert "an age such as 15m" in coterie("events", "replay", "--since", "7" if "-" in last else "7-0", code=2)
    assert coterie("events", "replay", "--since", last) == ""
