"""What a run's tasks are told of what is finished, and where they record what they finish.

Two kinds: of a run whose tasks are claimed one by one, as schedulers' workers do (`TaskBook`, here); and of a run that
one process has claimed as a whole (`RunBook`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol

from coterie._rules.journal import Granted, Replayed
from coterie._rules.refusal import RefusalText
from coterie._rules.timeline import SECOND
from coterie._rules.written import Changed
from coterie.attempt import Ended
from coterie.context import TaskContext
from coterie.errors import CoterieError, Unavailable
from coterie.events import Listener
from coterie.ids import WorkflowId
from coterie.journal.approval import ApprovalFile
from coterie.journal.ending import Ending
from coterie.journal.handing_back import handed_back, seen_through
from coterie.journal.intent import Intent
from coterie.journal.journal import Journal
from coterie.journal.outage import noted_wait
from coterie.journal.outputs import gone_outputs
from coterie.journal.owner import told
from coterie.journal.place import place_of, unit_name
from coterie.journal.pulse import Pulse
from coterie.journal.results import is_recorded, is_told, result_of
from coterie.journal.steps import Steps
from coterie.journal.telling import Telling
from coterie.journal.unit import Unit, mark_of
from coterie.result import TaskResult
from coterie.slots import TypeSlots

__all__ = ["Book", "TaskBook", "begin", "finished", "once"]

_log = logging.getLogger("coterie.journal")

# A claim that takes less was not waited for: between two looks at one that is held lies more.
_WAITED_US = 25_000


class Book(Protocol):
    """Where the tasks of one run find what is finished."""

    @property
    def is_strict(self) -> bool:
        """As of its `Intent`."""
        ...

    async def begin(self, context: TaskContext, pool: TypeSlots, *, waits: bool = True) -> Unit | TaskResult:
        """Have the work granted, or be told how it ended before.

        waits: whether another process that is at it is waited for, as far as the run waits at all.

        Raises:
            ClaimedElsewhere: somebody else is at it. Unavailable: the journal's store failed.
        """
        ...

    async def finish(self, unit: Unit, context: TaskContext, ended: Ended) -> Ended:
        """Record how it ended; durable when this returns. What cannot be recorded is a failure instead.

        Raises:
            StaleToken: somebody else does this work by now; nothing was recorded.
        """
        ...

    async def give_up(self, unit: Unit) -> None:
        """Leave the work to whoever asks next."""
        ...

    async def refused(self, unit: Unit, context: TaskContext, ended: Ended, *, final: bool) -> None:
        """As `give_up`; and whoever looks at the run is told of the end, though nothing is replayed from it.

        final: whether the work failed of it; else whoever asked for it is to wait.
        """
        ...

    def steps(self, unit: Unit) -> Steps:
        """The durable steps of the work, of this attempt and of those before."""
        ...

    def approval(self, unit: Unit) -> ApprovalFile:
        """What the work asks a person."""
        ...


async def begin(context: TaskContext, pool: TypeSlots, *, waits: bool = True) -> TaskResult | None:
    """How a unit of work ended, if it is finished; None if it is to be performed, and then passed to `finished`.

    waits: as of `Book.begin`.
    """
    book = context.run.book
    if book is None:
        return None
    if context.run.trace is not None and context.asked_us is None:
        context.asked_us = int(context.run.now() * 1e6)
    begun = await book.begin(context, pool, waits=waits)
    if isinstance(begun, TaskResult):
        return begun
    context.unit = begun
    return None


async def finished(context: TaskContext, perform: Callable[[], Awaitable[Ended]]) -> Ended:
    """Perform what was begun, and record how it ended.

    Raises:
        StaleToken: somebody else does this work by now; nothing was recorded. Unavailable: the journal's store failed.
    """
    if context.run.trace is not None:
        return await context.run.trace.work(context, partial(_finished, context, perform))
    return await _finished(context, perform)


async def _finished(context: TaskContext, perform: Callable[[], Awaitable[Ended]]) -> Ended:
    book, unit = context.run.book, context.unit
    if book is None or unit is None:
        return await perform()
    ended: Ended | None = None
    try:
        ended = await perform()
        if unit.lost is not None:
            raise unit.lost  # noqa: TRY301  # handed back like all that ends so
        if is_recorded(ended):
            # Paid for: it is not to be done again because the call was cancelled just now.
            return await seen_through(book.finish(unit, context, ended))
    except BaseException as error:
        # What was performed may be recorded all the same.
        why = _refused(context, error) if ended is None else ended
        await handed_back(_given_up(book, unit, context, why, final=False), unit.name)
        raise
    await handed_back(_given_up(book, unit, context, ended, final=True), unit.name)
    return ended


def _refused(context: TaskContext, error: BaseException) -> Ended:
    """How work ended whose caller is to wait."""
    trail = context.noted
    began_us = min((lap.at_us for lap in trail.laps), default=None) if trail is not None else None
    took_s = 0.0 if trail is None or began_us is None else max(0.0, (trail.now_us() - began_us) / SECOND)
    return Ended("failed", None, error, context.attempt - 1, None, 0.0, took_s)


async def _given_up(book: Book, unit: Unit, context: TaskContext, ended: Ended, *, final: bool) -> None:
    await (book.refused(unit, context, ended, final=final) if is_told(ended) else book.give_up(unit))


async def once(context: TaskContext, pool: TypeSlots, perform: Callable[[], Awaitable[Ended]]) -> Ended | TaskResult:
    """Perform a unit of work, unless it is finished: then say how it ended."""
    return await begin(context, pool) or await finished(context, perform)


class TaskBook:
    """Of a run whose tasks are claimed one by one, each in a process that may be killed at any time.

    on_event: told what is replayed. owner: in whose name tasks are claimed, if not each in one of its own. after: who
    had them before, and is past it.
    """

    def __init__(
        self,
        journal: Journal,
        run: WorkflowId,
        intent: Intent,
        *,
        on_event: Listener | None = None,
        owner: str | None = None,
        after: frozenset[str] = frozenset(),
    ) -> None:
        self._after = after
        self._journal = journal
        self._run = run
        self._intent = intent
        self._tell = Telling(run, on_event)
        self._ending = Ending(intent)
        self._owner = owner
        self._pulse = Pulse(journal, run)

    @property
    def is_strict(self) -> bool:
        """As of its `Intent`."""
        return self._intent.strict

    async def begin(self, context: TaskContext, pool: TypeSlots, *, waits: bool = True) -> Unit | TaskResult:
        """See `Book.begin`."""
        context.pool = pool
        fingerprint = context.fingerprint
        place = place_of(context.task_id, context.item_key)
        name = unit_name(context.task_id, context.item_key)
        asked = replace(self._journal.asked(self._intent, fingerprint, self._owner), dead=self._after)
        patience_s = context.run.patience_s if waits and context.run.waits else 0.0
        what = f"{name!r} of the run {self._run!r}"
        asked_s = context.run.now()
        try:
            found = await self._journal.claim(self._run, place, asked, what=what, patience_s=patience_s)
            if isinstance(found, Replayed):
                gone = await gone_outputs(context.run.artifacts, [found.record])
                if gone:
                    asked = replace(asked, gone=gone)
                    found = await self._journal.claim(self._run, place, asked, what=what, patience_s=patience_s)
        except (asyncio.CancelledError, Unavailable):
            # It may have been granted all the same.
            taking = self._journal.take_back(self._run, place, asked.owner, is_all=self._owner is None)
            await handed_back(taking, name)
            raise
        if isinstance(found, Replayed):
            self._tell.replayed(context, found.record)
            return result_of(context.task_id, found.record)
        claim, before = found.claim, found.before
        if found.why == "output_gone" and before is not None:
            self._tell.output_gone(context, before)
        unit = Unit(
            name, place.record, found.guard, claim.epoch, fingerprint, found.why, before, claim.forced, claim.given
        )
        self._note(context, unit, found, asked_s)
        self._pulse.add(unit)
        return unit

    def _note(self, context: TaskContext, unit: Unit, found: Granted, asked_s: float) -> None:
        """Note what stood in the way of the claim, and whose it was."""
        unit.mark = mark_of(self._run, found.claim.token)
        after, trail = found.after, context.trail
        was_begun = found.why != "unfinished" or bool(after.owner)
        if found.why == "unfinished" and after.owner not in ("", found.claim.owner):
            unit.mark_before = mark_of(self._run, after.token)
        took_us = int((context.run.now() - asked_s) * 1e6)
        if trail is not None and ((found.why != "first" and was_begun) or took_us >= _WAITED_US):
            owner = told(after.owner) if after.owner else None
            trail.note("claim", int(asked_s * 1e6), took_us, after=owner, why=found.why)

    async def finish(self, unit: Unit, context: TaskContext, ended: Ended) -> Ended:
        """See `Book.finish`."""
        self._pulse.drop(unit)
        at, trail = self._journal.clock.now(), context.trail
        ended, text = self._ending.written(unit, context, ended, at)
        texts = {unit.record: text, unit.pulse: None}
        began_us = trail.now_us() if trail is not None else 0
        await self._journal.store.write(self._run, texts, guard=unit.guard)
        if trail is not None and noted_wait(trail, began_us):
            _, longer = self._ending.written(unit, context, ended, at)
            await self._tell_the_wait(unit, text, longer)
        return ended

    async def _tell_the_wait(self, unit: Unit, text: str, longer: str) -> None:
        """Have the record say that it could not be written for long, if it still is the one that was written."""

        def decide(texts: Mapping[str, str | None], _: int) -> Changed[None]:
            same = texts[unit.guard.path] == unit.guard.text and texts[unit.record] == text
            return Changed({unit.record: longer} if same else {}, None)

        try:
            await self._journal.store.change(self._run, (unit.guard.path, unit.record), decide)
        except CoterieError as error:
            # It is for people; the end itself is recorded.
            _log.debug("journal.wait_not_told %s: %s", unit.name, error)

    async def give_up(self, unit: Unit) -> None:
        """See `Book.give_up`."""
        await self._hand_back(unit)

    async def refused(self, unit: Unit, context: TaskContext, ended: Ended, *, final: bool) -> None:
        """See `Book.refused`."""
        at = self._journal.clock.now()
        await self._hand_back(unit, self._ending.refusal(unit, context, ended, at, final=final))

    async def _hand_back(self, unit: Unit, refusal: RefusalText | None = None) -> None:
        self._pulse.drop(unit)
        is_all = self._owner is None
        await self._journal.hand_back(self._run, unit.pulse, unit.guard, is_all=is_all, refusal=refusal)

    def steps(self, unit: Unit) -> Steps:
        """See `Book.steps`."""
        resumed = partial(self._tell.resumed, unit.name)
        return Steps(self._journal, self._run, unit, strict=self._intent.strict, on_resumed=resumed)

    def approval(self, unit: Unit) -> ApprovalFile:
        """See `Book.approval`."""
        return ApprovalFile(self._journal, self._run, unit.name, by=self._intent.engine_run)

    async def aclose(self) -> None:
        """End the heartbeats, and hand back what was begun and never finished; also while being cancelled."""
        await seen_through(self._closed())

    async def _closed(self) -> None:
        for unit in await self._pulse.aclose():
            await handed_back(self.give_up(unit), unit.name)
