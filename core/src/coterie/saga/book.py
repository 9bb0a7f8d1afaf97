"""What a saga reads and writes in its run's journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from coterie._rules.journal import RUN, Granted, Place
from coterie._rules.journal_text import FORMAT, Claim, dumped
from coterie._rules.saga import SagaOutcome, Why
from coterie._rules.saga_text import (
    MARKER,
    Demand,
    Marker,
    Unit,
    began_path,
    begin_anew,
    begin_undoing,
    hand_path,
    letter_path,
    standing,
    wanted,
)
from coterie._rules.written import Changed
from coterie.errors import Unavailable
from coterie.ids import RunStatus, TaskId, WorkflowId
from coterie.journal import Intent, Journal
from coterie.journal.handing_back import handed_back, seen_through
from coterie.journal.journal import status_text
from coterie.journal.place import place_of
from coterie.plan import Plan
from coterie.saga.letter import DeadLetter
from coterie.saga.recall import item_places
from coterie.task import Task

__all__ = ["SagaBook"]


class SagaBook:
    """The saga's own texts of one run, and the claims of work that nobody is at any more."""

    def __init__(self, journal: Journal, run: WorkflowId, intent: Intent) -> None:
        self._journal = journal
        self._run = run
        # Taking over what others left is no beginning anew.
        self._quiet = replace(intent, force=None)
        self._demand = Demand(intent.engine_run, intent.demand, intent.force, intent.goes_on)

    @property
    def outlives_the_process(self) -> bool:
        """Whether anybody else can look into it."""
        return not self._journal.store.url.startswith("memory:")

    async def read(self) -> dict[str, str]:
        """The main shelf."""
        return await self._journal.store.read(self._run)

    async def glance(self, tasks: Sequence[Task]) -> dict[str, str]:
        """What there is about these tasks, and that the run is undone; if it is, the main shelf."""
        if any(task.foreach is not None for task in tasks):
            return await self.read()
        paths = [MARKER, *(path for task in tasks for path in place_of(task.id))]
        texts, _ = await self._journal.store.get(self._run, paths)
        return await self.read() if MARKER in texts else texts

    async def note_begun(self, task_id: TaskId) -> None:
        """Note durably that a task begins; also twice."""
        await self._journal.store.write(self._run, {began_path(task_id): dumped({"v": FORMAT})})

    async def begin_anew(self, plan: Plan, texts: Mapping[str, str]) -> bool:
        """Whether the run may go forward; if it was undone, it may once a person asks for it, and then anew."""
        marker = Marker.read(texts.get(MARKER))
        if marker is None:
            return True
        if wanted(marker, self._demand) == "undo":
            return False
        tasks = [task for task in plan.tasks if task.compensation is not None]
        units = [Unit(tuple(_places(task, texts)), place_of(task.undo_id), task.id) for task in tasks]
        paths = [path for unit in units for path in _paths(unit)]

        def decide(found: Mapping[str, str | None], _: int) -> Changed[bool]:
            return begin_anew(found, units, self._demand)

        return await self._journal.store.change(self._run, [MARKER, RUN.claim, *paths], decide)

    async def take_over(self, *, patience_s: float | None) -> None:
        """Wait until no process runs the whole of it; should one that is gone wake up, its records are refused.

        Raises:
            ClaimedElsewhere: one still does.
        """
        asked = self._journal.asked(self._quiet)
        async with self._taken_back(RUN, asked.owner):
            held = await self._journal.claim_run(self._run, asked, patience_s=patience_s)
        await seen_through(self._journal.hand_back(self._run, RUN.pulse, held.guard, is_all=True))

    async def take_over_step(self, task: Task, texts: Mapping[str, str], *, patience_s: float | None) -> None:
        """The same of a step that somebody has claimed by itself, and not recorded."""
        for place in _places(task, texts):
            if standing(texts, place) is not None or not Claim.read(texts.get(place.claim), place.claim).owner:
                continue
            asked = self._journal.asked(self._quiet)
            what = f"{place.record!r} of the run {self._run!r}"
            async with self._taken_back(place, asked.owner):
                found = await self._journal.claim(self._run, place, asked, what=what, patience_s=patience_s)
            if isinstance(found, Granted):
                await seen_through(self._journal.hand_back(self._run, place.pulse, found.guard, is_all=True))

    @asynccontextmanager
    async def _taken_back(self, place: Place, owner: str) -> AsyncIterator[None]:
        """Around a claim: where nobody hears of it, it may have been granted all the same."""
        try:
            yield
        except (asyncio.CancelledError, Unavailable):
            await handed_back(self._journal.take_back(self._run, place, owner, is_all=True), self._run)
            raise

    async def begin_undoing(self, why: Why) -> Marker:
        """Keep that the run is undone: from now on it does not go forward."""

        def decide(texts: Mapping[str, str | None], _: int) -> Changed[Marker]:
            return begin_undoing(texts, why, self._demand)

        return await self._journal.store.change(self._run, [MARKER], decide)

    async def close(self, plan: Plan, outcome: SagaOutcome, status: RunStatus, letters: Sequence[DeadLetter]) -> None:
        """Keep how it ended, and what is left for a person; all at once."""
        told = {letter.task_id: letter.text() for letter in letters}
        steps = [task.id for task in plan.tasks if task.compensation is not None]
        ended = status_text(status, self._journal.clock.now(), self._demand.engine_run)

        def decide(texts: Mapping[str, str | None], _: int) -> Changed[None]:
            marker = Marker.read(texts[MARKER])
            if marker is None:
                # Begun anew since: this is no longer how it ended.
                return Changed({}, None)
            # What a person has settled while this went on is not left to anybody.
            left = {name: told[name] for name in told if texts[hand_path(name)] is None}
            closed = marker.closed(outcome, self._demand, left=len(left))
            written = {letter_path(name): left.get(name) for name in steps}
            return Changed({MARKER: closed.text(), RUN.record: ended, **written}, None)

        paths = [path(name) for name in steps for path in (letter_path, hand_path)]
        await self._journal.store.change(self._run, [MARKER, RUN.record, *paths], decide)


def _places(task: Task, texts: Mapping[str, str]) -> list[Place]:
    return [place_of(task.id)] if task.foreach is None else item_places(task, texts)


def _paths(unit: Unit) -> list[str]:
    notes = [path(unit.task_id) for path in (began_path, letter_path, hand_path)]
    return [*(path for place in (*unit.own, unit.undo) for path in place), *notes]
