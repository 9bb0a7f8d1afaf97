"""JSON values: their one canonical form, and pointers into them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie._json import MAX_DEPTH, canonical_bytes, content_shape, pointer_get, require_json
from coterie.errors import Misuse

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("aé€\U0001f600/~"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_the_canonical_form_reads_back_and_is_the_only_one(value: Any):
    content = canonical_bytes(value)

    assert json.loads(content) == value
    assert canonical_bytes(json.loads(content)) == content


@given(st.dictionaries(st.text(max_size=3), values, max_size=5))
def test_the_order_of_fields_changes_nothing(document: dict[str, Any]):
    backwards = dict(reversed(document.items()))

    assert canonical_bytes(backwards) == canonical_bytes(document)


@given(values)
def test_a_json_value_comes_back_as_an_equal_copy(value: Any):
    copy = require_json(value, "value")

    assert copy == value
    assert copy is not value or not isinstance(value, (list, dict))


@pytest.mark.parametrize("value", [{1, 2}, object(), float("inf"), {"a": 1, 2: 3}, "\ud800", [b"x"]])
def test_what_json_cannot_say_has_no_canonical_form(value: object):
    with pytest.raises(Misuse, match="not a JSON value"):
        canonical_bytes(value)


@pytest.mark.parametrize(
    ("pointer", "found"),
    [
        ("", {"a": [10, {"b/c": 1, "m~n": 2, "": 3}], "0": "zero"}),
        ("/a/0", 10),
        ("/a/1/b~1c", 1),
        ("/a/1/m~0n", 2),
        ("/a/1/", 3),
        ("/0", "zero"),
    ],
)
def test_a_pointer_finds_what_lies_there(pointer: str, found: Any):
    document = {"a": [10, {"b/c": 1, "m~n": 2, "": 3}], "0": "zero"}

    assert pointer_get(document, pointer, "here") == found


@pytest.mark.parametrize("pointer", ["/b", "/a/2", "/a/-", "/a/-1", "/a/01", "/a/\u0660", "/a/" + "9" * 5000, "/a/0/x"])
def test_a_pointer_to_nothing_names_the_step(pointer: str):
    with pytest.raises(Misuse, match=r"here: nothing lies at .* correct the pointer"):
        pointer_get({"a": [10, 20]}, pointer, "here")


def test_a_document_is_measured_without_being_unfolded():
    bomb: Any = "x"
    for _ in range(60):
        bomb = [bomb] * 10

    assert content_shape(bomb, 1000)[0] > 1000
    assert content_shape([[1, 2], {"a": 3}], 1000) == (6, 3)


def test_measuring_stops_where_a_document_holds_itself():
    endless: list[Any] = []
    endless.append(endless)

    assert content_shape(endless, 1000)[1] > MAX_DEPTH
