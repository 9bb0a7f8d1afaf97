"""What is stored as a value comes back as that value, or the error says what it is instead."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from coterie import ArtifactStore, Ref, sync
from coterie.errors import CorruptArtifact, Misuse
from coterie.ref import INLINE_BYTES
from coterie.testing import MemoryBlobs


class Report(BaseModel):
    title: str
    at: datetime
    scores: dict[str, float] = Field(default_factory=dict)
    internal_name: str = Field(default="x", alias="internalName")


@dataclass(frozen=True)
class Finding:
    path: str
    lines: tuple[int, ...]
    report: Report | None = None


@dataclass
class Findings:
    items: list[Finding] = field(default_factory=list)


REPORT = Report(title="Ü", at=datetime(2026, 1, 2, tzinfo=UTC), scores={"a": 1.5})
FINDINGS = Findings([Finding("a.py", (1, 2), REPORT), Finding("b.py", ())] * 20)


@pytest.fixture
def store() -> ArtifactStore:
    return ArtifactStore(MemoryBlobs())


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (REPORT, Report),
        (FINDINGS, Findings),
        (FINDINGS.items, list[Finding]),
        ({"one": FINDINGS.items[0]}, dict[str, Finding]),
        ([REPORT, None], list[Report | None]),
        (5, int),
        ("text", str),
        (None, None | int),
    ],
)
async def test_a_typed_value_reads_as_it_was_stored(store: ArtifactStore, value: Any, type_: Any):
    assert await store.load(await store.put(value), type_) == value


async def test_a_typed_value_is_the_same_document_as_its_json(store: ArtifactStore):
    document = {"at": "2026-01-02T00:00:00Z", "internalName": "x", "scores": {"a": 1.5}, "title": "Ü"}

    assert await store.put(REPORT) == await store.put(document)
    assert await store.load(await store.put(REPORT)) == document


async def test_what_pydantic_would_take_from_json_it_takes(store: ArtifactStore):
    class Strict(BaseModel, strict=True):
        at: datetime
        pair: tuple[int, int]

    ref = await store.put({"at": "2026-01-02T00:00:00Z", "pair": [1, 2]})

    assert (await store.load(ref, Strict)).pair == (1, 2)


async def test_a_value_of_another_type_is_the_caller_s_mistake(store: ArtifactStore):
    ref = await store.put({"title": 5})

    with pytest.raises(Misuse, match=r"holds no Report: title: .*; load it as what it was stored as"):
        await store.load(ref, Report)


@pytest.mark.parametrize("type_", [Report, list[int], int])
async def test_what_is_no_json_is_corrupt_whatever_it_is_loaded_as(store: ArtifactStore, type_: Any):
    ref = await store.put_bytes(b"{not json" * 100)

    with pytest.raises(CorruptArtifact, match=r"is not JSON: .*; read it with read_bytes"):
        await store.load(ref, type_)


@pytest.mark.parametrize(
    "value", [{1, 2}, object(), {"at": datetime(2026, 1, 2, tzinfo=UTC)}, Report, [b"bytes"], {"x": float("inf")}]
)
async def test_what_is_no_value_is_refused(store: ArtifactStore, value: Any):
    with pytest.raises(Misuse, match="not a JSON value"):
        await store.put(value)


async def test_a_model_that_holds_no_json_is_refused(store: ArtifactStore):
    class Odd(BaseModel):
        number: float

    with pytest.raises(Misuse, match="not a JSON value"):
        await store.put({"odd": Odd(number=float("nan"))})


async def test_a_value_that_holds_itself_is_refused(store: ArtifactStore):
    value: list[Any] = [REPORT]
    value.append(value)

    with pytest.raises(Misuse, match="not a JSON value"):
        await store.put(value)


async def test_a_small_model_travels_in_the_reference(store: ArtifactStore):
    ref = await store.put(Finding("a.py", (1,)))

    assert ref.is_inline
    assert await store.load(ref, Finding) == Finding("a.py", (1,))


@pytest.mark.parametrize("text", ["", "a", "é" * 200, "é" * 201, "line\r\nline\n" * 1000])
async def test_text_reads_as_it_was_stored(store: ArtifactStore, text: str):
    ref = await store.put_text(text)

    assert (ref.media_type, ref.size_bytes) == ("text/plain", len(text.encode()))
    assert ref.is_inline == (len(text.encode()) <= INLINE_BYTES)
    assert await store.load_text(ref) == text
    assert await store.read_bytes(ref) == text.encode()


async def test_text_may_be_of_a_kind(store: ArtifactStore):
    assert (await store.put_text("# Title", "text/markdown")).media_type == "text/markdown"


async def test_what_is_no_text_is_corrupt(store: ArtifactStore):
    ref = await store.put_bytes(b"\xff\xfe\x00")

    with pytest.raises(CorruptArtifact, match=r"is not UTF-8 text: .*; read it with read_bytes"):
        await store.load_text(ref)


async def test_a_media_type_that_cannot_be_is_refused_before_anything_is_stored():
    blobs = MemoryBlobs()

    with pytest.raises(Misuse, match="media type"):
        await ArtifactStore(blobs).put_bytes(b"x" * 1000, "x" * 81)

    assert blobs.objects == {}


def test_blocking_code_has_the_same(tmp_path: Path):
    store = sync.ArtifactStore(f"file://{tmp_path}/artifacts")

    assert store.load(store.put(FINDINGS), Findings) == FINDINGS
    assert store.load_text(store.put_text("text")) == "text"


async def test_references_inside_a_value_are_written_in_their_portable_form_or_with_their_place(store: ArtifactStore):
    inner = await store.put_text("long " * 200)

    outer = await store.load(await store.put({"portable": inner.portable(), "placed": inner}))

    assert store.recall(outer["portable"]) == inner
    assert store.recall(outer["placed"]) == Ref.deserialize(outer["placed"]) == inner
    assert json.loads(json.dumps(outer)) == outer
