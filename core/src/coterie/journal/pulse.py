"""Heartbeats: whoever holds claims says so three times a lease."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from coterie.errors import CoterieError, StaleToken
from coterie.ids import WorkflowId
from coterie.journal.journal import Journal
from coterie.journal.unit import Unit

__all__ = ["Pulse"]

_log = logging.getLogger("coterie.journal")

# So often in a lease it is said while the store does not answer.
_SOONER = 15


class Pulse:
    """The heartbeat of the units of one run that this process holds. Runs while there are any."""

    def __init__(self, journal: Journal, run: WorkflowId) -> None:
        self._journal = journal
        self._run = run
        self._units: set[Unit] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, unit: Unit) -> None:
        """Hold a unit from now on."""
        self._units.add(unit)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._beat(), name=f"coterie-journal-pulse-{self._run}")

    def drop(self, unit: Unit) -> None:
        """Hold it no longer."""
        self._units.discard(unit)
        if not self._units and self._task is not None:
            self._task.cancel()
            self._task = None

    async def aclose(self) -> set[Unit]:
        """Stop; the units that were still held."""
        held, self._units = self._units, set()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        return held

    async def _beat(self) -> None:
        pause_s = self._journal.lease_s / 3
        told_of = False
        while self._units:
            await asyncio.sleep(pause_s)
            units = tuple(self._units)
            errors = [error for error in await asyncio.gather(*map(self._renew, units)) if error is not None]
            # Tried again with the next beat; if the lease runs out, the record says whether anybody minded.
            if errors and not told_of:
                _log.warning("journal.not_renewed %s: %d of %d: %s", self._run, len(errors), len(units), errors[0])
            elif told_of and not errors:
                _log.info("journal.renewed %s: the journal answers again", self._run)
            told_of = bool(errors)
            # An outage shorter than what is left of the lease is not to use up the rest of it.
            pause_s = self._journal.lease_s / (_SOONER if errors else 3)

    async def _renew(self, unit: Unit) -> CoterieError | None:
        """Why the store has not answered."""
        try:
            held = await self._journal.renew(self._run, unit.pulse, unit.guard)
        except CoterieError as error:
            return error
        if not held and unit in self._units:
            self._units.discard(unit)
            unit.lost = StaleToken(f"somebody else does {unit.name!r} of the run {self._run!r} by now; stop the work")
            _log.warning(
                "journal.lost %s: somebody else does it by now; what comes of it here is not recorded", unit.name
            )
        return None
