"""Of a damaged journal, all is saved that does not lie in what is damaged."""

from __future__ import annotations

# Files of tests are small and near.
# ruff: noqa: ASYNC240, ASYNC221
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from coterie.errors import Misuse, StateFormatError
from coterie.stores.journal_salvage import Salvaged, salvage
from coterie.stores.journal_sqlite import SqliteJournalStore
from coterie.testing.journal_handles import all_runs
from tests.fleet.journal.tools import check, raw

PAGE = 4096
RUNS = [f"r{number}" for number in range(6)]


@pytest.fixture
async def journal(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    """A closed journal; returns its texts, by run and shelf. Its rows lie far apart, as after many removals."""
    store = SqliteJournalStore(path)
    written: dict[tuple[str, str], dict[str, str]] = {}
    for run in RUNS:
        for shelf in ("", "s"):
            written[run, shelf] = {f"{shelf}{n}": f"{run}|{shelf}|{n}|" + "x" * 300 for n in range(60)}
            await store.write(run, written[run, shelf], shelf=shelf)
    await store.write("between", {f"{n}": "x" for n in range(20_000)})
    await store.write("last", {"a": "1"})
    await store.remove("between")
    written["last", ""] = {"a": "1"}
    await store.aclose()
    return written


def damage(path: Path, pages: Iterable[int], content: bytes = b"\xff" * PAGE) -> None:
    with path.open("r+b") as file:
        for page in pages:
            file.seek(page * PAGE)
            file.write(content)


async def saved_in(path: Path, written: dict[tuple[str, str], dict[str, str]]) -> dict[tuple[str, str], dict[str, str]]:
    store = SqliteJournalStore(path)
    found = {place: await store.read(*place) for place in written}
    await store.aclose()
    return found


async def test_of_an_undamaged_journal_all_is_saved(journal: dict[tuple[str, str], dict[str, str]], path: Path):
    new = path.with_name("new.db")

    assert salvage(path, new) == Salvaged(runs=7, texts=721, gaps=0, nameless=0)

    assert await saved_in(new, journal) == journal
    assert check(new) == "ok"
    store = SqliteJournalStore(new)
    assert await all_runs(store) == ["last", *reversed(RUNS)]
    # Numbers go on where they were.
    await store.write("newest", {"a": "1"})
    assert (await all_runs(store))[0] == "newest"
    await store.aclose()


@pytest.mark.parametrize("content", [b"\xff" * PAGE, b"\x00" * PAGE], ids=["ones", "zeros"])
async def test_whatever_page_is_damaged_the_others_are_saved(
    journal: dict[tuple[str, str], dict[str, str]], path: Path, tmp_path: Path, content: bytes
):
    total = sum(map(len, journal.values()))
    pages = path.stat().st_size // PAGE
    lost: list[int] = []
    # The first pages begin the tables; most of those behind are alike.
    for page in [*range(1, 10), *range(10, pages, 23)]:
        copy, new = tmp_path / f"{page}.db", tmp_path / f"{page}.new.db"
        shutil.copy(path, copy)
        damage(copy, [page], content)

        saved = salvage(copy, new)

        for place, texts in (await saved_in(new, journal)).items():
            assert texts.items() <= journal[place].items()
        assert check(new) == "ok"
        lost.append(total - saved.texts)
        assert saved.gaps > 0 or lost[-1] == 0
        copy.unlink()

    # What lies on one page; only what leads to all pages of texts takes them all along.
    assert sum(number > PAGE // 300 for number in lost) <= 1
    assert sum(number == 0 for number in lost) > len(lost) // 3
    assert len(lost) > 15


async def test_what_lies_between_damaged_pages_is_saved(
    journal: dict[tuple[str, str], dict[str, str]], path: Path, tmp_path: Path
):
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # shown where it fails
    chance = random.Random(seed)
    total, pages = sum(map(len, journal.values())), path.stat().st_size // PAGE
    for attempt in range(10):
        hit = chance.sample(range(10, pages), 20)
        copy, new = tmp_path / f"{attempt}.db", tmp_path / f"{attempt}.new.db"
        shutil.copy(path, copy)
        damage(copy, hit)

        saved = salvage(copy, new)

        for place, texts in (await saved_in(new, journal)).items():
            assert texts.items() <= journal[place].items()
        assert total - saved.texts <= len(hit) * (PAGE // 300)


async def test_where_the_names_of_runs_are_lost_their_texts_are_not(
    journal: dict[tuple[str, str], dict[str, str]], path: Path
):
    with raw(path) as connection:
        # As where their page is damaged.
        connection.execute("DELETE FROM runs WHERE run IN ('r0', 'r1')")
    new = path.with_name("new.db")

    assert salvage(path, new) == Salvaged(runs=7, texts=721, gaps=0, nameless=2)

    store = SqliteJournalStore(new, "salvaged")
    assert sorted(await all_runs(store)) == ["run-1", "run-2"]
    assert await store.read("run-1", "s") == journal["r0", "s"]
    await store.aclose()


async def test_what_was_being_removed_does_not_come_back(path: Path):
    store = SqliteJournalStore(path)
    await store.write("one", {"a": "1"})
    await store.write("two", {"a": "1"})
    await store._file.done(lambda transaction: transaction.remove("one"), writes=True)
    await store.aclose()

    assert salvage(path, path.with_name("new.db")) == Salvaged(runs=1, texts=1, gaps=0, nameless=0)


async def test_what_is_still_in_the_log_is_saved_too(path: Path):
    store = SqliteJournalStore(path)
    await store.write("one", {"a": "1"})
    copy = path.with_name("copy.db")
    for end in ("", "-wal", "-shm"):
        shutil.copy(f"{path}{end}", f"{copy}{end}")
    await store.aclose()

    assert salvage(copy, path.with_name("new.db")).texts == 1


async def test_a_text_that_is_none_any_more_is_lost_alone(path: Path):
    store = SqliteJournalStore(path)
    await store.write("one", {f"p{n}": f"MARK{n}" * 5 for n in range(9)})
    await store.aclose()
    path.write_bytes(path.read_bytes().replace(b"MARK4", b"\xff\xfe\xfd\xfc4"))
    new = path.with_name("new.db")

    assert salvage(path, new) == Salvaged(runs=1, texts=8, gaps=1, nameless=0)
    store = SqliteJournalStore(new)
    assert sorted(await store.read("one")) == [f"p{n}" for n in range(9) if n != 4]
    await store.aclose()


async def test_what_is_not_of_its_columns_type_is_lost_alone(path: Path):
    store = SqliteJournalStore(path)
    await store.write("one", {"a": "1", "b": "1"})
    await store.aclose()
    with raw(path) as connection:
        connection.execute("UPDATE texts SET text = x'00' WHERE path = 'a'")

    assert salvage(path, path.with_name("new.db")) == Salvaged(runs=1, texts=1, gaps=1, nameless=0)


def test_nothing_is_written_over(path: Path):
    path.touch()

    with pytest.raises(Misuse, match="must be new"):
        salvage(path, path)
    with pytest.raises(Misuse, match="a file"):
        salvage(path.with_name("none"), path.with_name("new.db"))


def test_where_the_tables_are_lost_it_says_so_and_makes_nothing(path: Path):
    path.write_bytes(b"something else " * 1000)

    with pytest.raises(StateFormatError, match="backup"):
        salvage(path, path.with_name("new.db"))
    assert not path.with_name("new.db").exists()


async def test_it_is_a_command(path: Path):
    store = SqliteJournalStore(path)
    await store.write("one", {"a": "1"})
    await store.aclose()
    command = [sys.executable, "-m", "coterie.stores.journal_salvage"]

    ended = subprocess.run([*command, path, path.with_name("new.db")], capture_output=True, text=True, check=False)
    again = subprocess.run([*command, path, path.with_name("new.db")], capture_output=True, text=True, check=False)
    none = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout) == (0, "saved 1 texts of 1 runs; 0 places could not be read\n")
    assert again.returncode == 1
    assert "must be new" in again.stderr
    assert none.returncode == 2
    assert "COPY NEW" in none.stderr
