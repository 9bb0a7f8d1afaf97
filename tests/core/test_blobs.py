"""Every blob store keeps one contract: a folder, a real S3 endpoint, memory, a dictionary, and any other driver."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from s3fs import S3FileSystem

from coterie import ArtifactStore, sync
from coterie.errors import Misuse
from coterie.stores.blobs import FsspecBlobs, memory
from coterie.stores.blobs.objects import Objects, seconds
from coterie.testing import BlobStoreContract, FaultyBlobs, MemoryBlobs
from tests.docs.object_storage import s3_endpoint


class TestAFolder(BlobStoreContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> FsspecBlobs:
        return FsspecBlobs(f"file://{tmp_path}/blobs")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real S3 endpoint of its own, with the bucket `artifacts`: the variables that lead a driver there."""
    with s3_endpoint(tmp_path_factory.mktemp("s3"), bucket="artifacts") as variables:
        # One driver serves all of a process for ever, at the endpoint that it first saw.
        S3FileSystem.clear_instance_cache()
        yield variables


class TestS3(BlobStoreContract):
    @pytest.fixture
    def blobs(self, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> FsspecBlobs:
        for name, value in s3.items():
            monkeypatch.setenv(name, value)
        return FsspecBlobs(f"s3://artifacts/{uuid.uuid4().hex}")


class TestMemory(BlobStoreContract):
    @pytest.fixture
    def blobs(self) -> FsspecBlobs:
        return FsspecBlobs(f"memory://coterie-{uuid.uuid4().hex}/blobs")


class TestAnyOtherDriver(BlobStoreContract):
    """What fsspec's common interface alone can do: its memory stands for a driver that nobody here knows."""

    @pytest.fixture
    def blobs(self, monkeypatch: pytest.MonkeyPatch) -> FsspecBlobs:
        class Unknown(Objects):
            def chunks(self, name: str, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
                # All readers of an object in memory would share one position, which is fsspec's own affair.
                content = self._fs.cat_file(self._path(name))
                yield from (content[start : start + chunk_bytes] for start in range(0, len(content), chunk_bytes))

            def write(self, name: str, source: BinaryIO, *, size_bytes: int | None = None) -> None:
                self._fs.pipe_file(self._path(name), source.read())

            def _modified_s(self, info: Mapping[str, Any]) -> float:
                known = {key: value for key, value in info.items() if key != "created"}
                return super()._modified_s(known)

        monkeypatch.setattr(memory, "InMemory", Unknown)
        return FsspecBlobs(f"memory://coterie-{uuid.uuid4().hex}/blobs")

    def test_an_artifact_that_is_stored_again_is_written_again(self, blobs: FsspecBlobs):
        store = ArtifactStore(blobs)
        ref = sync.run(store.put_bytes(b"x" * 1000))
        name = ref.uri.removeprefix(f"{blobs.root}/")
        (before,) = blobs.entries("default")

        assert not blobs.refresh(name)
        assert sync.run(store.put_bytes(b"x" * 1000)) == ref

        (after,) = blobs.entries("default")
        assert after.modified_s > before.modified_s


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (datetime(2026, 1, 2, tzinfo=UTC), 1767312000.0),
        ("2026-01-02T00:00:00Z", 1767312000.0),
        ("2026-01-02T00:00:00.5+00:00", 1767312000.5),
        (1767312000, 1767312000.0),
    ],
)
def test_drivers_tell_the_time_in_many_ways(told: Any, expected: float):
    assert seconds(told) == expected


def test_a_driver_that_tells_no_ages_cannot_be_collected(monkeypatch: pytest.MonkeyPatch):
    def unknown(self: object, path: str) -> float:
        raise NotImplementedError

    blobs = FsspecBlobs(f"memory://coterie-{uuid.uuid4().hex}/blobs")
    blobs.write("a/one", io.BytesIO(b"x"))
    monkeypatch.setattr(memory, "InMemory", Objects)
    other = FsspecBlobs(blobs.root)
    monkeypatch.setattr(type(other._backend._fs), "modified", unknown)  # type: ignore[attr-defined]

    with pytest.raises(Misuse, match="does not say when objects were written, so none can be called old"):
        list(other.entries("a"))


class TestADictionary(BlobStoreContract):
    @pytest.fixture
    def blobs(self) -> MemoryBlobs:
        return MemoryBlobs()


class TestAFaultyStoreWithoutFaults(BlobStoreContract):
    @pytest.fixture
    def blobs(self) -> FaultyBlobs:
        return FaultyBlobs(MemoryBlobs())
