"""Open the books of runs: as a whole for an engine of this process, for one piece of work for a scheduler's worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from coterie._json import JsonValue
from coterie.artifacts import ArtifactStore
from coterie.context import Run
from coterie.events import Listener
from coterie.journal.book import TaskBook
from coterie.journal.header import Header
from coterie.journal.insisting import insistence_s
from coterie.journal.intent import Intent
from coterie.journal.journal import Journal
from coterie.journal.run_book import RunBook, open_run
from coterie.plan import Plan
from coterie.telemetry.recording import traceparent_here

__all__ = ["Keeping", "keeping"]

# Larger plans are kept with their run only where there is an artifact store.
MOST_INLINE_BYTES = 256 * 2**10


class Keeping:
    """A journal, and what it is told of runs that begin.

    team_path: where others find the team. on_event: told what is replayed.
    """

    def __init__(
        self, journal: Journal, artifacts: ArtifactStore | None, *, team_path: str | None, on_event: Listener | None
    ) -> None:
        self.journal = journal
        self._artifacts = artifacts
        self._team_path = team_path
        self._on_event = on_event

    def at_work(self) -> Journal:
        """The journal, as the work that begins here writes to it: see `insisting`."""
        seconds = insistence_s()
        return self.journal if seconds is None else self.journal.insisting(seconds)

    @asynccontextmanager
    async def whole(self, plan: Plan, run: Run, intent: Intent) -> AsyncIterator[RunBook]:
        """Claim a whole run; its tasks find the book in `run`."""
        header = await self._header(plan, run, intent)
        book = await open_run(self.journal, run.workflow_id, header, intent, on_event=self._on_event)
        run.book = book
        try:
            await book.look_for_outputs(self._artifacts)
            yield book
        finally:
            await book.aclose()

    @asynccontextmanager
    async def piece(self, plan: Plan | None, run: Run, intent: Intent) -> AsyncIterator[None]:
        """Let what is done for a run be claimed and recorded, a unit of work at a time."""
        header = await self.begin(plan, run, intent)
        run.traceparent = header.traceparent
        run.book = book = TaskBook(self.at_work(), run.workflow_id, intent, on_event=self._on_event)
        try:
            yield
        finally:
            await book.aclose()

    async def begin(self, plan: Plan | None, run: Run, intent: Intent) -> Header:
        """Have the journal know of a run; as it is described there.

        Raises:
            PlanChanged: it began with another plan, and may not go on with this one.
        """
        known = await self.journal.header(run.workflow_id)
        if known is not None and (plan is None or known.plan_hash == plan.hash):
            return known
        return await self.journal.begin(run.workflow_id, await self._header(plan, run, intent), intent)

    async def _header(self, plan: Plan | None, run: Run, intent: Intent) -> Header:
        begun_at, traceparent = self.journal.clock.now(), traceparent_here()
        if plan is None:
            return Header(
                team=self._team_path, engine_run=intent.engine_run, begun_at=begun_at, traceparent=traceparent
            )
        document: JsonValue = None
        canonical = None
        if self._artifacts is not None:
            document = (await self._artifacts.put(plan.to_dict())).serialize()
        elif len(plan.canonical.encode()) <= MOST_INLINE_BYTES:
            canonical = plan.canonical
        return Header(
            plan.name,
            plan.hash,
            run.params,
            document,
            self._team_path,
            intent.engine_run,
            begun_at,
            canonical,
            traceparent,
        )


@asynccontextmanager
async def keeping(keeper: Keeping | None, plan: Plan | None, run: Run, intent: Intent | None) -> AsyncIterator[None]:
    """As `Keeping.piece`, where there is a journal."""
    if keeper is None:
        yield
        return
    async with keeper.piece(plan, run, intent or Intent()):
        yield
