"""Every blob store keeps one contract: a folder, fsspec's memory, a dictionary, and a real S3 endpoint."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from coterie import ArtifactStore
from coterie.errors import MissingArtifact, Unavailable
from coterie.stores.blobs import FsspecBlobs
from coterie.testing import BlobStoreContract, FaultyBlobs, MemoryBlobs


class TestAFolder(BlobStoreContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> FsspecBlobs:
        return FsspecBlobs(f"file://{tmp_path}/blobs")

    def test_a_write_that_fails_leaves_no_file_at_all(self, blobs: FsspecBlobs, tmp_path: Path):
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            blobs.write("a/one", Broken())

        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["run#1", "a?b", "50%25", "sp ace", "a:b@c"])
@pytest.mark.parametrize("scheme", ["", "file://", "file:", "file://localhost"])
def test_a_folder_is_taken_as_it_is_written(tmp_path: Path, scheme: str, name: str):
    blobs = FsspecBlobs(f"{scheme}{tmp_path}/{name}/blobs")

    blobs.write("one", io.BytesIO(b"content"))

    assert (tmp_path / name / "blobs" / "one").read_bytes() == b"content"
    assert FsspecBlobs(blobs.root).size_bytes("one") == len(b"content")


class TestMemory(BlobStoreContract):
    @pytest.fixture
    def blobs(self) -> FsspecBlobs:
        return FsspecBlobs(f"memory://coterie-{uuid.uuid4().hex}/blobs")


class TestADictionary(BlobStoreContract):
    @pytest.fixture
    def blobs(self) -> MemoryBlobs:
        return MemoryBlobs()


class TestAFaultyStoreWithoutFaults(BlobStoreContract):
    @pytest.fixture
    def blobs(self) -> FaultyBlobs:
        return FaultyBlobs(MemoryBlobs())


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real S3 endpoint of its own, on a free port, with the bucket `artifacts`."""
    folder = tmp_path_factory.mktemp("s3")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environment = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "ministack"], env=environment, cwd=folder, stdout=log, stderr=log
        )
    endpoint = f"http://127.0.0.1:{port}"
    try:
        _wait_for(endpoint, server, folder / "log")
        request = urllib.request.Request(f"{endpoint}/artifacts", method="PUT")
        urllib.request.urlopen(request, timeout=30).close()
        yield endpoint
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for(endpoint: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(endpoint, timeout=1).close()
        except OSError:
            try:
                server.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
        else:
            return
    pytest.fail(f"the S3 endpoint did not answer:\n{log.read_text()}")


@pytest.fixture
def s3_environment(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("s3_environment")
class TestS3(BlobStoreContract):
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

    def test_options_are_given_to_the_driver(self, s3: str, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        options = {"key": "test", "secret": "test", "endpoint_url": s3}

        blobs = FsspecBlobs(f"s3://artifacts/{uuid.uuid4().hex}", options=options)
        blobs.write("a", io.BytesIO(b"x"))

        assert b"".join(blobs.chunks("a")) == b"x"


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
