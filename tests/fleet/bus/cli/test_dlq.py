"""`coterie dlq`: people tend what groups have given up."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie import sync
from coterie._rules.log import Message, Retention
from coterie.sync_bus import EventBus
from tests.fleet.bus.cli.commands import Command, give_up


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
