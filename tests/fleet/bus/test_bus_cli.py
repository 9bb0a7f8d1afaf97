"""`coterie events` and `coterie dlq`: people look at events, publish them, and tend what was given up."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from coterie import sync
from coterie._rules.log import Message, Retention
from coterie.cli.app import run
from coterie.sync_bus import EventBus
from tests.support.redis_servers import wait_until


class Command:
    """Runs it on one store, and reads what it wrote."""

    def __init__(self, capsys: pytest.CaptureFixture[str], url: str, namespace: str) -> None:
        self._capsys = capsys
        self.place = ["--store", url, "--namespace", namespace]

    def __call__(self, *words: str, code: int = 0) -> str:
        assert run([*words, *self.place]) == code
        told = self._capsys.readouterr()
        return told.err if code else told.out

    def aside(self, *words: str) -> str:
        """What it says on standard error beside what it shows."""
        assert run([*words, *self.place]) == 0
        return self._capsys.readouterr().err

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))


@pytest.fixture(params=["sqlite", "redis"])
def log_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.getfixturevalue("bus_server")) if request.param == "redis" else f"sqlite://{tmp_path}/state.db"


@pytest.fixture
def coterie(capsys: pytest.CaptureFixture[str], log_url: str, namespace: str) -> Command:
    return Command(capsys, log_url, namespace)


@pytest.fixture
def events(log_url: str, namespace: str) -> Iterator[EventBus]:
    with EventBus.open(log_url, namespace=namespace) as events:
        yield events


def give_up(events: EventBus, count: int = 1, group: str = "billing") -> None:
    async def reject() -> None:
        async with events._wrapped.subscribe(group=group, begin="begin") as some:
            for _ in range(count):
                await (await anext(some)).reject("no such \x1b[31mcustomer")

    sync.run(reject())


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


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["events", "publish", "com.example.a", "{"], "no JSON"),
        (["events", "publish", "com.example.a", "--key", "k" * 300], "partitionkey"),
        (["events", "publish", "com.example.a", "--topic", "two words"], "topic"),
        (["events", "replay", "--since", "2026-13-01T00:00:00Z"], "no place"),
        (["events", "replay", "x" * 300], "pattern"),
        (["events", "replay", "--since", "yesterday"], "an age such as 15m"),
        (["events", "tail", "--since", ""], "an age such as 15m"),
        (["events", "publish", "order placed"], "without blanks"),
        (["events", "publish", "com.example.a", "--source", "not a uri"], "URI reference"),
        (["dlq", "show", "billing", "99"], "no group 'billing'; it has none"),
        (["dlq", "requeue", "billing"], "--all"),
        (["dlq", "drop", "billing", "1", "--all"], "--all"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(coterie: Command, words: list[str], named: str):
    told = coterie(*words, code=2)

    assert named in told
    assert told.count("\n") == 1


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


def test_topics_are_listed_with_their_groups(coterie: Command, events: EventBus):
    events.publish_all([events._wrapped.event("com.example.a", number) for number in range(3)])
    give_up(events)

    (topic,) = coterie.json("events", "topics")["topics"]

    assert (topic["name"], topic["messages"]) == ("events", 3)
    (group,) = topic["groups"]
    assert (group["name"], group["unread"] + group["waiting"], group["dead"]) == ("billing", 2, 1)
    assert "billing" in coterie("events", "topics")


def test_dead_letters_are_listed_and_shown(coterie: Command, events: EventBus):
    events.publish("com.example.a", {"order": 7}, key="k")
    give_up(events)

    (letter,) = coterie.json("dlq", "list")["dead_letters"]

    assert (letter["group"], letter["type"], letter["deliveries"]) == ("billing", "com.example.a", 1)
    assert letter["event"]["data"] == {"order": 7}
    listed = coterie("dlq")
    assert letter["position"] in listed
    assert "\x1b" not in listed
    shown = coterie("dlq", "show", "billing", letter["position"])
    assert '{"order": 7}' in shown
    assert f"coterie dlq requeue billing {letter['position']}" in shown
    assert coterie.json("dlq", "show", "billing", letter["position"]) == letter


def test_what_is_no_event_is_shown_as_it_was_found(coterie: Command, events: EventBus):
    sync.run(events._wrapped.log.append("events", [Message("1", "com.example.a", "{x\x1b")], retention=Retention()))
    events.publish("com.example.a", 1)
    give_up(events)

    first, _ = coterie.json("dlq", "list")["dead_letters"]

    assert (first["event"], first["text"]) == (None, "{x\x1b")
    shown = coterie("dlq", "show", "billing", first["position"])
    assert "{x" in shown
    assert "\x1b" not in shown


def test_a_long_list_says_that_there_are_more(coterie: Command, events: EventBus):
    events.publish_all([events._wrapped.event("com.example.a", number) for number in range(3)])
    give_up(events, 3)

    assert "--limit 4" in coterie("dlq", "list", "--limit", "2")
    assert coterie.json("dlq", "list", "--limit", "2")["more"]
    assert not coterie.json("dlq", "list", "--limit", "3")["more"]


def test_other_topics_and_groups_are_listed_when_asked_for(coterie: Command, events: EventBus):
    events.publish("com.example.a")
    give_up(events, group="billing")
    give_up(events, group="shipping")
    other = EventBus(type(events._wrapped)(events._wrapped.log, topic="tasks/linter"))
    other.publish("com.example.b")
    give_up(other, group="workers")

    def groups(*words: str) -> list[str]:
        return [letter["group"] for letter in coterie.json("dlq", "list", *words)["dead_letters"]]

    assert groups() == ["billing", "shipping"]
    assert groups("--group", "shipping") == ["shipping"]
    assert groups("--topic", "tasks/linter") == ["workers"]
    assert groups("--all-topics") == ["billing", "shipping", "workers"]


def test_dead_letters_are_delivered_again(coterie: Command, events: EventBus):
    events.publish_all([events._wrapped.event("com.example.a", number) for number in range(3)])
    give_up(events, 3)
    letters = coterie.json("dlq", "list")["dead_letters"]

    assert coterie("dlq", "requeue", "billing", letters[1]["position"]) == "1 dead letter of billing delivered again\n"
    assert len(coterie.json("dlq", "requeue", "billing", "--all")["positions"]) == 2

    give_up(events, 3)
    assert sorted(one["event"]["data"] for one in coterie.json("dlq", "list")["dead_letters"]) == [0, 1, 2]


def test_dead_letters_are_removed(coterie: Command, events: EventBus):
    events.publish("com.example.a")
    give_up(events)

    assert coterie("dlq", "drop", "billing", "--all") == "1 dead letter of billing removed\n"
    assert coterie("dlq").startswith("no dead letters of the topic 'events' in ")


def test_looking_makes_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    coterie = Command(capsys, f"sqlite://{tmp_path}/state.db", "default")

    assert coterie("events", "topics").startswith("no topics in ")
    assert coterie("events", "replay") == ""
    assert (
        coterie.aside("events", "replay") == f"no events of the topic 'events' in sqlite://{tmp_path}/state.events.db\n"
    )
    coterie("dlq", "list")

    assert list(tmp_path.iterdir()) == []


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


def test_dead_letters_elsewhere_are_mentioned(coterie: Command, events: EventBus):
    for topic in ("tasks/linter", "tasks/odd"):
        other = EventBus(type(events._wrapped)(events._wrapped.log, topic=topic))
        other.publish_all([other._wrapped.event("com.example.b", number) for number in range(3)])
        give_up(other, 3 if topic == "tasks/odd" else 1, group="workers")
        if topic == "tasks/linter":
            assert coterie("dlq", "list").endswith(
                "; 1 in the topic 'tasks/linter': --topic tasks/linter, or --all-topics\n"
            )

    told = coterie("dlq", "list")

    assert told.startswith("no dead letters of the topic 'events' in ")
    assert told.endswith("; 4 in the topics 'tasks/linter', 'tasks/odd': --topic NAME, or --all-topics\n")
    assert "; " not in coterie("dlq", "list", "--group", "shipping")


@pytest.mark.parametrize("act", ["requeue", "drop"])
def test_a_group_that_is_not_there_is_named_with_those_that_are(coterie: Command, events: EventBus, act: str):
    events.publish("com.example.a")
    give_up(events)
    other = EventBus(type(events._wrapped)(events._wrapped.log, topic="tasks/linter"))
    other.publish("com.example.b")
    give_up(other, group="workers")

    assert "no group 'biling'; it has 'billing'; 'coterie" in coterie("dlq", act, "biling", "--all", code=2)
    told = coterie("dlq", act, "workers", "--all", code=2)
    assert "no group 'workers'; it has 'billing'; one of that name is in 'tasks/linter': --topic" in told
    assert "no dead letter at '99'" in coterie("dlq", "show", "billing", "99", code=2)
