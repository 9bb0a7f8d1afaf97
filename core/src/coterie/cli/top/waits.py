"""Since when the call waits that nobody has begun for longest: found by reading on in its queue, a little each time."""

from __future__ import annotations

import asyncio

from coterie._rules.call import call_record
from coterie._rules.log import Logged
from coterie.errors import Misuse
from coterie.ports import LogStore, StateStore
from coterie.remote.queue import Asking, call_key

__all__ = ["Waits"]


class Waits:
    """A place in each queue before which all is done, which only moves on; `most`: messages that one look reads.

    Workers take by priority, so that a queue's position does not tell what waits; the records of its calls do.
    """

    def __init__(self, store: StateStore, log: LogStore, *, most: int = 200) -> None:
        self._store = store
        self._log = log
        self._most = most
        self._done: dict[str, str] = {}

    async def since_us(self, topic: str) -> int | None:
        """Since when it waits, on the store's clock; None where none was found as far as was read.

        Raises:
            Unavailable, StateFormatError: as the stores.
        """
        found = await self._log.read(topic, after=self._done.get(topic, ""), limit=self._most)
        standings = await asyncio.gather(*(self._standing(logged) for logged in found.messages))
        is_behind = True
        for logged, standing in zip(found.messages, standings, strict=True):
            if standing == "waits":
                return logged.at
            is_behind = is_behind and standing == "done"
            if is_behind:
                self._done[topic] = logged.position
        return None

    async def _standing(self, logged: Logged) -> str:
        try:
            asking = Asking.read(logged.message)
        except Misuse:
            # Whoever serves the queue makes it a dead letter.
            return "done"
        record = call_record((await self._store.read(call_key(asking.call_id)))[0])
        if record is None or record.round != asking.round_ or record.phase not in ("queued", "running"):
            return "done"
        return "waits" if record.phase == "queued" else "begun"
