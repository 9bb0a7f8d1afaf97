"""Garbage collection: what is reachable or young stays, all else goes, and no race loses what was stored."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie import ArtifactStore, ErrorInfo, Ref, TaskResult, WorkflowResult, sync
from coterie.artifacts import Amount
from coterie.errors import MissingArtifact, Misuse, PolicyError
from coterie.items import load_items, store_items
from coterie.result import ItemResult
from coterie.testing import FaultyBlobs, ManualClock, MemoryBlobs

DAY_S = 86_400.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def blobs(clock: ManualClock) -> MemoryBlobs:
    return MemoryBlobs(clock=clock)


@pytest.fixture
def store(blobs: MemoryBlobs) -> ArtifactStore:
    return ArtifactStore(blobs)


def text(number: int) -> str:
    return f"content number {number} " * 40


async def there(store: ArtifactStore, ref: Ref) -> bool:
    try:
        await store.read_bytes(ref)
    except MissingArtifact:
        return False
    return True


async def test_what_nothing_refers_to_and_is_old_goes(store: ArtifactStore, clock: ManualClock):
    kept, lost = await store.put_text(text(1)), await store.put_text(text(2))
    clock.advance(DAY_S)
    young = await store.put_text(text(3))

    report = await store.collect([kept], min_age_s=DAY_S)

    assert [await there(store, ref) for ref in (kept, lost, young)] == [True, False, True]
    assert (report.seen, report.reachable, report.young, report.deleted) == (
        Amount(3, kept.size_bytes + lost.size_bytes + young.size_bytes),
        Amount(1, kept.size_bytes),
        Amount(1, young.size_bytes),
        Amount(1, lost.size_bytes),
    )
    assert (report.unread, report.foreign, report.unfinished) == (0, Amount(), Amount())


async def test_a_dry_run_says_the_same_and_deletes_nothing(store: ArtifactStore, blobs: MemoryBlobs):
    refs = [await store.put_text(text(number)) for number in range(5)]
    before = dict(blobs.objects)

    report = await store.collect(refs[:2], min_age_s=0, dry_run=True)

    assert blobs.objects == before
    assert (report.dry_run, report.deleted.objects, report.reachable.objects) == (True, 3, 2)
    again = await store.collect(refs[:2], min_age_s=0)
    assert (again.deleted, again.reachable) == (report.deleted, report.reachable)
    assert len(blobs.objects) == 2


@pytest.mark.parametrize("age_s", [DAY_S - 1, DAY_S])
async def test_the_minimum_age(store: ArtifactStore, clock: ManualClock, age_s: float):
    ref = await store.put_text(text(1))
    clock.advance(age_s)

    await store.collect([], min_age_s=DAY_S)

    assert await there(store, ref) is (age_s < DAY_S)


async def test_content_that_is_stored_again_is_young_again(store: ArtifactStore, clock: ManualClock):
    ref = await store.put_text(text(1))
    clock.advance(DAY_S)
    await store.put_text(text(1))
    clock.advance(DAY_S - 1)

    await store.collect([], min_age_s=DAY_S)

    assert await there(store, ref)


async def test_what_is_reachable_may_be_told_in_several_ways(store: ArtifactStore):
    refs = [await store.put_text(text(number)) for number in range(6)]

    async def coming() -> AsyncIterator[str | Ref]:
        yield refs[0]
        yield refs[1].sha256

    await store.collect(coming(), min_age_s=0, dry_run=True)
    reports = [
        await store.collect(reachable, min_age_s=0, dry_run=True)
        for reachable in (coming(), iter(refs[:2]), {refs[0].sha256, refs[1].sha256}, [refs[0], refs[0], refs[1]])
    ]

    assert [report.reachable.objects for report in reports] == [2, 2, 2, 2]


@pytest.mark.parametrize("wrong", ["abc", "A" * 64, "../" + "0" * 61, None, 5, {"sha256": "0" * 64}])
async def test_what_says_nothing_that_is_reachable_is_refused(store: ArtifactStore, wrong: Any):
    ref = await store.put_text(text(1))

    with pytest.raises(Misuse, match="give references, or SHA-256 digests in lower case"):
        await store.collect([ref, wrong], min_age_s=0)

    assert await there(store, ref)


@pytest.mark.parametrize("min_age_s", [-1, float("nan"), float("inf")])
async def test_an_age_that_cannot_be_is_refused(store: ArtifactStore, min_age_s: float):
    with pytest.raises(PolicyError, match="the minimum age of garbage is"):
        await store.collect([], min_age_s=min_age_s)


async def test_an_empty_store_has_no_garbage(store: ArtifactStore, tmp_path: Path):
    assert (await store.collect([], min_age_s=0)).seen == Amount()
    assert (await ArtifactStore(f"file://{tmp_path}/none").collect([], min_age_s=0)).seen == Amount()
    assert not (tmp_path / "none").exists()


# What documents refer to.


async def test_references_inside_documents_are_followed(store: ArtifactStore):
    leaf = await store.put_text(text(1))
    portable = await store.put({"padding": text(2), "deep": [{"in": {"here": leaf.portable()}}]})
    placed = await store.put({"padding": text(3), "ref": portable.serialize()}, media_type="application/vnd.x+json")
    lost = await store.put_text(text(4))

    report = await store.collect([placed], min_age_s=0)

    assert [await there(store, ref) for ref in (leaf, portable, placed, lost)] == [True, True, True, False]
    assert report.reachable.objects == 3


async def test_a_root_of_which_only_the_hash_is_known_is_followed_too(store: ArtifactStore):
    leaf = await store.put_text(text(1))
    document = await store.put({"padding": text(2), "leaf": leaf.portable()})

    await store.collect([document.sha256], min_age_s=0)

    assert await there(store, leaf)


async def test_compressed_documents_are_followed(blobs: MemoryBlobs):
    store = ArtifactStore(blobs, compress="zstd")
    leaves = [await store.put_text(text(number) * 20) for number in range(3)]
    by_hash = await store.put({"padding": text(8) * 20, "leaf": leaves[0].portable()})
    by_reference = await store.put({"padding": text(9) * 20, "leaf": leaves[1].portable()})
    assert all(name.endswith(".zst") for name in blobs.objects)

    report = await store.collect([by_hash.sha256, by_reference], min_age_s=0)

    assert [await there(store, leaf) for leaf in leaves] == [True, True, False]
    assert (report.seen.objects, report.reachable.objects, report.deleted.objects) == (5, 4, 1)


async def test_references_inside_other_content_are_not_followed(store: ArtifactStore):
    leaf = await store.put_text(text(1))
    document = json.dumps({"padding": text(2), "leaf": leaf.portable()})

    await store.collect([await store.put_text(document)], min_age_s=0)

    assert not await there(store, leaf)


async def test_what_a_document_that_travels_in_a_reference_refers_to_is_followed(store: ArtifactStore):
    leaf = await store.put_text(text(1))
    carried = await store.put({"leaf": leaf.portable()})
    assert carried.is_inline
    holder = await store.put({"padding": text(2), "carried": carried.serialize()})

    for root in (carried, holder):
        report = await store.collect([root], min_age_s=0, dry_run=True)
        assert report.deleted.objects == (1 if root is carried else 0)


async def test_the_items_of_a_foreach_are_followed(store: ArtifactStore):
    outputs = [await store.put_text(text(number)) for number in range(4)]
    items = [ItemResult(number, str(number), "succeeded", output) for number, output in enumerate(outputs[:3])]

    index = await store_items(store, items)
    await store.collect([index], min_age_s=0)

    assert [await there(store, output) for output in outputs] == [True, True, True, False]
    assert [item.output for item in await load_items(store, index)] == outputs[:3]


async def test_a_stored_result_of_a_run_keeps_its_outputs(store: ArtifactStore):
    outputs = [await store.put_text(text(number)) for number in range(3)]
    tasks = {
        "good": TaskResult("good", "succeeded", outputs[0]),
        "bad": TaskResult("bad", "failed", error=ErrorInfo("X", "went wrong")),
        "fine": TaskResult("fine", "succeeded", outputs[1]),
    }
    result = WorkflowResult.of("w", "plan", "hash", tasks, ("fine",), started_at=0.0, duration_s=1.0)

    await store.collect([await store.put(result.to_dict())], min_age_s=0)

    assert [await there(store, output) for output in outputs] == [True, True, False]


async def test_documents_that_refer_to_each_other_end(blobs: MemoryBlobs, store: ArtifactStore):
    # No document can hold its own hash, so the circle is forged.
    first, second = "a" * 64, "b" * 64
    for name, other in ((first, second), (second, first)):
        content = json.dumps({"sha256": other, "size_bytes": 131, "media_type": "application/json"}).encode()
        assert len(content) == 131
        blobs.objects[f"default/sha256/{name[:2]}/{name}"] = content

    report = await store.collect([first], min_age_s=0)

    assert (report.reachable.objects, report.unread) == (2, 2)


async def test_each_document_is_read_once(clock: ManualClock):
    counted = FaultyBlobs(MemoryBlobs(clock=clock))
    store = ArtifactStore(counted)
    refs = [await store.put({"padding": text(0)})]
    for number in range(1, 60):
        refs.append(await store.put({"padding": text(number), "before": [ref.portable() for ref in refs[-5:]] * 2}))
    counted.calls.clear()

    report = await store.collect([refs[-1], *refs, *(ref.sha256 for ref in refs)], min_age_s=0)

    assert report.reachable.objects == 60
    assert sorted(name for what, name in counted.calls if what == "chunks") == sorted(
        ref.uri.removeprefix(f"{store.url}/") for ref in refs
    )


async def test_a_chain_of_any_length_is_followed(store: ArtifactStore):
    ref = await store.put_text(text(0))
    for number in range(1, 300):
        ref = await store.put({"padding": text(number), "next": ref.portable()})

    assert (await store.collect([ref], min_age_s=0)).reachable.objects == 300


async def test_content_named_as_data_and_as_a_document_is_followed(store: ArtifactStore):
    leaf = await store.put_text(text(1))
    document = await store.put({"padding": text(2), "leaf": leaf.portable()})
    as_data = Ref(document.uri, document.sha256, document.size_bytes, "application/octet-stream")

    for roots in ([as_data, document], [document, as_data]):
        assert (await store.collect(roots, min_age_s=0, dry_run=True)).reachable.objects == 2


async def test_a_document_that_cannot_be_read_is_reported_and_all_else_goes_on(
    blobs: MemoryBlobs, store: ArtifactStore
):
    leaf = await store.put_text(text(1))
    torn = await store.put({"padding": text(2), "leaf": leaf.portable(), "zz": text(3)})
    gone = store.reference("f" * 64, 1000, "application/json")
    name = torn.uri.removeprefix(f"{store.url}/")
    blobs.objects[name] = blobs.objects[name][:-3]

    report = await store.collect([torn, gone, "e" * 64], min_age_s=0)

    assert (report.unread, sorted(report.unread_named)) == (3, sorted([torn.sha256, "e" * 64, "f" * 64]))
    assert torn.uri.removeprefix(f"{store.url}/") in blobs.objects


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.booleans())
def test_exactly_what_is_reachable_stays_of_any_graph(seed: int, count: int, compressed: bool):
    chance = random.Random(seed)
    blobs = MemoryBlobs()
    store = ArtifactStore(blobs, compress="zstd" if compressed else None)
    refs: list[Ref] = []
    inner: dict[str, set[str]] = {}

    async def run() -> None:
        for number in range(count):
            named = chance.sample(refs, min(len(refs), chance.randrange(4)))
            forms = [ref.portable() if chance.random() < 0.5 else ref.serialize() for ref in named]
            padding = text(number) * chance.choice((0, 1, 10))
            ref = await store.put({"number": number, "padding": padding, "list": [forms, {"x": forms[:1]}]})
            refs.append(ref)
            inner[ref.sha256] = {one.sha256 for one in named}.union(
                *(inner[one.sha256] for one in named if one.is_inline)
            )
        roots = chance.sample(refs, chance.randrange(min(4, count) + 1))
        expected, pending = set(), [ref.sha256 for ref in roots]
        while pending:
            digest = pending.pop()
            if digest not in expected:
                expected.add(digest)
                pending += inner[digest]
        await store.collect(
            [root if root.is_inline or chance.random() < 0.5 else root.sha256 for root in roots], min_age_s=0
        )
        stored = {ref.sha256 for ref in refs if not ref.is_inline}
        kept = {name.rpartition("/")[2].removesuffix(".zst") for name in blobs.objects}
        assert kept == expected & stored

    asyncio.run(run())


# What is not ours, or not finished.


async def test_another_namespace_is_left_alone(blobs: MemoryBlobs, store: ArtifactStore):
    theirs = ArtifactStore(blobs, namespace="theirs")
    ref = await theirs.put_text(text(1))

    report = await store.collect([], min_age_s=0)

    assert report.seen == Amount()
    assert await there(theirs, ref)


@pytest.mark.parametrize(
    "name", ["README", "ab/README", "ab/" + "b" * 64, "ab/" + "ab" * 32 + ".gz", "ab" * 32, "ab/ab/" + "ab" * 32]
)
async def test_what_is_not_named_by_a_digest_is_left_alone(blobs: MemoryBlobs, store: ArtifactStore, name: str):
    blobs.objects[f"default/sha256/{name}"] = b"foreign"

    report = await store.collect([], min_age_s=0)

    assert report.foreign == Amount(1, 7)
    assert len(blobs.objects) == 1


async def test_what_killed_processes_left_is_swept_after_the_minimum_age(tmp_path: Path):
    store = ArtifactStore(f"file://{tmp_path}/artifacts")
    ref = await store.put_text(text(1))
    stored = tmp_path / ref.uri.removeprefix(f"file://{tmp_path}/")
    old, new = (stored.with_name(f"{ref.sha256}.{number}.partial") for number in ("0a", "0b"))
    foreign = stored.with_name("notes.partial")
    for path in (old, new, foreign):
        path.write_bytes(b"half")
    for path in (old, foreign):
        os.utime(path, (1.0, 1.0))

    reports = [await store.collect([ref], min_age_s=DAY_S, dry_run=dry_run) for dry_run in (True, False)]

    assert [report.unfinished for report in reports] == [Amount(1, 4)] * 2
    assert [path.exists() for path in (stored, old, new, foreign)] == [True, False, True, True]


def test_blocking_code_collects_too(tmp_path: Path):
    store = sync.ArtifactStore(f"file://{tmp_path}/artifacts")
    kept, _ = store.put_text(text(1)), store.put_text(text(2))

    report = store.collect([kept], min_age_s=0)

    assert (report.reachable.objects, report.deleted.objects) == (1, 1)
