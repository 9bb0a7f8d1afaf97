"""Compressed or not, content has one name and one hash; it lies once, and is read by every store."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard

from coterie import ArtifactStore, Ref
from coterie.artifacts.compression import HEADER_BYTES, MIN_BYTES, Header
from coterie.errors import CorruptArtifact, MissingArtifact, Misuse, PolicyError
from coterie.testing import FaultyBlobs, MemoryBlobs

TEXT = b"the same words over and over again; " * 1000
NOISE = random.Random(1).randbytes(len(TEXT))


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


@pytest.fixture
def plain(blobs: MemoryBlobs) -> ArtifactStore:
    return ArtifactStore(blobs)


@pytest.fixture
def zstd(blobs: MemoryBlobs) -> ArtifactStore:
    return ArtifactStore(blobs, compress="zstd")


def suffixes(blobs: MemoryBlobs) -> list[str]:
    return sorted(os.path.splitext(name)[1] for name in blobs.objects)  # noqa: PTH122 # names, not paths


async def test_a_reference_does_not_say_how_content_is_kept(blobs: MemoryBlobs, zstd: ArtifactStore):
    ref = await zstd.put_bytes(TEXT)

    assert ref == ArtifactStore(MemoryBlobs()).reference(ref.sha256, len(TEXT))
    assert list(blobs.objects) == [f"default/sha256/{ref.sha256[:2]}/{ref.sha256}.zst"]
    assert sum(map(len, blobs.objects.values())) < len(TEXT) / 10


async def test_both_kinds_of_store_read_both_forms(plain: ArtifactStore, zstd: ArtifactStore, tmp_path: Path):
    refs = [await zstd.put_bytes(TEXT), await plain.put_bytes(NOISE)]

    for store in (plain, zstd):
        for ref, content in zip(refs, (TEXT, NOISE), strict=True):
            assert await store.read_bytes(ref) == content
            assert await store.read_bytes(store.recall(ref.portable())) == content
            assert b"".join([piece async for piece in store.stream(ref, chunk_bytes=1000)]) == content
            await store.copy_to(ref, tmp_path / "out")
            assert (tmp_path / "out").read_bytes() == content


async def test_content_lies_once_when_it_is_stored_again(blobs: MemoryBlobs):
    counted = FaultyBlobs(blobs)
    store = ArtifactStore(counted, compress="zstd")

    assert await store.put_bytes(TEXT) == await store.put_bytes(TEXT)

    assert [what for what, _ in counted.calls].count("write") == 1


async def test_a_compressing_store_uses_what_lies_there_plain(
    blobs: MemoryBlobs, plain: ArtifactStore, zstd: ArtifactStore
):
    assert await plain.put_bytes(TEXT) == await zstd.put_bytes(TEXT)

    assert suffixes(blobs) == [""]


async def test_a_plain_store_relies_on_nothing_that_it_could_not_read(
    blobs: MemoryBlobs, plain: ArtifactStore, zstd: ArtifactStore, monkeypatch: pytest.MonkeyPatch
):
    await zstd.put_bytes(TEXT)
    without_zstandard(monkeypatch)

    ref = await plain.put_bytes(TEXT)

    assert suffixes(blobs) == ["", ".zst"]
    assert await plain.read_bytes(ref) == TEXT


@pytest.mark.parametrize(
    "content",
    [b"", b"a" * (MIN_BYTES - 1), NOISE, NOISE[: 2**20 - 1], NOISE[:MIN_BYTES]],
    ids=["nothing", "small", "noise", "long noise", "little noise"],
)
async def test_what_is_small_or_does_not_shrink_is_kept_plain(blobs: MemoryBlobs, zstd: ArtifactStore, content: bytes):
    ref = await zstd.put_bytes(content)

    assert suffixes(blobs) == [""]
    assert await zstd.read_bytes(ref) == content


async def test_the_first_that_is_long_enough_is_compressed(blobs: MemoryBlobs, zstd: ArtifactStore):
    await zstd.put_bytes(b"a" * MIN_BYTES)

    assert suffixes(blobs) == [".zst"]


async def test_only_the_first_part_is_tried(blobs: MemoryBlobs, zstd: ArtifactStore):
    content = random.Random(2).randbytes(2**20) + b"a" * 2**20

    assert await zstd.read_bytes(await zstd.put_bytes(content)) == content
    assert suffixes(blobs) == [""]


async def test_the_file_is_one_that_any_decompressor_reads(blobs: MemoryBlobs, zstd: ArtifactStore):
    content = TEXT * 100
    await zstd.put_bytes(content)

    (stored,) = blobs.objects.values()

    with zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True) as reader:
        assert reader.read() == content


async def test_streams_are_compressed_too(blobs: MemoryBlobs, zstd: ArtifactStore, tmp_path: Path):
    (tmp_path / "in").write_bytes(TEXT * 300)

    assert await zstd.put_stream([TEXT] * 300) == await zstd.put_file(tmp_path / "in")

    assert suffixes(blobs) == [".zst"]


# What is wrong with a compressed file.


def repacked(content: bytes, **frame: Any) -> bytes:
    """A file of ours around another frame."""
    packed = zstandard.ZstdCompressor(**frame).compress(content)
    digest = struct.unpack_from("<32s", bytes(32))[0].hex()
    return Header(digest, len(content), HEADER_BYTES + len(packed)).written() + packed


SPOIL = {
    # The very last bytes only say that this is the end.
    "a lost end": lambda stored: stored[:-4],
    "a lost half": lambda stored: stored[: len(stored) // 2],
    "only its beginning": lambda stored: stored[:HEADER_BYTES],
    "not even that": lambda stored: stored[:10],
    "nothing": lambda stored: b"",
    "a flipped byte": lambda stored: stored[:-20] + bytes([stored[-20] ^ 1]) + stored[-19:],
    "another beginning": lambda stored: b"x" + stored[1:],
    "plain": lambda stored: TEXT,
    "other content": lambda stored: repacked(TEXT[1:] + b"x"),
    "longer content": lambda stored: repacked(TEXT + b"x"),
    "shorter content": lambda stored: repacked(TEXT[:-1]),
    "too much memory": lambda stored: repacked(
        TEXT * 1000, compression_params=zstandard.ZstdCompressionParameters(window_log=27)
    ),
}


@pytest.mark.parametrize("how", SPOIL)
async def test_a_spoilt_file_is_never_handed_out(blobs: MemoryBlobs, zstd: ArtifactStore, how: str):
    ref = await zstd.put_bytes(TEXT)
    (name,) = blobs.objects
    blobs.objects[name] = SPOIL[how](blobs.objects[name])

    with pytest.raises(CorruptArtifact, match="delete the object"):
        await zstd.read_bytes(ref)


@pytest.mark.parametrize(
    "how", ["a lost end", "a lost half", "only its beginning", "not even that", "nothing", "another beginning", "plain"]
)
async def test_a_torn_file_is_mended_by_storing_it_again(blobs: MemoryBlobs, zstd: ArtifactStore, how: str):
    ref = await zstd.put_bytes(TEXT)
    (name,) = blobs.objects
    blobs.objects[name] = SPOIL[how](blobs.objects[name])

    assert await zstd.put_bytes(TEXT) == ref
    assert await zstd.read_bytes(ref) == TEXT


async def test_what_is_missing_in_both_forms_is_missing(plain: ArtifactStore, zstd: ArtifactStore):
    for store in (plain, zstd):
        with pytest.raises(MissingArtifact, match="is not there any more"):
            await store.read_bytes(store.reference("0" * 64, 10_000))


BOMB = """
import asyncio, sys
from coterie import ArtifactStore
from coterie.errors import CorruptArtifact

