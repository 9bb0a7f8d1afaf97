"""Events are CloudEvents 1.0: what coterie writes, the `cloudevents` package reads, and the other way round."""

from __future__ import annotations

import copy
import json
import math
import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as Theirs
from hypothesis import given
from hypothesis import strategies as st

from coterie.bus import CloudEvent, full_pattern, full_type, short_type
from coterie.bus.names import FAMILIES, matcher
from coterie.errors import MalformedEvent, Misuse

EVERYTHING: dict[str, Any] = {
    "source": "/desk/7",
    "id": "event-1",
    "time": "2026-11-27T10:00:00.25Z",
    "subject": "order 7",
    "data_schema": "https://example.com/order.json",
    "key": "customer-3",
    "correlation_id": "run-1",
    "causation_id": "event-0",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "priority": -3,
    "reply_to": "replies/1",
    "expires_at": 1_790_000_000.25,
    "extensions": {"tenant": "north", "attemptno": 2, "dry": True},
}
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def theirs(event: CloudEvent) -> Any:
    return JSONFormat().read(None, event.to_json().encode())


def test_what_coterie_writes_is_a_cloud_event_to_others():
    event = CloudEvent("com.example.order.placed", {"order": 7}, **EVERYTHING)

    read = theirs(event)

    assert (read.get_type(), read.get_source(), read.get_id()) == ("com.example.order.placed", "/desk/7", "event-1")
    assert (read.get_subject(), read.get_dataschema()) == ("order 7", "https://example.com/order.json")
    assert read.get_time().isoformat() == "2026-11-27T10:00:00.250000+00:00"
    assert (read.get_datacontenttype(), read.get_data()) == ("application/json", {"order": 7})
    assert {name: read.get_extension(name) for name in ("partitionkey", "correlationid", "causationid")} == {
        "partitionkey": "customer-3",
        "correlationid": "run-1",
        "causationid": "event-0",
    }
    assert (read.get_extension("tenant"), read.get_extension("dry")) == ("north", True)
    # As the extension of that name is documented: a time.
    assert read.get_extension("expirytime") == "2026-09-21T14:13:20.250000Z"


def test_what_others_write_is_an_event_to_coterie():
    attributes = {
        "type": "com.example.order.placed",
        "source": "urn:shop",
        "id": "1",
        "partitionkey": "k",
        "tenant": "n",
    }

    event = CloudEvent.from_json(JSONFormat().write(Theirs(attributes, {"order": 7})))

    assert (event.type, event.source, event.id, event.key) == ("com.example.order.placed", "urn:shop", "1", "k")
    assert (event.data, event.extensions) == ({"order": 7}, {"tenant": "n"})


@given(VALUES, st.text("abcXYZ019-._~:/?#[]@!$&'()*+,;=", min_size=1, max_size=30), TEXTS.filter(bool))
def test_any_event_comes_back_as_it_was_and_others_see_the_same_data(data: Any, source: str, subject: str):
    event = CloudEvent("com.example.thing", data, source=source, subject=subject)

    assert CloudEvent.from_json(event.to_json()) == event
    assert CloudEvent.from_dict(event.to_dict()) == event
    assert theirs(event).get_data() == data


def test_all_attributes_come_back():
    event = CloudEvent("com.example.order.placed", [1], **EVERYTHING)

    assert CloudEvent.from_json(event.to_json().encode()) == event


def test_what_is_absent_is_not_written():
    assert set(CloudEvent("com.example.thing").to_dict()) == {"specversion", "type", "source", "id", "time"}


