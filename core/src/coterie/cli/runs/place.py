"""The journal that a command is about."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from coterie.artifacts import ArtifactStore
from coterie.cli.sources import artifacts_url
from coterie.errors import CoterieError, Misuse
from coterie.journal import Journal
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.stores.opening import open_journal_store

__all__ = ["JournalPlace"]

_SQLITE = "sqlite://"


@dataclass(frozen=True, slots=True)
class JournalPlace:
    """As the command line has it: the store's URL, and the namespace."""

    store: str | None = None
    namespace: str | None = None

    @property
    def name(self) -> str:
        """The namespace that is meant, also of what the runs have stored."""
        return self.namespace or os.environ.get("COTERIE_NAMESPACE") or "default"

    def artifacts(self, given: str | None) -> ArtifactStore:
        """Where the runs' outputs are kept. given: as `--artifacts` has it."""
        return ArtifactStore(artifacts_url(given), namespace=self.name)

    def artifacts_if_any(self, given: str | None) -> ArtifactStore | None:
        """The same, for those to whom it matters little: what is not named need not be there."""
        try:
            return self.artifacts(given)
        except CoterieError:
            if given is not None:
                raise
            return None

    @asynccontextmanager
    async def opened(self, *, durability: Literal["strict", "relaxed"] = "relaxed") -> AsyncIterator[Journal]:
        """The journal, closed afterwards.

        durability: of what is written. People look, and change little: that they may is by default not held against a
        server that is not durable enough.

        Raises:
            Misuse: no store has such a URL, or nobody else can see into it.
        """
        if (self.store or os.environ.get("COTERIE_STORE") or "").startswith("memory://"):
            raise Misuse(
                "a journal in memory is seen by its own process alone; name the fleet's store with --store or "
                "COTERIE_STORE"
            )
        store = open_journal_store(self.store, self.name, durability=durability, named_by="--store")
        journal = Journal(store)
        try:
            yield _untouched(journal)
        finally:
            await journal.aclose()


def _untouched(journal: Journal) -> Journal:
    """One without runs, in place of a file that is not there: looking at it would make it."""
    url = journal.store.url
    if not url.startswith(_SQLITE) or Path(url.removeprefix(_SQLITE)).exists():
        return journal
    return Journal(_Absent(url, journal.store.namespace))


class _Absent(MemoryJournalStore):
    """Says where nothing is."""

    def __init__(self, url: str, namespace: str) -> None:
        super().__init__(namespace)
        self._url = url

    @property
    def url(self) -> str:
        """Where it would be."""
        return self._url
