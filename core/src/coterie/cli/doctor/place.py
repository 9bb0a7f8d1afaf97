"""The deployment that is looked at: as the command line has it, else the environment."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from coterie.cli.events.place import EventPlace
from coterie.cli.fleet.known import Known
from coterie.cli.fleet.reach import Reach
from coterie.cli.fleet.untouched import Untouched
from coterie.cli.runs.place import JournalPlace
from coterie.journal import Journal
from coterie.ports import LogStore
from coterie.team import Team

__all__ = ["Place", "may_be_made"]


@dataclass(slots=True)
class Place:
    """store, namespace, team, artifacts, plan: as the options have them. loaded: the team, once it was found."""

    store: str | None = None
    namespace: str | None = None
    team: str | None = None
    artifacts: str | None = None
    plan: str | None = None
    loaded: Team | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """The namespace."""
        return self.namespace or os.environ.get("COTERIE_NAMESPACE") or "default"

    @property
    def url(self) -> str:
        """The store's URL, with whatever it holds of credentials: never shown."""
        return self.store or os.environ.get("COTERIE_STORE") or "sqlite://"

    @property
    def known(self) -> Known:
        """What the team's policies say, if there is a team."""
        return Known(self.loaded)

    @asynccontextmanager
    async def state(self) -> AsyncIterator[Untouched]:
        """The state store, closed afterwards; a file that is not there is not made by looking at it."""
        async with Reach(self.store, self.name).opened() as store:
            yield store

    @asynccontextmanager
    async def log(self) -> AsyncIterator[LogStore]:
        """The log store, closed afterwards."""
        async with EventPlace(self.store, self.name).opened() as log:
            yield log

    @asynccontextmanager
    async def journal(self) -> AsyncIterator[Journal]:
        """The journal to read, closed afterwards."""
        async with JournalPlace(self.store, self.name).opened() as journal:
            yield journal


def may_be_made(path: Path) -> str | None:
    """What stands in the way of a file or folder that is to be at `path`; None if nothing does. Nothing is made."""
    there = path
    try:
        while not there.exists() and there != there.parent:
            there = there.parent
    except OSError as error:
        # A folder above it may not be looked into.
        return f"this user (id {os.geteuid()}) may not see it: {error.strerror}"
    if there != path and not there.is_dir():
        return f"{there} is not a folder"
    wanted = os.R_OK | os.W_OK | (os.X_OK if there.is_dir() else 0)
    if not os.access(there, wanted, effective_ids=os.access in os.supports_effective_ids):
        return f"this user (id {os.geteuid()}) may not write {there}"
    return None