def test_an_event_has_an_identity_and_a_time_of_its_own():
    events = [CloudEvent("com.example.thing") for _ in range(50)]

    assert len({event.id for event in events}) == 50
    assert [event.time for event in events] == sorted(event.time for event in events)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("type", ""),
        ("type", 7),
        ("type", "x" * 201),
        ("type", "order placed"),
        ("type", "order\u3000placed"),
        ("source", ""),
        ("source", "not a uri"),
        ("source", "/caf\u00e9"),
        ("source", "/100%"),
        ("source", "a<b>"),
        ("id", 1),
        ("id", "a\nb"),
        ("time", "yesterday"),
        ("time", "2026-13-40T10:00:00Z"),
        ("subject", 3),
        ("partitionkey", "x" * 201),
        ("partitionkey", 5),
        ("priority", 1.5),
        ("priority", True),
        ("priority", 2**40),
        ("expirytime", 1_790_000_000),
        ("expirytime", "soon"),
        ("traceparent", ["00"]),
        ("replyto", {}),
        ("specversion", "0.3"),
        ("datacontenttype", "application/xml"),
        ("tenant", {"a": 1}),
        ("tenant", 2.5),
        ("Tenant", "n"),
        ("data_base64", "aGVsbG8="),
    ],
)
def test_what_is_wrong_is_named(attribute: str, value: object):
    document = {**CloudEvent("com.example.thing", 1).to_dict(), attribute: value}

    with pytest.raises(MalformedEvent, match=attribute):
        CloudEvent.from_json(json.dumps(document))


@pytest.mark.parametrize("attribute", ["specversion", "type", "source", "id"])
def test_what_is_missing_is_named(attribute: str):
    document = CloudEvent("com.example.thing", 1).to_dict()
    del document[attribute]

    with pytest.raises(MalformedEvent, match=attribute):
        CloudEvent.from_dict(document)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "7", '"event"', "[" * 100_000, b"\xff\xfe", '{"data":NaN}', "1" * 5000]
)
def test_a_text_that_is_no_object_is_no_event(text: str | bytes):
    with pytest.raises(MalformedEvent):
        CloudEvent.from_json(text)


def test_null_stands_for_what_is_absent():
    document = {**CloudEvent("com.example.thing", 1).to_dict(), "subject": None, "partitionkey": None, "priority": None}

    event = CloudEvent.from_dict(document)

    assert (event.subject, event.key, event.priority) == (None, "", 0)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/geo+json", "APPLICATION/JSON"])
def test_json_of_any_kind_is_taken(kind: str):
    assert CloudEvent.from_dict({**CloudEvent("com.example.thing", 1).to_dict(), "datacontenttype": kind}).data == 1


@pytest.mark.parametrize("data", [{1, 2}, math.nan, {1: 2}, b"x", object()])
def test_data_that_are_no_json_are_refused_where_the_event_is_made(data: Any):
    with pytest.raises(MalformedEvent, match="no JSON"):
        CloudEvent("com.example.thing", data)


def test_what_the_maker_of_an_event_gets_wrong_is_named_too():
    with pytest.raises(MalformedEvent, match="partitionkey"):
        CloudEvent("com.example.thing", key="a\nb")
    with pytest.raises(MalformedEvent, match="type"):
        CloudEvent("order placed")
    with pytest.raises(MalformedEvent, match="source"):
        CloudEvent("com.example.thing", source="not a uri")
    with pytest.raises(MalformedEvent, match="'type'"):
        CloudEvent("com.example.thing", extensions={"type": "x"})


def test_own_types_have_short_names():
    event = CloudEvent("task.completed")

    assert (event.type, event.name) == ("dev.coterie.task.completed.v1", "task.completed")
    assert full_type("task.completed.v2") == "dev.coterie.task.completed.v2"
    assert short_type("dev.coterie.task.completed.v2") == "task.completed.v2"


@pytest.mark.parametrize(
    "name", ["com.example.order.placed", "order.placed", "task", "dev.coterie.", "dev.coterie.x.v1"]
)
def test_other_types_are_their_owners(name: str):
    assert (full_type(name), short_type(name)) == (name, name)


