"""References: small whatever they carry, and refused if they are not what they say."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie import PartResult, Parts, Ref
from coterie.errors import CorruptArtifact, Misuse
from coterie.items import ITEMS_MEDIA_TYPE
from coterie.ref import INLINE_BYTES, MAX_MEDIA_TYPE_CHARS, MAX_URI_BYTES

SHA = "0" * 64


def enveloped(value: Any) -> int:
    """Its size in a scheduler's database: as Airflow serialises a class instance, nested ones likewise."""

    def wrap(one: Any) -> Any:
        data = one.serialize()
        if isinstance(data.get("ref"), dict):
            data["ref"] = wrap(Ref.deserialize(data["ref"]))
        name = f"{type(one).__module__}.{type(one).__qualname__}"
        return {"__classname__": name, "__version__": 1, "__data__": data}

    return len(json.dumps(wrap(value)).encode())


@given(
    st.binary(max_size=INLINE_BYTES),
    st.sampled_from(["application/json", ITEMS_MEDIA_TYPE, "x" * MAX_MEDIA_TYPE_CHARS]),
)
def test_a_reference_that_carries_its_content_fits_a_kibibyte(content: bytes, media_type: str):
    ref = Ref.inline(content, media_type)

    assert ref.inline_bytes() == content
    assert Ref.deserialize(json.loads(json.dumps(ref.serialize())), 1) == ref
    assert enveloped(ref) <= 1024


@given(st.text(max_size=MAX_URI_BYTES))
def test_any_reference_that_can_be_made_fits_a_kibibyte(path: str):
    try:
        ref = Ref(f"s3://bucket/{path}", SHA, 2**63, "x" * MAX_MEDIA_TYPE_CHARS)
    except Misuse:
        return

    assert enveloped(ref) <= 1024


def test_the_largest_reference_that_can_be_made_fits_a_kibibyte():
    largest = Ref("s" * MAX_URI_BYTES, SHA, 2**63, "x" * MAX_MEDIA_TYPE_CHARS)

    assert enveloped(largest) <= 1024


def test_what_a_split_list_hands_on_fits_a_kibibyte():
    ref = Ref.inline(b"x" * INLINE_BYTES, ITEMS_MEDIA_TYPE)
    parts = Parts(ref, 10**9, 1024)

    assert enveloped(parts) <= 1024
    assert enveloped(PartResult(ref, parts.token, 1023, 10**6, 10**6)) <= 1024


def test_one_byte_more_than_fits_is_stored_elsewhere():
    assert Ref.inline(b"x" * INLINE_BYTES).is_inline
    with pytest.raises(Misuse, match=r"401 bytes do not fit a reference .at most 400.; store them"):
        Ref.inline(b"x" * (INLINE_BYTES + 1))


@pytest.mark.parametrize(
    "uri",
    ["s" * (MAX_URI_BYTES + 1), "é" * (MAX_URI_BYTES // 6 + 1), "\0" * MAX_URI_BYTES, "data:" + "x" * MAX_URI_BYTES],
)
def test_a_long_uri_is_refused(uri: str):
    with pytest.raises(Misuse, match="use a shorter artifact store URL"):
        Ref(uri, SHA, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"uri": 5},
        {"sha256": None},
        {"sha256": "0" * 63},
        {"sha256": "A" * 64},
        {"sha256": "../" * 21 + "a"},
        {"size_bytes": "1"},
        {"size_bytes": -1},
        {"size_bytes": True},
        {"size_bytes": 1.0},
        {"media_type": "x" * 81},
        {"media_type": "é"},
        {"media_type": "\0" * 80},
        {"media_type": '"' * 80},
        {"media_type": None},
    ],
)
def test_fields_that_cannot_be_are_refused(change: dict[str, Any]):
    data = {"uri": "file:///a", "sha256": SHA, "size_bytes": 1, "media_type": "text/plain", **change}

    with pytest.raises(Misuse):
        Ref.deserialize(data)


@pytest.mark.parametrize("data", [{}, {"uri": "file:///a"}, [], "text", None, 5])
def test_what_is_no_reference_is_refused(data: Any):
    with pytest.raises(Misuse, match=r"not a reference: .*pass what `serialize` wrote"):
        Ref.deserialize(data)


def test_a_newer_reference_asks_for_an_upgrade():
    with pytest.raises(Misuse, match="version 2, this coterie reads 1; upgrade it"):
        Ref.deserialize(Ref.inline(b"{}").serialize(), 2)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("data:application/json;base64,e30x", "has 3 bytes with SHA-256"),
        ("data:application/json;base64,e3", "is not base64"),
        ("data:application/json;base64,!!!!", "is not base64"),
        ("data:nothing", "has 0 bytes"),
    ],
)
def test_forged_content_is_found_out(uri: str, message: str):
    ref = Ref(uri, hashlib.sha256(b"{}").hexdigest(), 2)

    with pytest.raises(CorruptArtifact, match=message):
        ref.load()


def test_the_wire_format_is_as_it_always_was():
    assert f"{Ref.__module__}.{Ref.__qualname__}" == "coterie.ref.Ref"
    assert Ref.__version__ == 1
    assert Ref.inline(b"{}").serialize() == {
        "uri": "data:application/json;base64,e30=",
        "sha256": hashlib.sha256(b"{}").hexdigest(),
        "size_bytes": 2,
        "media_type": "application/json",
    }


@pytest.mark.parametrize("content", [b"\xff", b"{", b"[" * 399])
def test_an_inline_value_that_is_no_json_is_corrupt(content: bytes):
    with pytest.raises(CorruptArtifact, match="is not JSON"):
        Ref.inline(content).load()
