"""Where a SQLite store keeps its files, for whom, and what it says where it cannot."""

from __future__ import annotations

# Files of tests are small and near.
# ruff: noqa: ASYNC240
import asyncio
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coterie._rules.decided import Decided, State
from coterie.errors import Misuse, StateFormatError, Unavailable
from coterie.stores.filesystem import filesystem_type, refuse_network
from coterie.stores.sqlite import SqliteStateStore

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def put(state: State | None):
    return lambda old, now: Decided(state, None)


def add(old: State | None, now: int) -> Decided[int]:
    count = old["n"] + 1 if old is not None else 1  # type: ignore[operator]  # it is an integer
    return Decided({"n": count}, count)


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


async def test_files_and_folders_are_their_owners_alone(tmp_path: Path):
    mask = os.umask(0)
    try:
        store = SqliteStateStore(tmp_path / "a" / "b" / "state.db")
        await store.update("limit/x", add)
        await store.subscribe("limit/x", lambda message: None)
    finally:
        os.umask(mask)

    found = {path.relative_to(tmp_path): path.stat().st_mode for path in (tmp_path / "a").rglob("*")}
    found[Path("a")] = (tmp_path / "a").stat().st_mode
    assert {path.name for path in found} >= {"a", "b", "state.db", "state.db-wal", "state.db-shm", "state.db.wake"}
    for path, mode in found.items():
        if not stat.S_ISSOCK(mode):
            assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600), path
    await store.aclose()


@contextmanager
def without_rights() -> Iterator[None]:
    """As somebody who may not do everything, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("exists", [False, True])
async def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(path: Path, exists: bool):
    if exists:
        first = SqliteStateStore(path)
        await first.update("limit/x", add)
        await first.aclose()
        path.chmod(0o400)
    path.parent.chmod(0o500)
    store = SqliteStateStore(path)
    try:
        with without_rights(), pytest.raises(Unavailable, match="COTERIE_HOME") as caught:
            await store.update("limit/x", add)
    finally:
        path.parent.chmod(0o700)

    assert str(path) in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    await store.aclose()


async def test_a_folder_below_a_file_is_named_with_what_to_do(tmp_path: Path):
    (tmp_path / "file").touch()
    store = SqliteStateStore(tmp_path / "file" / "state.db")

    with pytest.raises(Unavailable, match="COTERIE_HOME"):
        await store.read("limit/x")
    await store.aclose()


async def test_a_file_that_is_no_database_is_not_touched(path: Path):
    path.write_bytes(b"something else " * 1000)
    store = SqliteStateStore(path)

    with pytest.raises(StateFormatError, match="move it away"):
        await store.update("limit/x", add)

    assert path.read_bytes() == b"something else " * 1000
    await store.aclose()


@pytest.mark.parametrize("undamaged_pages", [1, 3])
async def test_a_damaged_database_is_named_with_what_to_do(path: Path, undamaged_pages: int):
    first = SqliteStateStore(path)
    for number in range(200):
        await first.update(f"limit/k{number}", put({"text": "x" * 500}))
    await first.aclose()
    with path.open("r+b") as file:
        file.seek(4096 * undamaged_pages)
        file.write(b"\xff" * (path.stat().st_size - 4096 * undamaged_pages))
    store = SqliteStateStore(path)

    uses = store.keys("limit"), store.read("limit/k77"), store.update("limit/k77", add)
    for end in await asyncio.gather(*uses, return_exceptions=True):
        assert isinstance(end, StateFormatError)
        assert "move it away" in str(end)

    # Moved away, as it says, it begins anew, in the same process.
    path.rename(path.with_suffix(".bad"))
    for left in path.parent.glob("state.db-*"):
        left.unlink()
    assert await store.update("limit/k1", lambda old, now: Decided({"n": 1}, old)) is None
    await store.aclose()


async def test_another_programs_database_is_refused(path: Path):
    with raw(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    store = SqliteStateStore(path)

    with pytest.raises(Misuse, match="another program's"):
        await store.update("limit/x", add)
    await store.aclose()


async def test_a_newer_database_is_refused_with_the_version_needed(path: Path):
    first = SqliteStateStore(path)
    await first.update("limit/x", add)
    await first.aclose()
    with raw(path) as other:
        other.execute("PRAGMA user_version=7")
    store = SqliteStateStore(path)

    with pytest.raises(StateFormatError, match="has version 7, this coterie reads up to 1; update"):
        await store.read("limit/x")
    await store.aclose()


async def test_a_database_that_is_removed_is_made_anew(path: Path):
    store, other = SqliteStateStore(path), SqliteStateStore(path)
    await store.update("limit/x", add)
    await other.update("limit/x", add)
    for left in path.parent.glob("state.db*"):
        left.unlink()

    assert await store.update("limit/x", add) == 1
    assert await other.update("limit/x", add) == 2
    await store.aclose()
    await other.aclose()


@pytest.mark.parametrize("name", ["a?b", "a#b", "50%25", "ü 🌱", "-x", ":memory:"])
async def test_a_path_is_taken_as_it_is_written(tmp_path: Path, name: str):
    store = SqliteStateStore(tmp_path / name)

    await store.update("limit/x", add)
    await store.aclose()

    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert store.url == f"sqlite://{tmp_path}/{name}"


def test_a_relative_path_is_refused():
    with pytest.raises(Misuse, match="relative"):
        SqliteStateStore("state.db")


MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:44 / /srv/team\040share rw,relatime shared:9 - nfs4 host:/share rw
41 40 0:45 / /srv/team\040share/local rw - xfs /dev/vdb rw
42 22 0:46 / /srv/twice rw - cifs //host/x rw
43 22 0:47 / /srv/twice rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/srv/x/state.db", "ext4"),
        ("/srv/team share/a/state.db", "nfs4"),
        ("/srv/team shared/state.db", "ext4"),
        ("/srv/team share/local/state.db", "xfs"),
        ("/srv/twice/state.db", "tmpfs"),
    ],
)
def test_the_file_system_is_the_one_that_is_mounted_nearest(place: str, kind: str):
    assert filesystem_type(Path(place), MOUNTS) == kind


def test_a_network_file_system_is_refused_with_what_to_use():
    with pytest.raises(Misuse, match=r"network file system \(nfs4\).*redis://"):
        refuse_network(Path("/srv/team share/state.db"), MOUNTS)
    refuse_network(Path("/srv/team share/local/state.db"), MOUNTS)
    refuse_network(Path("/anywhere"), "")
