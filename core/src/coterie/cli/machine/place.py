"""The journal in which a machine is changed: as durable as is asked for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from coterie.cli.runs.place import JournalPlace
from coterie.cli.session import JournalMode
from coterie.errors import Misuse
from coterie.journal import Journal
from coterie.stores.opening import open_journal_store

__all__ = ["written"]


@asynccontextmanager
async def written(place: JournalPlace, mode: JournalMode) -> AsyncIterator[Journal]:
    """The journal to write in, closed afterwards.

    Raises:
        Misuse: it is off, or in memory, where nobody else sees it.
    """
    if mode == "off":
        raise Misuse("a machine keeps its state in the journal, which is off; use --journal strict, or relaxed")
    if (place.store or os.environ.get("COTERIE_STORE") or "").startswith("memory:"):
        raise Misuse(
            "a machine in memory is seen by its own process alone; name the fleet's store with --store or COTERIE_STORE"
        )
    journal = Journal(open_journal_store(place.store, place.name, durability=mode, named_by="--store"))
    try:
        yield journal
    finally:
        await journal.aclose()
