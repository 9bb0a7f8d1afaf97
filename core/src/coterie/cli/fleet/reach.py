"""The fleet that a command is about: its store, and what is known of its policies."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from coterie.cli.fleet.known import Known
from coterie.cli.fleet.untouched import Untouched
from coterie.cli.sources import load_team
from coterie.cli.streams import reserved_stdout
from coterie.errors import Misuse
from coterie.stores.opening import open_state_store

__all__ = ["Reach"]


@dataclass(frozen=True, slots=True)
class Reach:
    """As the command line has it: the store's URL, the namespace, the team's path."""

    store: str | None = None
    namespace: str | None = None
    team: str | None = None

    def known(self) -> Known:
        """What the team's policies say.

        Raises:
            Misuse: there is no such team.
        """
        if self.team is None:
            return Known()
        with reserved_stdout():
            return Known(load_team(self.team))

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Untouched]:
        """The store, closed afterwards.

        Raises:
            Misuse: no store has such a URL, or nobody else can see into it.
        """
        namespace = self.namespace or os.environ.get("COTERIE_NAMESPACE") or "default"
        store = Untouched(open_state_store(self.store, namespace, named_by="--store"))
        try:
            if store.scope == "process":
                raise Misuse(
                    "state in memory is seen by its own process alone; name the fleet's store with --store or "
                    "COTERIE_STORE"
                )
            yield store
        finally:
            await store.aclose()
