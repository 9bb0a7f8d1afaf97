"""A task's side of the journal, in its process: what was replayed, what succeeded, and what Airflow took of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from airflow_provider_coterie.identity import RunIdentity
from coterie import sync
from coterie.errors import CoterieError, PolicyError
from coterie.events import Event
from coterie.ids import WorkflowId
from coterie.journal import Intent, Journal
from coterie.journal.header import Header
from coterie.journal.place import place_of
from coterie.journal.sparing import replay_line

__all__ = ["Ledger", "keeping", "look"]

_log = logging.getLogger(__name__)

# After the task is over for Airflow: within its `task_success_overtime` (20 s).
SEEN_S = 5.0
_AGAIN = "clear this task; or trigger a run with coterie_force"
CLOSE_S = 2.0


async def look(journal: Journal, run: WorkflowId, conn_id: str) -> Header | None:
    """How a run was begun, if it was; the first thing that is asked of a journal.

    Raises:
        PolicyError: its server is not durable enough. Unavailable: it does not answer.
    """
    try:
        return await journal.header(run)
    except PolicyError as error:
        raise PolicyError(
            f'the connection {conn_id!r} has a strict journal; set "journal": "relaxed" in it, or "off" (then a retry '
            f"pays again for what was finished), or see to its server: {error}"
        ) from None


class Ledger:
    """Of one task's work for one run. Made and closed in the task's thread, used in coterie's event loop.

    tell: given each line for the task's log.
    """

    def __init__(
        self, journal: Journal, run: WorkflowId, intent: Intent, *, conn_id: str, tell: Callable[[str], None]
    ) -> None:
        self.journal = journal
        self.intent = intent
        self._run = run
        self._conn_id = conn_id
        self._tell = tell
        self._replayed: list[Event] = []
        self._done: set[tuple[str, str | None]] = set()

    def of(self, run: WorkflowId) -> None:
        """The work is for another run than was thought."""
        self._run = run

    async def begin(self) -> None:
        """Make sure that the journal can be used, before anybody works.

        A DAG run goes on with what its DAG has become, as Airflow has it; one that another engine began does not.

        Raises:
            As `look`.
        """
        header = await look(self.journal, self._run, self._conn_id)
        if header is not None and header.engine_run == self.intent.engine_run:
            self.intent = replace(self.intent, allow_changes=True)

    def heard(self, event: Event) -> None:
        """The listener of whoever works."""
        if event.name == "task.replayed":
            self._replayed.append(event)
            if "item" not in event.fields:
                # What is known at the beginning is known at once: one line for all of it, before anybody works.
                asyncio.get_running_loop().call_soon(self.tell)
        elif event.name in ("task.finished", "item.finished") and event.fields["state"] == "succeeded":
            assert event.task_id is not None
            self._done.add((event.task_id, event.fields.get("key")))

    def tell(self) -> None:
        """Say what was replayed, if that was not said."""
        told, self._replayed = self._replayed, []
        if told:
            self._tell(replay_line(self._run, told, again=_AGAIN))

    def note_seen(self) -> None:
        """Airflow took the task's success for one: so it did all that succeeded in it. Blocking, within a bound."""
        if not self._done:
            return
        places = [place_of(task_id, item_key) for task_id, item_key in sorted(self._done, key=repr)]
        try:
            sync.run(asyncio.wait_for(self.journal.note_all_seen(self._run, places, self.intent), SEEN_S))
        except (CoterieError, TimeoutError) as error:
            _log.warning("journal.not_seen %s: %r; should the task be cleared, it is replayed", self._run, error)

    def close(self) -> None:
        """Give the connection up, within a bound."""
        with suppress(CoterieError, TimeoutError):
            sync.run(asyncio.wait_for(self.journal.aclose(), CLOSE_S))


@asynccontextmanager
async def keeping(ledger: Ledger | None, identity: RunIdentity) -> AsyncIterator[Intent]:
    """Around the work: gives what the journal is to be asked for, and tells in the end what it spared.

    Raises:
        As `look`.
    """
    if ledger is None:
        yield identity.intent
        return
    await ledger.begin()
    try:
        yield ledger.intent
    finally:
        ledger.tell()
