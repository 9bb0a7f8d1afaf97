"""Wake those who wait for something in a run: at once in this process, and in others where a state store is shared."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

from coterie.errors import Unavailable
from coterie.ids import WorkflowId
from coterie.ports import JournalStore, Notice, StateStore

__all__ = ["Bell", "until_rung"]

_log = logging.getLogger("coterie.journal")

_Place: TypeAlias = tuple[asyncio.AbstractEventLoop, str, str, WorkflowId]

# Who listens in this process, and where: emptied by those who stop listening.
_heard: dict[_Place, set[asyncio.Event]] = {}


class Bell:
    """The bell of one run. It only saves time: whoever waits looks from time to time, whether it rings or not."""

    def __init__(self, journal: JournalStore, run: WorkflowId, store: StateStore | None) -> None:
        self._url, self._namespace, self._run = journal.url, journal.namespace, run
        self._store = store
        self._channel = f"machine/{hashlib.sha256(run.encode()).hexdigest()[:32]}"

    async def ring(self) -> None:
        """Something has changed."""
        for rung in _heard.get(self._place(), ()):
            rung.set()
        if self._store is not None:
            try:
                await self._store.publish(self._channel, "")
            except Unavailable as error:
                _log.info("bell.not_rung %s: %s", self._run, error)

    @asynccontextmanager
    async def heard(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the bell rings."""
        place, rung = self._place(), asyncio.Event()
        listeners = _heard.setdefault(place, set())
        listeners.add(rung)
        notice = None
        try:
            notice = await self._subscribe(rung)
            yield rung
        finally:
            listeners.discard(rung)
            if not listeners:
                _heard.pop(place, None)
            if notice is not None and self._store is not None:
                await self._store.unsubscribe(self._channel, notice)

    async def _subscribe(self, rung: asyncio.Event) -> Notice | None:
        if self._store is None:
            return None

        def notice(_: str | None) -> None:
            rung.set()

        try:
            await self._store.subscribe(self._channel, notice)
        except Unavailable as error:
            _log.info("bell.not_heard %s: %s", self._run, error)
        return notice

    def _place(self) -> _Place:
        return asyncio.get_running_loop(), self._url, self._namespace, self._run


async def until_rung(rung: asyncio.Event, pause_s: float) -> None:
    """Wait until the bell rings, or for `pause_s` seconds: then it is time to look, whether it rang or not."""
    with suppress(TimeoutError):
        async with asyncio.timeout(pause_s):
            await rung.wait()
