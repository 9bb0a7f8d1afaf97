"""Wait for a person in this process: the run is held, no agent is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from coterie._rules.approval import Sheet
from coterie.approvals.asked import Place
from coterie.approvals.question import ended_by, question_of, tell_asked, tell_decided
from coterie.attempt import Ended
from coterie.clock import Clock
from coterie.context import TaskContext
from coterie.errors import Misuse, StaleToken, Unavailable
from coterie.events import Listener
from coterie.journal.approval import ApprovalFile
from coterie.journal.bell import Bell, until_rung
from coterie.journal.book import once
from coterie.result import TaskResult
from coterie.slots import TypeSlots

__all__ = ["People"]

T = TypeVar("T")

_log = logging.getLogger("coterie.approval")

# Between two looks at the journal; each longer than the one before, by so much.
FIRST_LOOK_S, LONGEST_LOOK_S, _GROWTH = 0.2, 2.0, 1.3
_HERE = Place("process")


class People:
    """Those whom the tasks of one run ask, in this process: the run is held, no agent is."""

    def __init__(self, clock: Clock, listener: Listener | None) -> None:
        self._clock = clock
        self._listener = listener
        self._asked: set[asyncio.Task[Any]] = set()
        self._withdrawn = False

    async def decide(self, context: TaskContext, pool: TypeSlots) -> Ended | TaskResult | None:
        """How the task ended by what a person decides, now or before; None if the question was withdrawn.

        Raises:
            StaleToken: somebody else runs it by now, or wants it asked anew. Misuse: the run has no journal.
        """
        asking = asyncio.current_task()
        if self._withdrawn or asking is None:
            return None
        self._asked.add(asking)
        try:
            return await once(context, pool, lambda: self._wait(context))
        except asyncio.CancelledError:
            # Not that of `withdraw`, or not that alone.
            if not self._withdrawn or asking.uncancel():
                raise
            return None
        finally:
            self._asked.discard(asking)

    def withdraw(self) -> None:
        """Ask nobody any more: whatever they said, it would change nothing."""
        self._withdrawn = True
        for asking in self._asked:
            asking.cancel()

    async def _wait(self, context: TaskContext) -> Ended:
        """Ask, and wait for the answer, or until the time is over. An answer that is there is taken.

        While the journal is away it is waited for too.
        """
        book, unit = context.run.book, context.unit
        if book is None or unit is None:
            raise Misuse(f"{context.task.id!r} asks a person, who answers in the journal; run the plan with one")
        file = book.approval(unit)
        asked = await _patiently(lambda: question_of(context, _HERE))
        sheet = await _patiently(lambda: file.ask(asked, unit))
        if sheet.end is None:
            tell_asked(context, _HERE, self._listener)
            sheet = await _answered(file, sheet)
        tell_decided(context, sheet.decision, self._listener)
        return await ended_by(context, sheet, self._clock)


async def _answered(file: ApprovalFile, sheet: Sheet) -> Sheet:
    look_s = FIRST_LOOK_S
    async with Bell(file.journal.store, file.run, None).heard() as rung:
        while True:
            rung.clear()
            seen, now_s = await _patiently(file.look)
            until = sheet.asked.until
            if seen is not None and seen.end is None and until is not None and now_s >= until:
                seen = await _patiently(lambda: file.time_out(sheet.asked.id))
            if seen is None or seen.asked.id != sheet.asked.id:
                raise StaleToken(
                    f"a person, or another process, wants {file.task_id!r} of the run {file.run!r} asked anew; "
                    f"go on with it: coterie runs resume {file.run}"
                )
            if seen.end is not None:
                return seen
            # A moment longer than is left: what is due then is due.
            await until_rung(rung, look_s if until is None else min(look_s, max(0.0, until - now_s) + 0.001))
            look_s = min(look_s * _GROWTH, LONGEST_LOOK_S)


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Whoever waits for days goes on waiting while a store is away."""
    told = False
    while True:
        try:
            return await work()
        except Unavailable as error:
            if not told:
                _log.warning("approval.store_away: asked again until it answers: %s", error)
            told = True
            await asyncio.sleep(LONGEST_LOOK_S)
