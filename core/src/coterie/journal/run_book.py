"""The book of a run that one process has claimed as a whole: read once, written in batches, one commit for many."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeAlias

from coterie._rules.journal import (
    RUN,
    Asked,
    Granted,
    Place,
    Reason,
    forced_after,
    given_after,
    given_to,
    judge,
    known_claim,
)
from coterie._rules.journal_text import Claim, Record
from coterie.artifacts import ArtifactStore
from coterie.attempt import Ended
from coterie.context import TaskContext
from coterie.errors import CoterieError, StaleToken, StateFormatError, Unavailable
from coterie.events import Listener
from coterie.ids import AgentType, RunStatus, WorkflowId, asked_hash, with_upstream
from coterie.journal.approval import ApprovalFile
from coterie.journal.book import TaskBook
from coterie.journal.ending import Ending
from coterie.journal.entries import Entries
from coterie.journal.handing_back import handed_back, seen_through
from coterie.journal.header import Header, read_header
from coterie.journal.intent import Intent
from coterie.journal.journal import Journal, status_text
from coterie.journal.outputs import gone_outputs, records_with_outputs
from coterie.journal.place import place_of, record_path, unit_name
from coterie.journal.results import result_of
from coterie.journal.steps import Steps
from coterie.journal.telling import Telling
from coterie.journal.unit import Unit, mark_of
from coterie.result import TaskResult
from coterie.slots import TypeSlots
from coterie.telemetry.recording import had_ended

__all__ = ["Entered", "RunBook", "Settle", "open_run"]

_log = logging.getLogger("coterie.journal")

_CLOSING_S = 5.0


async def open_run(
    journal: Journal, run: WorkflowId, header: Header, intent: Intent, *, on_event: Listener | None = None
) -> RunBook:
    """Claim a whole run and read what is finished of it. on_event: told what is replayed.

    Raises:
        PlanChanged: it began with another plan. ClaimedElsewhere: another process is at it.
        Unavailable: the journal's store failed.
    """
    asked = journal.asked(intent)
    # Looked at before it is claimed, which wipes it out; by those alone who tell of it.
    was_concluded = await had_ended(run, journal)
    try:
        granted = await journal.open_run(run, header, intent, asked)
        texts = await journal.store.read(run)
    except (asyncio.CancelledError, Unavailable):
        # It may have been granted all the same.
        await handed_back(journal.take_back(run, RUN, asked.owner), run)
        raise
    book = RunBook(journal, run, asked, granted, texts, intent=intent, on_event=on_event)
    book.was_concluded = was_concluded
    return book


class Entered(NamedTuple):
    """The end of the task at a position of the plan."""

    position: int
    ended: Ended


# Who waits for a text to be durable: the engine, a caller, nobody.
_Waiting: TypeAlias = Entered | asyncio.Future[None] | None
Settle: TypeAlias = Callable[[Sequence[Entered], CoterieError | None], None]


class RunBook:
    """The claim of a run, and all that is finished of it. `aclose` it.

    lost: called with the reason when the run cannot go on here: it is another process's, or the journal failed.
    settle: called with the ends that were entered and are durable now; or that failed, and why. status: how the run
    ended, once it has. was_concluded: whether it had ended before, as far as anybody records spans.
    """

    def __init__(
        self,
        journal: Journal,
        run: WorkflowId,
        asked: Asked,
        granted: Granted,
        texts: dict[str, str],
        *,
        intent: Intent,
        on_event: Listener | None = None,
    ) -> None:
        self._journal = journal
        self._run = run
        self._asked = asked
        self._guard = granted.guard
        # Of units of work; the rest is the run's own.
        self._texts = {path: text for path, text in texts.items() if "/" in path}
        # In a run that was begun before, steps may be there of work that never ended.
        self._whole = granted.claim._replace(token=granted.claim.token - 1)
        self._given = given_after(None, self._whole, asked)
        self._fresh: Reason = "unfinished" if self._whole.token else "first"
        self._mark = mark_of(run, granted.claim.token, whole=True)
        header = texts.get("run", "")
        self._header = header if '"tp":"' in header else None
        self._intent = intent
        self._entries: Entries[_Waiting] = Entries(journal.store, run, granted.guard, self._told)
        self._tell = Telling(run, on_event)
        self._claimed = TaskBook(journal, run, intent, on_event=on_event, owner=asked.owner)
        self._ending = Ending(intent)
        # Of what is asked without any input; and the fingerprint, where nothing is upstream either.
        self._asked_hashes: dict[AgentType, tuple[bytes, str]] = {}
        self._beat: asyncio.Task[None] | None = asyncio.create_task(self._beats(), name=f"coterie-journal-run-{run}")
        self.lost: Callable[[CoterieError], None] | None = None
        self.settle: Settle | None = None
        self.status: RunStatus | None = None
        self.was_concluded = False

    async def look_for_outputs(self, artifacts: ArtifactStore | None) -> None:
        """Find out which outputs are there no more, before anything is asked for: what gave them is done again.

        However long the store takes, the run stays claimed.
        """
        gone = await gone_outputs(artifacts, records_with_outputs(self._texts))
        self._asked = replace(self._asked, gone=gone)

    def begin_now(self, context: TaskContext, pool: TypeSlots) -> Unit | TaskResult | None:
        """As `Book.begin`, without waiting; None where that cannot be.

        A worker has claimed this work by itself, so that it takes a while; or what is known of it cannot be read.
        """
        context.pool = pool
        task, key = context.task, context.item_key
        name = task.id if key is None else unit_name(task.id, key)
        if self._texts:
            try:
                return self._looked_up(context, name)
            except StateFormatError:
                # Said by `begin`, where it is this work's failure and nobody else's.
                return None
        path, fingerprint, whole = record_path(name, key), self._fingerprint(context, pool), self._whole
        unit = Unit(name, path, self._guard, whole.epoch, fingerprint, self._fresh, None, whole.forced, self._given)
        unit.mark = self._mark
        return unit

    def _looked_up(self, context: TaskContext, name: str) -> Unit | TaskResult | None:
        place = place_of(context.task_id, context.item_key)
        held = Claim.read(self._texts.get(place.claim), place.claim)
        text = self._texts.get(place.record)
        record = None if text is None else Record.read(text, place.record)
        fingerprint = context.fingerprint
        asked, known = replace(self._asked, fingerprint=fingerprint), known_claim(record, held, self._whole)
        verdict = judge(record, known, asked)
        if held.owner and not self._is_known(record, verdict.why, place):
            # A worker has claimed it: he may be at it, or what he wrote last may still be under way.
            return None
        if verdict.why is None:
            assert record is not None
            self._note_given(place.record, record)
            self._tell.replayed(context, record)
            return result_of(context.task_id, record)
        if verdict.why == "output_gone" and record is not None:
            self._tell.output_gone(context, record)
        forced, given = forced_after(record, known, asked), given_after(record, known, asked)
        unit = Unit(name, place.record, self._guard, verdict.epoch, fingerprint, verdict.why, record, forced, given)
        unit.mark = self._mark
        trail = context.trail if record is not None else None
        if trail is not None:
            trail.note("claim", trail.now_us(), 0, why=verdict.why)
        return unit

    def _is_known(self, record: Record | None, why: Reason | None, place: Place) -> bool:
        """Whether a worker's record is the last word; a failure is, unless somebody mends it."""
        return why is None and record is not None and (record.succeeded or place.pulse not in self._texts)

    def _fingerprint(self, context: TaskContext, pool: TypeSlots) -> str:
        """That of the context; what is asked without any input is hashed once."""
        agent_type = context.task.agent_type
        if context.task.input or context.item_key is not None or context.task.approval is not None:
            return context.fingerprint
        if agent_type not in self._asked_hashes:
            asked = asked_hash(agent_type, pool.version, {})
            self._asked_hashes[agent_type] = asked, with_upstream(asked, b"")
        asked, alone = self._asked_hashes[agent_type]
        outputs = context.upstream_outputs()
        return with_upstream(asked, outputs) if outputs else alone

    @property
    def traceparent(self) -> str | None:
        """The context that fixed the run's trace, where one did."""
        return read_header(self._header).traceparent if self._header is not None else None

    @property
    def is_strict(self) -> bool:
        """As of its `Intent`."""
        return self._intent.strict

    async def begin(self, context: TaskContext, pool: TypeSlots, *, waits: bool = True) -> Unit | TaskResult:
        """See `Book.begin`."""
        begun = self.begin_now(context, pool)
        return await self._claimed.begin(context, pool, waits=waits) if begun is None else begun

    def enter(self, unit: Unit, context: TaskContext, ended: Ended, position: int) -> None:
        """Record how the task at a position ended; `settle` is called once that is durable, or failed."""
        ended, text = self._ending.written(unit, context, ended, self._journal.clock.now())
        self._entries.add(unit.record, text, Entered(position, ended))

    def steps(self, unit: Unit) -> Steps:
        """See `Book.steps`."""
        resumed = partial(self._tell.resumed, unit.name)
        strict, stop = self._intent.strict, self._stop
        return Steps(self._journal, self._run, unit, strict=strict, on_failure=stop, on_resumed=resumed)

    def approval(self, unit: Unit) -> ApprovalFile:
        """See `Book.approval`."""
        return self._claimed.approval(unit)

    async def finish(self, unit: Unit, context: TaskContext, ended: Ended) -> Ended:
        """See `Book.finish`."""
        if unit.guard is not self._guard:
            return await self._claimed.finish(unit, context, ended)
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ended, text = self._ending.written(unit, context, ended, self._journal.clock.now())
        self._entries.add(unit.record, text, durable)
        await durable
        return ended

    async def give_up(self, unit: Unit) -> None:
        """See `Book.give_up`."""
        if unit.guard is not self._guard:
            await self._claimed.give_up(unit)

    async def refused(self, unit: Unit, context: TaskContext, ended: Ended, *, final: bool) -> None:
        """See `Book.refused`."""
        if unit.guard is not self._guard:
            await self._claimed.refused(unit, context, ended, final=final)
        else:
            self.tell(unit, context, ended, final=final)

    def tell(self, unit: Unit, context: TaskContext, ended: Ended, *, final: bool = True) -> None:
        """As `refused`, of what was begun by `begin_now`."""
        refusal = self._ending.refusal(unit, context, ended, self._journal.clock.now(), final=final)
        self._entries.add(refusal.path, refusal.text, None)

    async def aclose(self) -> None:
        """Write what is waiting to be written, say how the run ended, if it did, and hand it back.

        Cancelled meanwhile, it does so all the same, within a bound, before that goes on.
        """
        await seen_through(self._closed())

    async def _closed(self) -> None:
        beat, self._beat = self._beat, None
        if beat is not None:
            beat.cancel()
            await asyncio.wait([beat])
        await self._claimed.aclose()
        with suppress(CoterieError):
            # Whoever waited for it was told.
            await self._entries.aclose()
        texts: dict[str, str | None] = {RUN.pulse: None}
        if self.status is not None:
            texts[RUN.record] = status_text(self.status, self._journal.clock.now(), self._intent.engine_run)
        try:
            async with asyncio.timeout(_CLOSING_S):
                await self._journal.store.write(self._run, texts, guard=self._guard)
        except StaleToken:
            _log.warning("journal.run_lost %s: another process has taken the run over", self._run)
        except (CoterieError, TimeoutError) as error:
            self._journal.give_up(self._run, RUN, self._asked.owner)
            _log.warning(
                "journal.not_closed %s: %s; for other processes the run is free when its lease ends", self._run, error
            )

    def _note_given(self, path: str, record: Record) -> None:
        noted = given_to(record, self._intent.engine_run, self._intent.demand)
        if noted is not record:
            self._entries.add(path, noted.text(), None)

    def _stop(self, error: CoterieError) -> None:
        if self.lost is not None:
            self.lost(error)

    def _told(self, about: Sequence[_Waiting], error: CoterieError | None) -> None:
        entered = []
        for one in about:
            if isinstance(one, Entered):
                entered.append(one)
            elif one is not None and not one.done():
                if error is None:
                    one.set_result(None)
                else:
                    one.set_exception(type(error)(*error.args))
        if entered and self.settle is not None:
            self.settle(entered, error)
        if error is not None:
            self._stop(error)

    async def _beats(self) -> None:
        told_of = False
        while True:
            await asyncio.sleep(self._journal.lease_s / 3)
            try:
                held = await self._journal.renew(self._run, RUN.pulse, self._guard)
            except CoterieError as error:
                if not told_of:
                    _log.warning("journal.not_renewed %s: %s", self._run, error)
                told_of = True
                continue
            if told_of:
                _log.info("journal.renewed %s: the journal answers again", self._run)
                told_of = False
            if not held:
                self._stop(StaleToken(await self._how_lost()))
                return

    async def _how_lost(self) -> str:
        with suppress(CoterieError):
            texts, _ = await self._journal.store.get(self._run, (RUN.claim,))
            if not texts:
                return f"somebody has erased the run {self._run!r} from the journal; begin it anew"
        return f"another process has taken over the run {self._run!r}; look at it there"
