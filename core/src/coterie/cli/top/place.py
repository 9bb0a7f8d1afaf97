"""The stores that `coterie top` looks into, opened without making any of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from coterie.cli.events.place import EventPlace
from coterie.cli.fleet.known import Known
from coterie.cli.fleet.reach import Reach
from coterie.cli.runs.place import JournalPlace
from coterie.cli.sources import load_team
from coterie.cli.streams import reserved_stdout
from coterie.cli.top.watch import Places, Watch
from coterie.team import Team

__all__ = ["Seat", "TopPlace"]

_SQLITE = "sqlite://"


@dataclass(frozen=True, slots=True)
class TopPlace:
    """As the command line has it: the store's URL, the namespace, the team's path, where outputs are kept.

    page: runs that the first frame looks at.
    """

    store: str | None = None
    namespace: str | None = None
    team: str | None = None
    artifacts: str | None = None
    page: int = 50

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Seat]:
        """Where to watch from; all is closed afterwards.

        Raises:
            Misuse: no store has such a URL, nobody else can see into it, or there is no such team.
        """
        seat = Seat(self, self._team())
        try:
            await seat.watch()
            yield seat
        finally:
            await seat.aclose()

    def _team(self) -> Team | None:
        if self.team is None:
            return None
        with reserved_stdout():
            return load_team(self.team)


@dataclass(slots=True)
class Seat:
    """The stores, opened anew where a file has appeared since that was not there: until then there is nothing in it."""

    place: TopPlace
    team: Team | None
    places: Places | None = None
    _watch: Watch | None = None
    _missing: tuple[Path, ...] = ()
    _held: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def watch(self) -> Watch:
        """What takes the next snapshot."""
        if self._watch is not None and not any(path.exists() for path in self._missing):
            return self._watch
        await self.aclose()
        self.places = await self._opened()
        urls = (self.places.store.url, self.places.journal.store.url, self.places.log.url)
        files = [Path(url.removeprefix(_SQLITE)) for url in urls if url.startswith(_SQLITE)]
        self._missing = tuple(path for path in files if not path.exists())
        self._watch = Watch(self.places, page=self.place.page)
        return self._watch

    async def aclose(self) -> None:
        """Close the stores."""
        held, self._held = self._held, AsyncExitStack()
        await held.aclose()

    async def _opened(self) -> Places:
        place = self.place
        store = await self._held.enter_async_context(Reach(place.store, place.namespace).opened())
        journal_place = JournalPlace(place.store, place.namespace)
        journal = await self._held.enter_async_context(journal_place.opened())
        log = await self._held.enter_async_context(EventPlace(place.store, place.namespace).opened())
        team = self.team
        types = {} if team is None else {name: [agent.id for agent in team.of_type(name)] for name in team.agent_types}
        return Places(store, journal, log, journal_place.artifacts_if_any(place.artifacts), Known(self.team), types)
