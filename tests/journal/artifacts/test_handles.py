"""A handle costs nothing until it is read, and what was read is not fetched again."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from coterie import ArtifactStore, Ref, sync
from coterie.artifacts import Artifact
from coterie.artifacts.local_copies import default_folder
from coterie.artifacts.memory_cache import MAX_CONTENT_BYTES, MemoryCache, cache_of_process
from coterie.errors import CorruptArtifact, ForbiddenLocation, MissingArtifact, Misuse
from coterie.testing import FaultyBlobs, MemoryBlobs

LONG = {"text": "long enough to be stored " * 40}


@pytest.fixture
def blobs() -> FaultyBlobs:
    return FaultyBlobs(MemoryBlobs())


@pytest.fixture
def store(blobs: FaultyBlobs, tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(blobs, copies=tmp_path / "copies")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def reads(blobs: FaultyBlobs) -> int:
    return [what for what, _ in blobs.calls].count("chunks")


async def test_making_a_handle_reads_nothing(store: ArtifactStore, blobs: FaultyBlobs):
    ref = store.reference("0" * 64, 7, "text/x")
    artifact = store.artifact(ref)

    assert (artifact.ref, artifact.sha256, artifact.size_bytes, artifact.media_type) == (ref, "0" * 64, 7, "text/x")
    assert "7 bytes" in repr(artifact)
    assert blobs.calls == []


async def test_what_was_read_once_is_not_fetched_again_by_any_handle(store: ArtifactStore, blobs: FaultyBlobs):
    ref = await store.put(LONG)

    values = [await store.artifact(ref).load() for _ in range(3)]
    text = await store.artifact(ref).load_text()
    typed = await store.artifact(ref).load(dict[str, str])

    assert values == [LONG] * 3
    assert text.startswith('{"text":"long')
    assert typed == LONG
    assert reads(blobs) == 1


async def test_each_caller_gets_a_value_of_his_own(store: ArtifactStore):
    artifact = store.artifact(await store.put({"list": ["x" * 1000]}))

    first = await artifact.load()
    first["list"].append("mine")  # type: ignore[index,union-attr,call-overload]  # it is a dict

    assert await artifact.load() == {"list": ["x" * 1000]}


async def test_what_travels_in_the_reference_is_read_from_it(store: ArtifactStore, blobs: FaultyBlobs):
    assert await store.artifact(await store.put([1])).load() == [1]
    assert blobs.calls == []


async def test_large_content_is_not_kept(store: ArtifactStore, blobs: FaultyBlobs):
    artifact = store.artifact(await store.put_bytes(bytes(MAX_CONTENT_BYTES + 1)))
    before = cache_of_process().size_bytes

    assert len(await artifact.read_bytes()) == len(await artifact.read_bytes()) == MAX_CONTENT_BYTES + 1

    assert reads(blobs) == 2
    assert cache_of_process().size_bytes == before


async def test_stores_of_one_url_share_what_they_read(tmp_path: Path):
    one, other = (ArtifactStore(f"file://{tmp_path}/artifacts") for _ in range(2))
    ref = await one.put(LONG)
    await one.artifact(ref).load()
    (stored,) = files(tmp_path)
    stored.unlink()

    assert await other.artifact(ref).load() == LONG
    with pytest.raises(MissingArtifact):
        await other.load(ref)


async def test_what_one_store_read_is_no_business_of_another(tmp_path: Path):
    ours = ArtifactStore(f"file://{tmp_path}/artifacts")
    theirs = ArtifactStore(f"file://{tmp_path}/artifacts", namespace="theirs")
    ref = await ours.put(LONG)
    await ours.artifact(ref).load()

    with pytest.raises(ForbiddenLocation):
        await theirs.artifact(ref).load()
    with pytest.raises(MissingArtifact):
        await theirs.artifact(theirs.recall(ref.portable())).load()
    with pytest.raises(MissingArtifact):
        await theirs.artifact(theirs.recall(ref.portable())).path()


async def test_stores_of_equal_names_that_somebody_else_made_are_not_one():
    one, other = ArtifactStore(MemoryBlobs()), ArtifactStore(MemoryBlobs())
    ref = await one.put(LONG)
    await one.artifact(ref).load()

    with pytest.raises(MissingArtifact):
        await other.artifact(ref).load()


async def test_a_reference_of_another_size_is_found_out_in_spite_of_the_cache(store: ArtifactStore):
    ref = await store.put(LONG)
    await store.artifact(ref).load()

    with pytest.raises(CorruptArtifact):
        await store.artifact(Ref(ref.uri, ref.sha256, ref.size_bytes + 1)).load()


async def test_spoilt_content_is_not_kept():
    blobs = MemoryBlobs()
    store = ArtifactStore(blobs)
    ref = await store.put(LONG)
    (name,) = blobs.objects
    right, blobs.objects[name] = blobs.objects[name], b"spoilt"

    with pytest.raises(CorruptArtifact):
        await store.artifact(ref).load()
    blobs.objects[name] = right

    assert await store.artifact(ref).load() == LONG


async def test_a_handle_streams_and_opens(store: ArtifactStore):
    artifact = store.artifact(await store.put_bytes(b"content"))

    assert [piece async for piece in artifact.stream()] == [b"content"]
    async with artifact.open() as reader:
        assert await reader.read(3) == b"con"


# The cache itself.


def test_the_least_recently_used_goes_first():
    cache = MemoryCache(30, max_content_bytes=10)
    for key in "abc":
        cache.put(key, key.encode() * 10)
    cache.get("a")
    cache.put("d", b"d" * 10)

    assert [key for key in "abcd" if cache.get(key) is not None] == ["a", "c", "d"]
    assert cache.size_bytes == 30


def test_the_cache_never_holds_more_than_it_may():
    cache = MemoryCache(100, max_content_bytes=40)
    for number in range(1000):
        cache.put(str(number % 37), bytes(number % 50))
        assert cache.size_bytes <= 100

    assert cache.size_bytes == sum(len(cache.get(str(number)) or b"") for number in range(37))


def test_a_forked_process_has_a_cache_of_its_own():
    cache_of_process().put("before the fork", b"x")
    child = os.fork()
    if child == 0:
        os._exit(0 if cache_of_process().get("before the fork") is None else 1)

    assert os.waitpid(child, 0)[1] == 0
    assert cache_of_process().get("before the fork") == b"x"


# Files.


async def test_a_file_of_this_machine_is_made_once(store: ArtifactStore, blobs: FaultyBlobs):
    ref = await store.put_bytes(b"x" * 10_000_000)

    paths = await asyncio.gather(*(store.artifact(ref).path() for _ in range(10)))

    assert set(paths) == {await store.path(ref)}
    assert paths[0].read_bytes() == b"x" * 10_000_000
    assert reads(blobs) == 1


async def test_another_process_finds_the_file_and_looks_at_it_once(
    store: ArtifactStore, blobs: FaultyBlobs, tmp_path: Path
):
    ref = await store.put(LONG)
    path = await store.path(ref)

    again = ArtifactStore(blobs, copies=tmp_path / "copies")

    assert await again.path(ref) == path
    assert reads(blobs) == 1


@pytest.mark.parametrize("spoilt", [b"", b"spoilt", "same size"])
async def test_a_file_that_is_not_right_is_replaced(
    store: ArtifactStore, blobs: FaultyBlobs, tmp_path: Path, spoilt: bytes | str
):
    ref = await store.put(LONG)
    path = await store.path(ref)
    right = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(b"y" * len(right) if isinstance(spoilt, str) else spoilt)

    assert (await ArtifactStore(blobs, copies=tmp_path / "copies").path(ref)).read_bytes() == right
    assert (await store.path(ref)).read_bytes() == right


async def test_a_file_that_was_removed_is_made_again(store: ArtifactStore):
    ref = await store.put(LONG)
    (await store.path(ref)).unlink()

    assert (await store.path(ref)).exists()


async def test_what_travels_in_the_reference_becomes_a_file_too(store: ArtifactStore):
    assert (await store.path(await store.put([1]))).read_bytes() == b"[1]"


async def test_files_are_for_reading_and_for_this_user(store: ArtifactStore, tmp_path: Path):
    path = await store.path(await store.put(LONG))

    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (tmp_path / "copies").iterdir()] == [0o700]


@pytest.mark.parametrize("how", ["spoilt", "missing", "elsewhere"])
async def test_a_copy_that_fails_leaves_no_file(tmp_path: Path, how: str):
    blobs = MemoryBlobs()
    store = ArtifactStore(blobs, copies=tmp_path / "copies")
    ref = await store.put(LONG)
    (name,) = blobs.objects
    if how == "spoilt":
        blobs.objects[name] = b"spoilt"
    elif how == "missing":
        del blobs.objects[name]
    else:
        ref = Ref("file:///etc/passwd", ref.sha256, ref.size_bytes)

    with pytest.raises((CorruptArtifact, MissingArtifact, ForbiddenLocation)):
        await store.path(ref)

    assert files(tmp_path) == []


def test_blocking_code_gets_a_file_too(tmp_path: Path):
    store = sync.ArtifactStore(f"file://{tmp_path}/artifacts", copies=tmp_path / "copies")

    assert store.path(store.put_bytes(b"content")).read_bytes() == b"content"


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("COTERIE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"COTERIE_HOME": "/var/lib/coterie", "XDG_CACHE_HOME": "/cache"}, "/var/lib/coterie/content"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/coterie/content"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/home-of-ann"}, "/home-of-ann/.cache/coterie/content"),
    ],
)
def test_where_files_go_if_nobody_says(no_home: pytest.MonkeyPatch, variables: dict[str, str], expected: str):
    for name, value in variables.items():
        no_home.setenv(name, value)

    assert str(default_folder()) == expected


def test_a_user_without_a_home_is_told_what_to_do(no_home: pytest.MonkeyPatch):
    def nowhere() -> Path:
        raise RuntimeError("no home")

    no_home.setattr(Path, "home", nowhere)

    with pytest.raises(Misuse, match=r"give the store a folder: ArtifactStore\(…, copies=…\)"):
        default_folder()


def test_handles_are_made_by_the_store(store: ArtifactStore):
    assert isinstance(store.artifact(store.reference("0" * 64, 1)), Artifact)
