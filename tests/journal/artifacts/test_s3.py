"""Blobs in S3, at a real endpoint: few requests, pages of any number, and no upload is left behind."""

from __future__ import annotations

import asyncio
import io
import socket
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from fsspec.asyn import sync_wrapper

from coterie import ArtifactStore
from coterie.errors import MissingArtifact, Unavailable
from coterie.stores.blobs import FsspecBlobs
from coterie.stores.blobs import s3 as s3_module


@pytest.mark.usefixtures("s3_environment")
class TestObjects:
    @pytest.fixture
    def blobs(self) -> FsspecBlobs:
        return FsspecBlobs(f"s3://artifacts/{uuid.uuid4().hex}")

    async def test_an_artifact_store_on_s3_keeps_its_promises(self, blobs: FsspecBlobs):
        store = ArtifactStore(blobs.root)
        value = {"text": "long enough " * 100}

        ref = await store.put(value)

        assert ref.uri.startswith(f"{blobs.root}/default/sha256/")
        assert await store.put(value) == ref
        assert await store.load(ref) == value
        blobs.write(ref.uri.removeprefix(f"{blobs.root}/"), io.BytesIO(b"spoilt"))
        with pytest.raises(Exception, match="expected"):
            await store.load(ref)

    def test_a_missing_bucket_is_a_store_that_failed(self):
        blobs = FsspecBlobs(f"s3://no-such-bucket-{uuid.uuid4().hex}/x")

        with pytest.raises(Unavailable, match="create it, or correct its URL"):
            blobs.write("a", io.BytesIO(b"x"))
        with pytest.raises(MissingArtifact):
            list(blobs.chunks("a"))

    def test_listing_goes_from_page_to_page(self, blobs: FsspecBlobs, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(s3_module, "_PAGE", 3)
        names = {f"a/{number:02}" for number in range(11)}
        for name in names:
            blobs.write(name, io.BytesIO(b"x"))

        listed = list(blobs.entries("a"))

        assert {blob.name for blob in listed} == names
        assert len(listed) == 11

    def test_deletion_goes_from_page_to_page(self, blobs: FsspecBlobs, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(s3_module, "_PAGE", 3)
        for number in range(20):
            blobs.write(f"a/{number:02}", io.BytesIO(b"x"))
        listed = [blob for blob in blobs.entries("a") if int(blob.name[2:]) % 3]

        assert set(blobs.delete(listed[::-1])) == set(listed)
        assert [blob.name for blob in blobs.entries("a")] == [f"a/{number:02}" for number in range(0, 20, 3)]

    def test_an_upload_whose_writer_was_killed_is_listed_and_can_be_deleted(self, blobs: FsspecBlobs):
        backend = blobs._backend
        assert isinstance(backend, s3_module.S3)
        for number in range(3):
            backend._call("create_multipart_upload", Key=backend._key(f"a/{number}"))
        blobs.write("a/whole", io.BytesIO(b"x"))

        unfinished = [blob for blob in blobs.entries("a") if blob.upload is not None]

        assert [blob.name for blob in unfinished] == ["a/0", "a/1", "a/2"]
        assert abs(unfinished[0].modified_s - blobs.clock_s()) < 60
        assert blobs.delete(unfinished) == unfinished
        assert blobs.delete(unfinished) == unfinished
        assert [(blob.name, blob.upload) for blob in blobs.entries("a")] == [("a/whole", None)]

    def test_looking_for_what_is_not_there_takes_one_request(self, blobs: FsspecBlobs, monkeypatch: pytest.MonkeyPatch):
        asked = watched(blobs, monkeypatch)

        assert blobs.size_bytes("a/none") is None

        assert asked == ["head_object"]

    def test_the_beginning_of_an_object_is_all_that_is_fetched_for_it(
        self, blobs: FsspecBlobs, monkeypatch: pytest.MonkeyPatch
    ):
        blobs.write("a/long", io.BytesIO(bytes(30_000_000)))
        ranges = watched_ranges(monkeypatch)

        reading = blobs.chunks("a/long", chunk_bytes=64)
        next(reading)
        reading.close()  # type: ignore[attr-defined]  # a generator

        assert ranges == [(0, 64)]
        whole = sum(map(len, blobs.chunks("a/long")))
        assert whole == 30_000_000
        assert max(end - start for start, end in ranges) <= 5 * 2**20
        assert len(ranges) < 12

    def test_a_refused_copy_of_what_is_too_large_for_one_means_that_it_is_written_again(
        self, blobs: FsspecBlobs, monkeypatch: pytest.MonkeyPatch
    ):
        blobs.write("a/one", io.BytesIO(b"content"))
        real = s3_module.S3._call

        def call(self: s3_module.S3, method: str, **arguments: Any) -> Mapping[str, Any]:
            if method == "copy_object":
                raise OSError("the copy source is larger than the maximum allowable size")
            return real(self, method, **arguments)

        monkeypatch.setattr(s3_module.S3, "_call", call)

        with pytest.raises(Unavailable, match="larger than the maximum"):
            blobs.refresh("a/one")
        monkeypatch.setattr(s3_module, "_MAX_COPY_BYTES", 5)
        assert blobs.refresh("a/one") is False

    def test_objects_that_are_not_deleted_are_told(self, blobs: FsspecBlobs, monkeypatch: pytest.MonkeyPatch):
        blobs.write("a/one", io.BytesIO(b"x"))
        listed = list(blobs.entries("a"))
        real = s3_module.S3._call

        def call(self: s3_module.S3, method: str, **arguments: Any) -> Mapping[str, Any]:
            if method == "delete_objects":
                return {"Errors": [{"Key": "a/one", "Code": "AccessDenied"}]}
            return real(self, method, **arguments)

        monkeypatch.setattr(s3_module.S3, "_call", call)

        with pytest.raises(Unavailable, match=r"1 objects were not deleted, the first: .*AccessDenied"):
            blobs.delete(listed)

    async def test_garbage_is_collected_from_s3(self, blobs: FsspecBlobs):
        store = ArtifactStore(blobs.root, compress="zstd")
        leaf = await store.put_text("leaf " * 2000)
        root = await store.put({"padding": "x" * 2000, "leaf": leaf.portable()})
        lost = await store.put_text("lost " * 2000)

        kept = await store.collect([root], min_age_s=3600)
        report = await store.collect([root], min_age_s=0)
        # The store's clock tells whole seconds only: within the same one nothing is older than it.
        while report.young.objects:
            await asyncio.sleep(0.2)
            report = await store.collect([root], min_age_s=0)

        assert (kept.deleted.objects, kept.young.objects) == (0, 1)
        assert (report.seen.objects, report.reachable.objects, report.deleted.objects) == (3, 2, 1)
        assert await store.load_text(leaf) == "leaf " * 2000
        with pytest.raises(MissingArtifact):
            await store.load_text(lost)

    def test_options_are_given_to_the_driver(self, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        options = {"key": "test", "secret": "test", "endpoint_url": s3["AWS_ENDPOINT_URL"]}

        blobs = FsspecBlobs(f"s3://artifacts/{uuid.uuid4().hex}", options=options)
        blobs.write("a", io.BytesIO(b"x"))

        assert b"".join(blobs.chunks("a")) == b"x"


def watched(blobs: FsspecBlobs, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of S3's own calls from now on."""
    asked: list[str] = []
    kind = type(blobs._backend._fs)  # type: ignore[attr-defined]
    real = kind._call_s3

    async def call(self: Any, method: str, *more: Any, **arguments: Any) -> Any:
        asked.append(method)
        return await real(self, method, *more, **arguments)

    monkeypatch.setattr(kind, "_call_s3", call)
    monkeypatch.setattr(kind, "call_s3", sync_wrapper(call))
    return asked


def watched_ranges(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The ranges of objects that are fetched from now on."""
    import s3fs.core

    ranges: list[tuple[int, int]] = []
    real = s3fs.core.S3File._fetch_range

    def fetch(self: Any, start: int, end: int) -> Any:
        ranges.append((start, end))
        return real(self, start, end)

    monkeypatch.setattr(s3fs.core.S3File, "_fetch_range", fetch)
    return ranges


def test_an_endpoint_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        options = {
            "key": "test",
            "secret": "test",
            "endpoint_url": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1},
        }
        blobs = FsspecBlobs("s3://artifacts/x", options=options)

        with pytest.raises(Unavailable, match="check that it is reachable"):
            blobs.size_bytes("a")