@given(st.sampled_from(sorted(FAMILIES)), st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,8}){0,2}(\.v[2-9])?", fullmatch=True))
def test_short_and_full_names_stand_for_each_other(family: str, rest: str):
    name = f"{family}.{rest}"

    assert short_type(full_type(name)) == name
    assert full_type(full_type(name)) == full_type(name)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("task.*", "task.completed", "workflow.completed"),
        ("task.completed", "task.completed", "task.completed.v2"),
        ("com.example.*", "com.example.order.placed", "comxexample.order"),
        ("*.placed", "com.example.order.placed", "com.example.order.placed.v1"),
        ("com.*.placed", "com.example.order.placed", "org.example.order.placed"),
        ("*", "anything", None),
        ("a**********b", "a-b", "a" * 5000),
    ],
)
def test_patterns_choose_types(pattern: str, matching: str, other: str | None):
    matches = matcher((full_pattern(pattern),))

    assert matches(full_type(matching))
    assert other is None or not matches(full_type(other))


@pytest.mark.parametrize("pattern", ["", "x" * 201, 7])
def test_what_is_no_pattern_is_refused(pattern: Any):
    with pytest.raises(Misuse, match="pattern"):
        full_pattern(pattern)


@pytest.mark.parametrize("instant", [math.inf, math.nan, -1, "soon", True, 1e15])
def test_an_event_expires_at_an_instant(instant: Any):
    with pytest.raises(MalformedEvent, match="expires_at"):
        CloudEvent("com.example.thing", expires_at=instant)


def test_an_event_without_a_time_has_none_when_it_is_written_again():
    document = {"specversion": "1.0", "type": "com.example.a", "source": "s", "id": "1"}

    assert CloudEvent.from_dict(document).time == ""
    assert CloudEvent.from_dict(document).to_dict() == document


@pytest.mark.parametrize("again", range(2))
def test_an_event_of_a_kind_that_was_read_before_is_read_with_the_same_care(again: int):
    document = CloudEvent("com.example.thing", 1, key="k", subject="s").to_dict()
    assert CloudEvent.from_dict(document).key == "k"

    for name in ("type", "source", "id", "time", "partitionkey", "subject"):
        for wrong in (7, None if name in ("type", "source", "id") else [], "a\x00b", "x" * 3000):
            with pytest.raises(MalformedEvent, match=name):
                CloudEvent.from_dict({**document, name: wrong})
    for name in ("type", "source"):
        with pytest.raises(MalformedEvent, match=name):
            CloudEvent.from_dict({**document, name: "a b"})
    with pytest.raises(MalformedEvent, match="specversion"):
        CloudEvent.from_dict({**document, "specversion": "0.3"})
    with pytest.raises(MalformedEvent, match="datacontenttype"):
        CloudEvent.from_dict({**document, "datacontenttype": "text/plain"})


def test_an_event_that_was_read_is_like_any_other():
    made = CloudEvent("com.example.thing", {"a": 1}, key="k")
    read = CloudEvent.from_json(made.to_json())

    assert (read, type(read), repr(read)) == (made, CloudEvent, repr(made))
    assert pickle.loads(pickle.dumps(read)) == copy.deepcopy(read) == replace(read) == made
    with pytest.raises(FrozenInstanceError):
        read.key = "other"  # type: ignore[misc]


def test_blanks_around_an_event_are_none_of_it():
    event = CloudEvent("com.example.thing", 1)

    assert CloudEvent.from_json(f" \n{event.to_json()}\n ") == event
    with pytest.raises(MalformedEvent, match="Extra data"):
        CloudEvent.from_json(f"{event.to_json()} {event.to_json()}")


@pytest.mark.parametrize(
    "instant",
    ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"],
)
def test_no_event_expires_before_1970_or_after_9999(instant: str):
    document = {**CloudEvent("com.example.a").to_dict(), "expirytime": instant}

    with pytest.raises(MalformedEvent, match="expirytime"):
        CloudEvent.from_dict(document)


def test_what_is_read_is_nested_no_deeper_than_what_may_be_made():
    def text(depth: int) -> str:
        return CloudEvent("com.example.a").to_json()[:-1] + ',"data":' + "[" * depth + "1" + "]" * depth + "}"

    event = CloudEvent.from_json(text(200))
    CloudEvent("com.example.a", event.data)
    for depth in (201, 300, 900):
        with pytest.raises(MalformedEvent, match="deep"):
            CloudEvent.from_json(text(depth))
