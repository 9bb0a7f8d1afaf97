"""Where a journal's file lies, for whom, and what is said, and still read, where something is wrong with it."""

from __future__ import annotations

# Files of tests are small and near.
# ruff: noqa: ASYNC240
import asyncio
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coterie._rules.decided import Decided
from coterie.errors import Misuse, StateFormatError, Unavailable
from coterie.stores import filesystem
from coterie.stores.journal_sqlite import SqliteJournalStore
from coterie.stores.sqlite import SqliteStateStore
from coterie.testing.journal_handles import all_runs, count_up
from tests.fleet.journal.tools import raw

NOBODY = 65534
PAGE = 4096


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


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder of which all above may be entered by anybody."""
    with tempfile.TemporaryDirectory(prefix="coterie-journal-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder, and what is in it, may be read, and not written."""
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    try:
        with without_rights():
            yield
    finally:
        folder.chmod(0o700)


async def test_files_and_folders_are_their_owners_alone(tmp_path: Path):
    mask = os.umask(0)
    try:
        store = SqliteJournalStore(tmp_path / "a" / "b" / "state.journal.db")
        await store.write("one", {"a": "1"})
    finally:
        os.umask(mask)

    found = {path.relative_to(tmp_path): path.stat().st_mode for path in (tmp_path / "a").rglob("*")}
    names = {path.name for path in found}
    assert names == {"b", "state.journal.db", "state.journal.db-wal", "state.journal.db-shm"}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    for path, mode in found.items():
        assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600), path
    await store.aclose()


async def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(path: Path):
    store = SqliteJournalStore(path)

    with read_only(path.parent), pytest.raises(Unavailable, match="COTERIE_HOME") as caught:
        await store.write("one", {"a": "1"})

    assert str(path) in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    await store.aclose()


# Where it may only be read


async def test_a_journal_that_may_only_be_read_is_read(public: Path):
    path = public / "state.journal.db"
    writer = SqliteJournalStore(path)
    await writer.write("one", {"a": "1"})
    await writer.write("one", {"b": "1"}, shelf="s")
    await writer.aclose()
    reader = SqliteJournalStore(path)

    with read_only(path.parent):
        assert await reader.read("one") == {"a": "1"}
        assert await reader.read("one", "s") == {"b": "1"}
        assert await all_runs(reader) == ["one"]
        with pytest.raises(Unavailable, match="cannot be written"):
            await reader.write("one", {"a": "2"})
        with pytest.raises(Unavailable, match="cannot be written"):
            await reader.remove("one")
        assert await reader.read("one") == {"a": "1"}
        assert {left.name for left in path.parent.iterdir()} == {path.name}
    await reader.aclose()


async def test_a_reader_without_rights_sees_what_a_writer_just_wrote(public: Path):
    path = public / "state.journal.db"
    writer, reader = SqliteJournalStore(path), SqliteJournalStore(path)
    await writer.write("one", {"a": "1"})

    for number in range(5):
        await writer.write("one", {"n": f"{number}"})
        with read_only(path.parent):
            assert await reader.read("one") == {"a": "1", "n": f"{number}"}
    await writer.aclose()

    # The writer is gone, and with it the log.
    with read_only(path.parent):
        assert await reader.read("one") == {"a": "1", "n": "4"}
    path.chmod(0o600)
    await reader.write("one", {"a": "2"})
    assert await reader.read("one") == {"a": "2", "n": "4"}
    await reader.aclose()


@pytest.mark.parametrize(("content", "why"), [(b"", "it is empty"), (b"something else " * 1000, "no database")])
async def test_what_is_no_journal_is_not_read_as_an_empty_one(public: Path, content: bytes, why: str):
    path = public / "state.journal.db"
    path.write_bytes(content)
    store = SqliteJournalStore(path)

    with read_only(path.parent), pytest.raises((Unavailable, StateFormatError), match=why):
        await store.read("one")
    await store.aclose()


# Where it cannot grow


async def test_a_transaction_that_cannot_be_stored_fails_all_who_were_in_it(sqlite_journal: SqliteJournalStore):
    store = sqlite_journal
    await store.write("one", {"a": "1"})
    # Pages, of 4 KiB: as on a disk that is full.
    await store._file.done(lambda transaction: transaction._connection.execute("PRAGMA max_page_count=12").fetchall())

    ends = await asyncio.gather(
        store.write("one", {"large": "x" * 200_000}),
        store.write("one", {"b": "1"}),
        store.change("two", ["n"], count_up()),
        return_exceptions=True,
    )

    # Those that were folded together; which, is chance.
    failed = [end for end in ends if isinstance(end, BaseException)]
    assert isinstance(ends[0], Unavailable)
    assert all(
        isinstance(end, Unavailable) and "make room" in str(end) and isinstance(end.__cause__, sqlite3.Error)
        for end in failed
    )
    # Nothing was acknowledged that is not there, and nothing is there by half.
    expected = {"a": "1"} | ({"b": "1"} if ends[1] is None else {})
    assert await store.read("one") == expected
    assert await all_runs(store) == ["one"] + ([] if isinstance(ends[2], BaseException) else ["two"])
    assert await store.change("two", ["n"], count_up()) == (1 if isinstance(ends[2], BaseException) else 2)


# Where it is another's, newer, or damaged


async def test_a_file_that_is_no_database_is_not_touched(path: Path):
    path.write_bytes(b"something else " * 1000)
    store = SqliteJournalStore(path)

    with pytest.raises(StateFormatError, match="keep it"):
        await store.write("one", {"a": "1"})

    assert path.read_bytes() == b"something else " * 1000
    await store.aclose()


