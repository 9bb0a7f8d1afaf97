"""Journals of each kind in which runs really happened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coterie.journal import Journal
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.stores.opening import open_journal_store
from tests.support.command_line import coterie, folder, start

__all__ = ["coterie", "folder", "journal", "start"]


@pytest.fixture(params=["memory", "sqlite"])
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    """A journal without runs."""
    if request.param == "memory":
        opened = Journal(MemoryJournalStore("test"))
    else:
        opened = Journal(open_journal_store(f"sqlite://{tmp_path / 'state.db'}", "test", durability="relaxed"))
    yield opened
    await opened.aclose()
