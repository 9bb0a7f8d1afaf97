"""Whatever a JSON document refers to is found, wherever it stands and however the document is cut into chunks."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie import Ref
from coterie.artifacts.references import Found, found_in, is_json

DIGESTS = [f"{number:064x}" for number in range(4)]


def cut(document: bytes, size: int) -> list[bytes]:
    return [document[start : start + size] for start in range(0, len(document), size)]


def slowly(value: Any) -> set[Found]:
    """As anybody would read it: load the document, look at each object."""
    if isinstance(value, list):
        return set().union(*map(slowly, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    found = slowly(list(value.values()))
    if value.get("sha256") in DIGESTS:
        size, kind, uri = value.get("size_bytes"), value.get("media_type"), value.get("uri")
        follow = isinstance(kind, str) and is_json(kind)
        if isinstance(uri, str) and uri.startswith("data:"):
            return found | (slowly(json.loads(base64.b64decode(uri.partition(",")[2]))) if follow else set())
        size = size if type(size) is int and 0 <= size < 2**63 else None
        found.add(Found(value["sha256"], size, follow=follow))
    return found


KINDS = ["application/json", "application/vnd.coterie.items+json", "Application/JSON; charset=utf-8", "text/plain"]
TEXTS = st.text(max_size=8) | st.sampled_from(
    ['"', "\\", '\\"', "{", "}]", '{"sha256":', "é", "\0", "sha256", *DIGESTS]
)
PORTABLE = st.fixed_dictionaries(
    {"sha256": st.sampled_from(DIGESTS)},
    optional={
        "size_bytes": st.integers(0, 2**64) | st.just(-1) | st.just(True) | st.just(1.5),
        "media_type": st.sampled_from(KINDS) | st.none(),
        "uri": st.just("s3://bucket/x") | TEXTS,
        "else": TEXTS,
    },
)


def carried(value: Any, media_type: str) -> dict[str, Any]:
    """A reference that carries a document, and a digest that shows whether it was taken for one that does not."""
    return {**Ref.inline(json.dumps(value).encode(), media_type).serialize(), "sha256": DIGESTS[3]}


SMALL = st.fixed_dictionaries({"sha256": st.sampled_from(DIGESTS[:3]), "media_type": st.sampled_from(KINDS)})
CARRIED = st.builds(carried, SMALL | st.lists(SMALL, max_size=2), st.sampled_from(KINDS))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | PORTABLE | CARRIED,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXTS | st.sampled_from(["sha256", "uri", "media_type"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES, st.integers(1, 40), st.sampled_from([None, 2]), st.booleans())
def test_all_that_a_slow_reader_finds_is_found(value: Any, chunk_bytes: int, indent: int | None, ascii_only: bool):
    document = json.dumps([value], indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    assert set(found_in(cut(document, chunk_bytes))) == slowly(json.loads(document))


def test_what_travels_in_a_reference_is_looked_into():
    inner = {"sha256": DIGESTS[0], "size_bytes": 5, "media_type": "text/plain"}
    outer = Ref.inline(json.dumps(inner).encode(), "application/vnd.coterie.items+json").serialize()

    document = json.dumps({"output": {"ref": outer}}).encode()

    assert list(found_in([document])) == [Found(DIGESTS[0], 5)]


@pytest.mark.parametrize("uri", ["data:application/json;base64,!", "data:", "data:application/json;base64,/w=="])
def test_what_travels_in_a_forged_reference_is_passed_over(uri: str):
    document = json.dumps([{"sha256": DIGESTS[0], "size_bytes": 1, "media_type": "application/json", "uri": uri}])

    assert list(found_in([document.encode()])) == []


def test_the_members_may_stand_around_other_objects():
    document = b'{"a":{"sha256":"no"},"sha256":"%s","b":[{}],"media_type":"application/json"}' % DIGESTS[1].encode()

    assert list(found_in([document])) == [Found(DIGESTS[1], follow=True)]


@pytest.mark.parametrize("digest", ["A" * 64, "0" * 63, "0" * 65, "../" + "0" * 61, " " + "0" * 63, 5, None, [], ["0"]])
def test_what_is_no_digest_is_no_reference(digest: Any):
    assert list(found_in([json.dumps({"sha256": digest}).encode()])) == []


@pytest.mark.parametrize("beginning", [b"\xef\xbb\xbf", b" \r\n\t", b"", b" " * 100_000])
def test_a_document_may_begin_with_space_or_a_mark(beginning: bytes):
    document = beginning + b'[{"sha256":"%s"}]' % DIGESTS[0].encode()

    assert list(found_in(cut(document, 65_536))) == [Found(DIGESTS[0])]


@pytest.mark.parametrize("content", [b"\x89PNG {", b"plain text {", b'"a string"', b"5", b"\x28\xb5\x2f\xfd["])
def test_what_does_not_begin_as_a_document_is_read_no_further(content: bytes):
    read = []

    def chunks() -> Any:
        for number in range(10):
            read.append(number)
            yield content

    assert list(found_in(chunks())) == []
    assert read == [0]


@pytest.mark.parametrize("length", [100, 20_000, 300_000])
@pytest.mark.parametrize("filling", [b"x", b"\\\\", b'\\"', b"{", "é".encode(), b'\\u0022sha256\\u0022:{"'[:18]])
def test_a_string_of_any_length_hides_nothing_behind_it(filling: bytes, length: int):
    document = b'{"long":"%s","then":{"sha256":"%s"}}' % (filling * (length // len(filling)), DIGESTS[2].encode())
    json.loads(document)

    for chunk_bytes in (997, 4096, 65_536):
        assert list(found_in(cut(document, chunk_bytes))) == [Found(DIGESTS[2])]


@pytest.mark.parametrize(
    "document", [b"[" * 1_000_000, b'{"a":' * 200_000, b'["', b"[1", b'{"sha256":', b"]}]}", b"[}"]
)
def test_what_is_no_document_does_no_harm(document: bytes):
    assert list(found_in(cut(document, 65_536))) == []


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("application/json", True),
        ("APPLICATION/JSON;charset=utf-8", True),
        ("application/vnd.coterie.items+json", True),
        ("application/ld+json", True),
        ("application/jsonl", False),
        ("text/plain", False),
        ("", False),
    ],
)
def test_which_content_is_a_document(media_type: str, expected: bool):
    assert is_json(media_type) is expected
