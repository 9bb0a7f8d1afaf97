"""Teams to watch: their stores in memory, in files, and in a real Valkey."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from coterie.artifacts import ArtifactStore
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.stores.log_memory import MemoryLogStore
from coterie.stores.memory import MemoryStateStore
from coterie.stores.opening import open_journal_store, open_log_store, open_state_store
from tests.fleet.top.world import Desk
from tests.support.command_line import coterie, folder, start
from tests.support.redis_servers import Server, valkey

__all__ = ["coterie", "folder", "start"]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with valkey() as running:
        yield running


def opened(url: str, namespace: str, artifacts: ArtifactStore) -> Desk:
    return Desk(
        open_state_store(url, namespace),
        open_journal_store(url, namespace, durability="relaxed"),
        open_log_store(url, namespace, durability="relaxed"),
        artifacts,
    )


@pytest.fixture(params=["memory", "sqlite", "valkey"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    """A newsroom's stores."""
    namespace = f"test-{os.urandom(6).hex()}"
    artifacts = ArtifactStore(f"file://{tmp_path}/artifacts", namespace=namespace)
    if request.param == "memory":
        found = Desk(MemoryStateStore(namespace), MemoryJournalStore(namespace), MemoryLogStore(namespace), artifacts)
    else:
        url = f"sqlite://{tmp_path}/state.db" if request.param == "sqlite" else request.getfixturevalue("server").url
        found = opened(url, namespace, artifacts)
    yield found
    for store in (found.store, found.books, found.log):
        await store.aclose()
