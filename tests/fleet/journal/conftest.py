"""A journal on disk, and a clock that can be set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coterie.stores.journal_sqlite import SqliteJournalStore
from tests.fleet.journal.tools import WallClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.journal.db"


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
async def sqlite_journal(path: Path) -> AsyncIterator[SqliteJournalStore]:
    store = SqliteJournalStore(path)
    yield store
    await store.aclose()
