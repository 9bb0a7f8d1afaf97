"""The artifact store: content lies once, is verified when read, and never outside its root and namespace."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from coterie import ArtifactStore, Ref
from coterie.errors import CorruptArtifact, ForbiddenLocation, MissingArtifact, Misuse, PolicyError, Unavailable
from coterie.ref import INLINE_BYTES
from coterie.testing import FaultyBlobs, MemoryBlobs

LONG = {"text": "long enough to be stored " * 40}


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path}/artifacts")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("value", [None, 0, "", [], {}, {"b": [1.5, None], "a": "é"}, LONG])
async def test_a_value_reads_as_it_was_stored(store: ArtifactStore, value: Any):
    assert await store.load(await store.put(value)) == value


async def test_the_boundary_between_carried_and_stored(store: ArtifactStore, tmp_path: Path):
    fits = await store.put("x" * (INLINE_BYTES - 2))
    assert files(tmp_path) == []
    stored = await store.put("x" * (INLINE_BYTES - 1))

    assert (fits.is_inline, fits.size_bytes) == (True, INLINE_BYTES)
    assert (stored.is_inline, stored.size_bytes) == (False, INLINE_BYTES + 1)
    assert len(files(tmp_path)) == 1


async def test_equal_content_lies_once_and_is_written_once():
    blobs = FaultyBlobs(MemoryBlobs())
    store = ArtifactStore(blobs)

    first = await store.put({"b": 1, "a": LONG})
    second = await store.put({"a": LONG, "b": 1})

    assert first == second
    assert [what for what, _ in blobs.calls].count("write") == 1


async def test_the_content_names_the_object(store: ArtifactStore, tmp_path: Path):
    ref = await store.put_bytes(b"content", "text/plain")

    sha256 = hashlib.sha256(b"content").hexdigest()
    assert ref == Ref(f"file://{tmp_path}/artifacts/default/sha256/{sha256[:2]}/{sha256}", sha256, 7, "text/plain")
    assert files(tmp_path) == [tmp_path / "artifacts/default/sha256" / sha256[:2] / sha256]
    assert store.reference(sha256, 7, "text/plain") == ref


async def test_many_writers_of_one_content_agree(store: ArtifactStore, tmp_path: Path):
    refs = await asyncio.gather(*(store.put(LONG) for _ in range(20)))
    values = await asyncio.gather(*(store.load(ref) for ref in refs))

    assert len(set(refs)) == 1
    assert values == [LONG] * 20
    assert len(files(tmp_path)) == 1


async def test_a_file_is_streamed_in_and_out(store: ArtifactStore, tmp_path: Path):
    content = bytes(range(256)) * 20_000
    (tmp_path / "in").write_bytes(content)

    ref = await store.put_file(tmp_path / "in", "application/x-test")
    await store.copy_to(ref, tmp_path / "out")

    assert (ref.size_bytes, ref.media_type) == (len(content), "application/x-test")
    assert (tmp_path / "out").read_bytes() == content
    assert await store.read_bytes(ref) == content


async def test_a_carried_content_is_copied_out_too(store: ArtifactStore, tmp_path: Path):
    await store.copy_to(await store.put([1]), tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == b"[1]"


# Verification.

SPOIL = {
    "a flipped byte": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "a lost end": lambda content: content[:-1],
    "a longer end": lambda content: content + b"x",
    "nothing": lambda content: b"",
    "much more": lambda content: content + b"x" * 5_000_000,
}


@pytest.mark.parametrize("how", SPOIL)
async def test_spoilt_content_is_never_handed_out(store: ArtifactStore, tmp_path: Path, how: str):
    ref = await store.put(LONG)
    (stored,) = files(tmp_path)
    stored.write_bytes(SPOIL[how](stored.read_bytes()))

    with pytest.raises(CorruptArtifact, match="delete the object and run the task that wrote it again"):
        await store.load(ref)
    with pytest.raises(CorruptArtifact):
        await store.read_bytes(ref)
    with pytest.raises(CorruptArtifact):
        await store.copy_to(ref, tmp_path / "out")
    assert not (tmp_path / "out").exists()


async def test_a_torn_object_is_mended_by_storing_it_again(store: ArtifactStore, tmp_path: Path):
    ref = await store.put(LONG)
    (stored,) = files(tmp_path)
    stored.write_bytes(stored.read_bytes()[:10])

    assert await store.put(LONG) == ref
    assert await store.load(ref) == LONG


async def test_a_reference_with_another_size_or_hash_is_found_out(store: ArtifactStore):
    ref = await store.put(LONG)

    with pytest.raises(CorruptArtifact):
        await store.load(Ref(ref.uri, ref.sha256, ref.size_bytes + 1))
    with pytest.raises(ForbiddenLocation):
        await store.load(Ref(ref.uri, "0" * 64, ref.size_bytes))


@pytest.mark.parametrize("content", [b"not json", b"[1", b"\xff\xfe", b"[" * 100_000])
async def test_content_that_is_not_json_is_refused(store: ArtifactStore, content: bytes):
    ref = await store.put_bytes(content)

    with pytest.raises(CorruptArtifact, match=r"is not JSON: .*; read it with read_bytes"):
        await store.load(ref)
    assert await store.read_bytes(ref) == content


async def test_a_missing_object_says_what_to_do(store: ArtifactStore, tmp_path: Path):
    ref = await store.put(LONG)
    files(tmp_path)[0].unlink()

    with pytest.raises(MissingArtifact, match="is not there any more; run the task that wrote it again"):
        await store.load(ref)
    with pytest.raises(MissingArtifact):
        await store.copy_to(ref, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Locations.


async def test_another_root_or_namespace_is_forbidden(store: ArtifactStore, tmp_path: Path):
    ref = await store.put(LONG)
    others = [
        ArtifactStore(f"file://{tmp_path}/other"),
        ArtifactStore(f"file://{tmp_path}/artifacts", namespace="other"),
        ArtifactStore(f"file://{tmp_path}/artifact"),
        ArtifactStore(f"file://{tmp_path}"),
    ]

    for other in others:
        with pytest.raises(ForbiddenLocation, match=r"use the store .and namespace. that wrote it"):
            await other.load(ref)


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "{root}/default/sha256/../../../../../../etc/passwd",
        "{root}/default/sha256/{short}/../{short}/{sha}",
        "{root}/default/sha256/{sha}",
        "{root}/default/sha256/{short}/{sha}/",
        "{root}/default/sha256/{short}/{sha}?x",
        "{root}//default/sha256/{short}/{sha}",
        "{root}/other/sha256/{short}/{sha}",
        "s3://bucket/default/sha256/{short}/{sha}",
        "https://example.com/{sha}",
        "",
    ],
)
async def test_a_reference_cannot_climb_out_of_its_store(store: ArtifactStore, uri: str):
    ref = await store.put(LONG)
    forged = Ref(uri.format(root=store.url, sha=ref.sha256, short=ref.sha256[:2]), ref.sha256, ref.size_bytes)

    with pytest.raises(ForbiddenLocation):
        await store.load(forged)


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("s3://AKIA:hunter2@bucket/prefix", "hunter2"),
        ("s3://AKIA:hun/ter2@bucket", "ter2"),
        ("https://user@example.com/x", "user"),
        ("ftp://user:hunter2@host/x", "hunter2"),
    ],
)
def test_credentials_in_the_url_are_refused_and_not_repeated(url: str, secret: str):
    with pytest.raises(Misuse, match="carries credentials; give them to the driver") as caught:
        ArtifactStore(url)

    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["artifacts", "./artifacts", "file:artifacts", "file://artifacts/x", "~/artifacts", "", "local://x/y"]
)
def test_a_relative_place_is_refused(url: str):
    with pytest.raises(Misuse, match="is a relative path; give an absolute path"):
        ArtifactStore(url)


@pytest.mark.parametrize("url", ["nowhere://bucket/x", "http://[::1"])
def test_a_url_that_nobody_knows_is_refused(url: str):
    with pytest.raises(Misuse):
        ArtifactStore(url)


def test_a_namespace_is_a_name():
    with pytest.raises(Misuse, match=r"namespace '../other'"):
        ArtifactStore(MemoryBlobs(), namespace="../other")


@pytest.mark.parametrize("url", ["{tmp}/a", "file://{tmp}/a", "file://{tmp}/a/", "file://localhost{tmp}/a"])
async def test_one_folder_has_one_url_however_it_is_written(tmp_path: Path, url: str):
    store = ArtifactStore(url.format(tmp=tmp_path))

    assert store.url == f"file://{tmp_path}/a"
    assert (await store.put(LONG)).uri.startswith(f"file://{tmp_path}/a/default/sha256/")


# Failures on the way.


async def test_a_store_that_fails_is_unavailable_and_leaves_nothing(tmp_path: Path):
    blobs = MemoryBlobs()
    store = ArtifactStore(FaultyBlobs(blobs, write=[Unavailable("down")]))

    with pytest.raises(Unavailable):
        await store.put(LONG)
    assert blobs.objects == {}
    assert await store.load(await store.put(LONG)) == LONG


@pytest.mark.parametrize("kind", ["file in the way", "no permission"])
async def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path, kind: str):
    if kind == "file in the way":
        (tmp_path / "artifacts").write_text("in the way")
        store = ArtifactStore(f"file://{tmp_path}/artifacts")
    else:
        store = ArtifactStore("file:///proc/self/artifacts")

    with pytest.raises(
        Unavailable, match=r"check that it is reachable and writable|create it, or correct its URL"
    ) as caught:
        await store.put(LONG)

    assert isinstance(caught.value.__cause__, OSError)


async def test_content_that_changes_while_it_is_stored_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = tmp_path / "in"
    source.write_bytes(b"x" * 10_000)
    blobs = MemoryBlobs()

    class Changing(FaultyBlobs):
        def size_bytes(self, name: str) -> int | None:
            source.write_bytes(b"y" * 10_000)
            return None

    with pytest.raises(Misuse, match="changed while it was stored"):
        await ArtifactStore(Changing(blobs)).put_file(source)
    assert blobs.objects == {}


async def test_a_missing_file_is_the_callers_error(store: ArtifactStore, tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        await store.put_file(tmp_path / "gone")


async def test_a_value_that_is_not_json_is_not_stored(store: ArtifactStore, tmp_path: Path):
    with pytest.raises(Misuse, match="not a JSON value"):
        await store.put({"x": float("nan")})
    assert files(tmp_path) == []


async def test_a_stored_document_is_canonical_json(store: ArtifactStore, tmp_path: Path):
    await store.put({"b": LONG, "a": [1, 2.0, "é"]})

    content = files(tmp_path)[0].read_bytes()
    assert (
        content == json.dumps(json.loads(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )


async def test_a_store_that_does_not_answer_is_unavailable():
    release = threading.Event()

    class Hanging(MemoryBlobs):
        def size_bytes(self, name: str) -> int | None:
            release.wait(20)
            return super().size_bytes(name)

    store = ArtifactStore(Hanging(), timeout_s=0.05)

    with pytest.raises(Unavailable, match="did not answer within"):
        await store.put_bytes(b"x")
    release.set()


def test_a_store_that_may_never_answer_is_refused():
    with pytest.raises(PolicyError, match="timeout_s 0"):
        ArtifactStore(MemoryBlobs(), timeout_s=0)


async def test_a_text_with_half_of_a_character_is_refused(tmp_path: Path):
    with pytest.raises(Misuse, match="half of a character"):
        await ArtifactStore(f"file://{tmp_path}").put_text("\ud800")
