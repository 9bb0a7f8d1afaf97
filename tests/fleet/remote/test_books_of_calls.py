"""What workers keep of a call in the journal is nobody's run: it is not in people's way, and goes in the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from coterie.journal import Intent, Journal
from coterie.journal.header import Header
from coterie.journal.place import book_of_call, is_book_of_call, place_of
from coterie.journal.tending import prune_runs
from coterie.journal.view import list_runs
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.stores.opening import open_journal_store
from coterie.testing import ManualClock
from tests.support.command_line import coterie, folder, start

__all__ = ["coterie", "folder", "start"]

BOOK = book_of_call("a" * 40)


def test_only_the_books_of_calls_are_taken_for_such():
    assert is_book_of_call(BOOK)
    assert not any(is_book_of_call(run) for run in ("call.home", "call." + "a" * 41, "r1", BOOK + "\n"))


async def test_they_are_listed_only_for_those_who_ask_for_them_and_pruned_when_nobody_is_at_them():
    clock = ManualClock()
    journal = Journal(MemoryJournalStore("test", clock=clock), clock=clock)
    await journal.begin("r1", Header("plan", "0" * 64, begun_at=clock.now()), Intent())
    asked = journal.asked(Intent(), "fp", "somebody")
    await journal.claim(BOOK, place_of("t"), asked, what="t", patience_s=0)

    assert [view.workflow_id for view in (await list_runs(journal, limit=9, with_calls=False))[0]] == ["r1"]
    assert {view.workflow_id for view in (await list_runs(journal, limit=9))[0]} == {"r1", BOOK}
    assert await prune_runs(journal, older_than_s=0) == []

    clock.advance(30 * 86_400.0)

    # The run has not ended.
    assert await prune_runs(journal, older_than_s=86_400.0) == [BOOK]


def test_the_list_of_runs_is_filled_with_runs(coterie: Callable[..., CompletedProcess[str]], folder: Path):

    url = f"sqlite://{folder}/state.db"

    async def fill() -> None:
        journal = Journal(open_journal_store(url, "default"))
        for n in range(3):
            await journal.begin(f"run{n}", Header("plan", "0" * 64), Intent())
            await journal.begin(book_of_call(f"{n:040x}"), Header("plan", "0" * 64), Intent())
        await journal.store.aclose()

    asyncio.run(fill())

    def listed(*more: str) -> list[str]:
        found = coterie("runs", "list", "--store", url, "--json", *more)
        return [run["workflow_id"] if "workflow_id" in run else run["run"] for run in json.loads(found.stdout)["runs"]]

    assert listed("--limit", "3") == ["run2", "run1", "run0"]
    assert len(listed("--calls")) == 6