def status(field):
    return int(next(line for line in open("/proc/self/status") if line.startswith(field)).split()[1]) * 1024

async def main():
    store = ArtifactStore(sys.argv[1], compress="zstd")
    await store.read_bytes(await store.put_bytes(b"warm" * 10_000))
    before = status("VmRSS")
    for read in (store.read_bytes, lambda ref: store.copy_to(ref, sys.argv[2] + "/out")):
        try:
            await read(store.reference("0" * 64, 100_000))
        except CorruptArtifact:
            continue
        raise SystemExit("the bomb was handed out")
    print(status("VmHWM") - before)

asyncio.run(main())
"""


def test_a_few_bytes_that_unfold_to_a_gigabyte_are_stopped_at_what_the_reference_says(tmp_path: Path):
    compressor = zstandard.ZstdCompressor().compressobj(size=2**30)
    packed = b"".join(compressor.compress(bytes(2**24)) for _ in range(64)) + compressor.flush()
    place = tmp_path / "artifacts" / "default" / "sha256" / "00" / f"{'0' * 64}.zst"
    place.parent.mkdir(parents=True)
    place.write_bytes(Header("0" * 64, 100_000, HEADER_BYTES + len(packed)).written() + packed)
    assert len(packed) < 200_000

    command = [sys.executable, "-c", BOMB, f"file://{tmp_path}/artifacts", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 40 * 2**20
    assert not (tmp_path / "out").exists()


# Settings.


def without_zstandard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    without_zstandard(monkeypatch)

    with pytest.raises(Misuse, match=r"pip install 'coterie\[zstd\]'"):
        ArtifactStore(MemoryBlobs(), compress="zstd")


async def test_reading_a_compressed_file_without_the_package_says_so_too(
    plain: ArtifactStore, zstd: ArtifactStore, monkeypatch: pytest.MonkeyPatch
):
    ref = await zstd.put_bytes(TEXT)
    without_zstandard(monkeypatch)

    with pytest.raises(Misuse, match=r"pip install 'coterie\[zstd\]'"):
        await plain.read_bytes(ref)


def test_another_compression_is_refused():
    with pytest.raises(PolicyError, match="compress 'gzip'; give 'zstd' or None"):
        ArtifactStore(MemoryBlobs(), compress="gzip")  # type: ignore[arg-type]  # what the test is about


def test_a_header_reads_as_it_was_written():
    header = Header("ab" * 32, 2**40, 2**33)

    assert Header.read(header.written()) == header
    assert Header.read(header.written()[:-1]) is None
    assert len(header.written()) == HEADER_BYTES


async def test_references_made_by_hand_with_the_suffix_are_refused(zstd: ArtifactStore):
    ref = await zstd.put_bytes(TEXT)

    with pytest.raises(Exception, match="is not an object of"):
        await zstd.read_bytes(Ref(f"{ref.uri}.zst", ref.sha256, ref.size_bytes))
