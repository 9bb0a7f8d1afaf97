"""Any size in bounded memory, any number in bounded time, and nothing of what a killed process had begun.

What takes minutes in full is tried on a small sample always, and in full where the exhaustive run asks for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coterie import ArtifactStore
from coterie.stores.blobs import FsspecBlobs

REPOSITORY = Path(__file__).resolve().parents[3]
MIB = 2**20
# A few pieces of what is on its way, however long it is.
MOST_GROWTH = 64 * MIB
# Of the temporary database that notes what is reachable, and of a batch of objects.
MOST_GROWTH_OF_A_COLLECTION = 64 * MIB


def child(command: str, *arguments: object, **environment: str) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.journal.artifacts.child", command, *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, int] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize(
    ("mib", "compress"),
    [
        (256, ""),
        (32, "zstd"),
        pytest.param(5 * 1024, "", marks=pytest.mark.full),
        pytest.param(5 * 1024, "zstd", marks=pytest.mark.full),
    ],
)
def test_a_long_stream_goes_through_a_folder_in_bounded_memory(tmp_path: Path, mib: int, compress: str):
    told = child("stream", f"file://{tmp_path}/artifacts", mib, compress, TMPDIR=str(tmp_path))

    assert told["size_bytes"] == mib * MIB
    assert told["growth"] < MOST_GROWTH, told


@pytest.mark.parametrize("mib", [64, pytest.param(1024, marks=pytest.mark.full)])
def test_a_long_stream_goes_through_s3_in_bounded_memory(s3: dict[str, str], tmp_path: Path, mib: int):
    told = child("stream", f"s3://artifacts/stream-{mib}", mib, TMPDIR=str(tmp_path), **s3)

    assert told["size_bytes"] == mib * MIB
    assert told["growth"] < MOST_GROWTH, told


@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.full)])
def test_many_small_artifacts_lie_once_in_a_folder(tmp_path: Path, count: int):
    told = child("many", f"file://{tmp_path}/artifacts", count)

    assert told["different"] == count // 10
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == count // 10


@pytest.mark.parametrize("count", [100, pytest.param(2_000, marks=pytest.mark.full)])
def test_many_small_artifacts_lie_once_in_s3(s3_environment: dict[str, str], count: int):
    told = child("many", f"s3://artifacts/many-{count}", count, **s3_environment)

    assert told["different"] == count // 10
    assert len(list(FsspecBlobs(f"s3://artifacts/many-{count}").entries("default"))) == count // 10


@pytest.mark.parametrize("count", [30_000, pytest.param(1_000_000, marks=pytest.mark.full)])
def test_garbage_of_any_number_is_collected_in_bounded_memory(count: int):
    told = child("collect", count)

    assert (told["seen"], told["reachable"], told["deleted"]) == (count, count // 2, count // 2)
    assert told["growth"] < MOST_GROWTH_OF_A_COLLECTION, told


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.full)])
def test_a_document_of_any_length_is_followed_in_bounded_memory(tmp_path: Path, count: int):
    told = child("follow", f"file://{tmp_path}/artifacts", count, TMPDIR=str(tmp_path))

    assert told["reachable"] == 1
    assert told["growth"] < MOST_GROWTH_OF_A_COLLECTION, told


# Killed in the middle.


def killed_in_the_middle(url: str, mib: int, **environment: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.journal.artifacts.child", "stall", url, str(mib)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        sent = json.loads(process.stdout.readline())["sent"]
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
        process.stdout.close()
    assert sent > 0.7 * mib * MIB


def content(mib: int) -> bytes:
    return random.Random(2).randbytes(mib * MIB)


async def nothing_of_it_is_seen_and_all_of_it_is_swept(store: ArtifactStore, blobs: FsspecBlobs, mib: int) -> None:
    sha256 = hashlib.sha256(content(mib)).hexdigest()
    assert blobs.size_bytes(f"default/sha256/{sha256[:2]}/{sha256}") is None
    left = list(blobs.entries("default"))
    assert [blob.upload is not None for blob in left] == [True]

    young: Any = await store.collect([], min_age_s=3600)
    swept: Any = await store.collect([], min_age_s=0)
    while not swept.unfinished.objects:
        # S3 tells whole seconds only.
        swept = await store.collect([], min_age_s=0)

    assert (young.unfinished.objects, swept.unfinished.objects, swept.seen.objects) == (0, 1, 0)
    assert list(blobs.entries("default")) == []
    ref = await store.put_bytes(content(mib))
    assert await store.read_bytes(ref) == content(mib)


async def test_a_process_killed_in_the_middle_of_an_upload_leaves_nothing_visible_in_a_folder(tmp_path: Path):
    url = f"file://{tmp_path}/artifacts"

    killed_in_the_middle(url, 20)

    await nothing_of_it_is_seen_and_all_of_it_is_swept(ArtifactStore(url), FsspecBlobs(url), 20)


async def test_a_process_killed_in_the_middle_of_an_upload_leaves_nothing_visible_in_s3(s3_environment: dict[str, str]):
    url = "s3://artifacts/killed"

    killed_in_the_middle(url, 20, **s3_environment)

    await nothing_of_it_is_seen_and_all_of_it_is_swept(ArtifactStore(url), FsspecBlobs(url), 20)