async def test_another_programs_database_is_refused(path: Path):
    with raw(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    store = SqliteJournalStore(path)

    with pytest.raises(Misuse, match=r"another program's.*coterie's journal"):
        await store.write("one", {"a": "1"})
    await store.aclose()


async def test_state_and_journal_do_not_share_a_file(path: Path):
    states, journal = SqliteStateStore(path), SqliteJournalStore(path)
    await states.update("limit/x", lambda old, now: Decided({"n": 1}, None))

    with pytest.raises(Misuse, match="another program's"):
        await journal.read("one")
    await states.aclose()
    await journal.aclose()

    other = path.with_name("other.db")
    states, journal = SqliteStateStore(other), SqliteJournalStore(other)
    await journal.write("one", {"a": "1"})
    with pytest.raises(Misuse, match="another program's"):
        await states.read("limit/x")
    await states.aclose()
    await journal.aclose()


async def test_a_newer_database_is_refused_with_the_version_needed(path: Path):
    first = SqliteJournalStore(path)
    await first.write("one", {"a": "1"})
    await first.aclose()
    with raw(path) as other:
        other.execute("PRAGMA user_version=7")
    store = SqliteJournalStore(path)

    with pytest.raises(StateFormatError, match="has version 7, this coterie reads up to 1; update"):
        await store.read("one")
    await store.aclose()


async def test_a_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(filesystem, "_read_mounts", lambda: "22 1 0:44 / / rw - nfs4 host:/share rw")
    store = SqliteJournalStore(path)

    with pytest.raises(Misuse, match=r"network file system \(nfs4\)"):
        await store.write("one", {"a": "1"})
    assert not path.exists()
    await store.aclose()


@pytest.mark.parametrize("damage", [b"\xff" * PAGE, b"\x00" * PAGE], ids=["ones", "zeros"])
async def test_of_a_damaged_journal_all_that_is_read_is_true(path: Path, tmp_path: Path, damage: bytes):
    runs = [f"r{number}" for number in range(5)]
    texts = {run: {f"p{n}": f"{run}|{n}|" + "x" * 300 for n in range(40)} for run in runs}
    first = SqliteJournalStore(path)
    for run in runs:
        await first.write(run, texts[run])
    await first.aclose()
    pages = path.stat().st_size // PAGE
    whole = failed = 0

    for page in range(pages):
        copy = tmp_path / f"{page}" / path.name
        copy.parent.mkdir()
        shutil.copy(path, copy)
        with copy.open("r+b") as file:
            file.seek(page * PAGE)
            file.write(damage)
        store = SqliteJournalStore(copy)
        ends = await asyncio.gather(*(store.read(run) for run in runs), return_exceptions=True)
        for run, end in zip(runs, ends, strict=True):
            if isinstance(end, dict):
                # Without its first page, it has the looks of an empty file.
                assert end == texts[run] or page == 0
                whole += 1
            else:
                assert isinstance(end, StateFormatError)
                assert str(copy) in str(end)
                failed += 1
        await store.aclose()

    # Most of what was not hit is read, whatever was hit.
    assert whole > failed > pages


async def test_a_damaged_journal_says_what_to_do_and_takes_what_it_can(path: Path):
    first = SqliteJournalStore(path)
    for run in ("one", "two"):
        await first.write(run, {f"p{n}": "x" * 1000 for n in range(100)})
    await first.aclose()
    with path.open("r+b") as file:
        # The last pages are the texts of the last run.
        file.seek(path.stat().st_size - 5 * PAGE)
        file.write(b"\xff" * 5 * PAGE)
    store = SqliteJournalStore(path)

    with pytest.raises(StateFormatError, match="damaged") as caught:
        await store.read("two")

    for said in ("keep it", "copy it", "'-wal'", "journal_salvage COPY NEW", "is whole", str(path)):
        assert said in str(caught.value)
    assert "start again" not in str(caught.value)
    assert len(await store.read("one")) == 100
    assert await all_runs(store) == ["two", "one"]
    await store.aclose()


async def test_bytes_that_are_no_text_are_damage(path: Path):
    first = SqliteJournalStore(path)
    await first.write("one", {"a": "MARK" * 10})
    await first.aclose()
    path.write_bytes(path.read_bytes().replace(b"MARK", b"\xff\xfe\xfd\xfc"))
    store = SqliteJournalStore(path)

    with pytest.raises(StateFormatError, match="damaged"):
        await store.read("one")
    with pytest.raises(StateFormatError, match="damaged"):
        await store.get("one", ["a"])
    await store.aclose()


# Paths


@pytest.mark.parametrize("name", ["a?b", "a#b", "50%25", "ü 🌱", "-x", ":memory:"])
async def test_a_path_is_taken_as_it_is_written(public: Path, name: str):
    folder = public / "home"
    store = SqliteJournalStore(folder / name)

    await store.write("one", {"a": "1"})
    await store.aclose()

    assert [path.name for path in folder.iterdir()] == [name]
    assert store.url == f"sqlite://{folder}/{name}"
    with read_only(folder):
        reader = SqliteJournalStore(folder / name)
        assert await reader.read("one") == {"a": "1"}
        await reader.aclose()


def test_a_relative_path_is_refused():
    with pytest.raises(Misuse, match=r"the journal database 'state\.db' is a relative path"):
        SqliteJournalStore("state.db")


@pytest.mark.parametrize("patience_s", [0, -1, float("nan")])
def test_a_store_needs_patience(path: Path, patience_s: float):
    with pytest.raises(Misuse, match="patience_s"):
        SqliteJournalStore(path, patience_s=patience_s)
