"""Which calls nobody has begun, and who has begun others: found by reading on in their queue, a little each time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from coterie._rules.call import CallRecord, call_record
from coterie._rules.log import Logged
from coterie.errors import Misuse
from coterie.ports import LogStore, StateStore
from coterie.remote.queue import Asking, call_key

__all__ = ["Waiting", "Waits"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """since_us: since when the one waits that came first, on the store's clock; None: none was found. calls: how many
    wait, by the run and the task that they are of; taken: how many are begun, by the worker too; as far as was read.
    """

    since_us: int | None = None
    calls: Mapping[tuple[str, str], int] = field(default_factory=dict)
    taken: Mapping[tuple[str, str, str], int] = field(default_factory=dict)


class Waits:
    """A place in each queue before which all is done, which only moves on; `most`: messages that one look reads.

    Workers take by priority, so that a queue's position does not tell what waits; the records of its calls do.
    """

    def __init__(self, store: StateStore, log: LogStore, *, most: int = 200) -> None:
        self._store = store
        self._log = log
        self._most = most
        self._done: dict[str, str] = {}

    async def of(self, topic: str) -> Waiting:
        """What waits in a queue.

        Raises:
            Unavailable, StateFormatError: as the stores.
        """
        found = await self._log.read(topic, after=self._done.get(topic, ""), limit=self._most)
        records = await asyncio.gather(*(self._open_call(logged) for logged in found.messages))
        since_us, is_behind = None, True
        # A call whose worker is lost is told anew, by another message.
        open_calls: dict[str, CallRecord] = {}
        for logged, known in zip(found.messages, records, strict=True):
            is_behind = is_behind and known is None
            if is_behind:
                self._done[topic] = logged.position
            if known is not None:
                open_calls[known[0]] = known[1]
                if known[1].phase == "queued":
                    since_us = logged.at if since_us is None else since_us
        queued = [record for record in open_calls.values() if record.phase == "queued"]
        taken = [record for record in open_calls.values() if record.phase == "running"]
        return Waiting(
            since_us,
            Counter((record.run, record.task) for record in queued),
            Counter((record.run, record.task, record.worker) for record in taken),
        )

    async def _open_call(self, logged: Logged) -> tuple[str, CallRecord] | None:
        """The call that a message is about, by its id; None where it is over, or another round is."""
        try:
            asking = Asking.read(logged.message)
        except Misuse:
            # Whoever serves the queue makes it a dead letter.
            return None
        record = call_record((await self._store.read(call_key(asking.call_id)))[0])
        if record is None or record.round != asking.round_ or record.phase not in ("queued", "running"):
            return None
        return asking.call_id, record
