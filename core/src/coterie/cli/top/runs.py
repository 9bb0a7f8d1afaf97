"""The reader of runs: which there are, from the journal's list; and which of them are worth a look in this frame."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from coterie._rules.timeline import SECOND
from coterie._rules.written import RunEntry
from coterie.artifacts import ArtifactStore
from coterie.cli.top.run_file import Done, RunFile
from coterie.cli.top.snapshot import RunRow, Section
from coterie.errors import StateFormatError
from coterie.journal import Journal
from coterie.journal.place import is_book_of_call

__all__ = ["Runs"]

_MINUTE_S = 60.0
_TEN_MINUTES_S = 600.0
# So many runs that ended are kept for their rates alone.
_MOST_ENDED = 200
# Without a plan all that a run has must be read: not for every frame.
_ALL_EVERY_S = 10.0


class Runs:
    """Runs of a journal, read a little in each frame.

    Each frame asks for one page of the list, the newest; one of older ones, until `most` are known; and looks at: those
    that are new (up to `fresh`), those that somebody is at (`active`), and some of the others, in turn (`others`). So
    what a frame costs does not depend on how many runs there are, nor on how long they are.
    """

    def __init__(
        self,
        journal: Journal,
        artifacts: ArtifactStore | None,
        clock: Callable[[], float],
        *,
        page: int = 50,
        most: int = 1000,
        fresh: int = 50,
        active: int = 50,
        others: int = 10,
    ) -> None:
        self._journal = journal
        self._artifacts = artifacts
        self._clock = clock
        self._page, self._most = page, most
        self._fresh, self._active, self._others = fresh, active, others
        self._files: dict[str, RunFile] = {}
        self._looked_s: dict[str, float] = {}
        self._newest: list[str] = []
        self._older: str | None = None
        self._is_begun = False
        self._known = 0
        self._damaged: dict[str, str] = {}

    async def read(self) -> Section[RunRow]:
        """The runs that are not over, and the last that were begun.

        Raises:
            Unavailable: as the journal's store.
        """
        await self._list()
        chosen = list(self._chosen())
        await asyncio.gather(*(self._look(file) for file in chosen))
        newest = frozenset(self._newest)
        self._pass_over(newest)
        rows = [
            file.row
            for file in self._files.values()
            if file.row is not None and (file.entry.run in newest or not file.is_over)
        ]
        unread = sum(file.row is None for file in self._files.values())
        notes = tuple(f"run/{run}: {error}" for run, error in self._damaged.items())
        reach = f"of the last {self._known:,}" if self._older is not None else ""
        return Section(tuple(rows), unread, notes=notes, reach=reach)

    def rates(self, now_us: int) -> tuple[float, int]:
        """Calls a second in the last minute; micro-units an hour, from the last ten minutes."""
        now = now_us / SECOND
        calls = sum(done.attempts for done in self._ends() if now - _MINUTE_S < done.at)
        cost = sum(done.cost_micros for done in self._ends() if now - _TEN_MINUTES_S < done.at)
        return calls / _MINUTE_S, round(cost * 3600 / _TEN_MINUTES_S)

    def _ends(self) -> Iterator[Done]:
        return (done for file in self._files.values() for done in file.done.values())

    async def _list(self) -> None:
        page = await self._journal.store.runs(limit=self._page)
        if not self._is_begun:
            self._older, self._is_begun = page.after, True
        elif self._older is not None and self._known < self._most:
            older = await self._journal.store.runs(limit=self._page, after=self._older)
            self._older = older.after
            self._enter(older.runs)
        self._newest = [entry.run for entry in page.runs]
        self._enter(page.runs)

    def _enter(self, entries: tuple[RunEntry, ...]) -> None:
        for entry in entries:
            file = self._files.get(entry.run)
            if file is not None and file.entry.begun_at != entry.begun_at:
                # Another one of its name.
                self._forget(entry.run)
            if entry.run not in self._files and not is_book_of_call(entry.run):
                self._files[entry.run] = RunFile(entry)
                self._known += file is None

    def _chosen(self) -> Iterator[RunFile]:
        """What this frame looks at; of each kind, those first whose last look is longest ago, then the newest."""
        now_s = self._clock()
        files = sorted(self._files.values(), key=lambda file: (self._last(file), -file.entry.begun_at))
        rooms = {"fresh": self._fresh, "active": self._active, "others": self._others}
        for file in files:
            kind = "fresh" if file.row is None else "active" if file.is_active else "others"
            waits = file.needs_all and file.row is not None and now_s - self._last(file) < _ALL_EVERY_S
            if rooms[kind] and not waits:
                rooms[kind] -= 1
                self._looked_s[file.entry.run] = now_s
                yield file

    def _last(self, file: RunFile) -> float:
        return self._looked_s.get(file.entry.run, float("-inf"))

    async def _look(self, file: RunFile) -> None:
        try:
            if file.row is None and file.entry.run not in self._newest and await self._is_past(file):
                self._forget(file.entry.run)
                return
            await file.look(self._journal, self._artifacts)
            self._damaged.pop(file.entry.run, None)
            if file.is_gone:
                self._forget(file.entry.run)
        except StateFormatError as error:
            self._damaged[file.entry.run] = str(error)

    async def _is_past(self, file: RunFile) -> bool:
        known = [self._files[run].entry.begun_at for run in self._newest if run in self._files]
        newest_s = max(known, default=0) / SECOND
        return await file.ended_long_ago(self._journal, newest_s - _TEN_MINUTES_S)

    def _forget(self, run: str) -> None:
        del self._files[run]
        self._looked_s.pop(run, None)
        self._damaged.pop(run, None)

    def _pass_over(self, newest: frozenset[str]) -> None:
        """Forget what ended and is not among the newest, once no rate is made of it any more."""
        ended = [run for run, file in self._files.items() if file.is_over and run not in newest]
        ended.sort(key=self._ended_us, reverse=True)
        now_us = max((self._ended_us(run) for run in ended), default=0)
        for place, run in enumerate(ended):
            if place >= _MOST_ENDED or self._ended_us(run) < now_us - _TEN_MINUTES_S * SECOND:
                self._forget(run)

    def _ended_us(self, run: str) -> int:
        row = self._files[run].row
        return 0 if row is None or row.ended_us is None else row.ended_us
