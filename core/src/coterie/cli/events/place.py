"""The topics that a command is about, and the moments that it names."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from coterie.bus import EventBus
from coterie.bus.reading import Moment
from coterie.errors import Misuse
from coterie.ports import LogStore
from coterie.stores.log_memory import MemoryLogStore
from coterie.stores.opening import open_log_store

__all__ = ["EventPlace", "moment"]

_SQLITE = "sqlite://"
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGE = re.compile(r"([0-9]{1,9})([smhd])\Z")


@dataclass(frozen=True, slots=True)
class EventPlace:
    """As the command line has it: the store's URL, the namespace, and the topic."""

    store: str | None = None
    namespace: str | None = None
    topic: str = "events"

    @asynccontextmanager
    async def opened(self, *, begins: bool = False) -> AsyncIterator[LogStore]:
        """The log store, closed afterwards. begins: whether it is made, where it is a file and not there.

        Raises:
            Misuse: no store has such a URL, or nobody else can see into it.
        """
        if (self.store or os.environ.get("COTERIE_STORE") or "").startswith("memory://"):
            raise Misuse(
                "events in memory are seen by their own process alone; name the fleet's store with --store or "
                "COTERIE_STORE"
            )
        name = self.namespace or os.environ.get("COTERIE_NAMESPACE") or "default"
        log = open_log_store(self.store, name, named_by="--store")
        if not begins:
            log = _untouched(log)
        try:
            yield log
        finally:
            await log.aclose()

    def bus(self, log: LogStore) -> EventBus:
        """The topic as a bus, with the keys that the environment names."""
        from coterie.bus import Signing

        return EventBus(log, topic=self.topic, signing=Signing.from_environment())


def moment(text: str | None) -> Moment:
    """A place in a topic: `begin`, `end`, an age such as `15m`, a time as ISO 8601 has it, or a position."""
    if text is None or text in ("begin", "end"):
        return text
    age = _AGE.match(text)
    if age is not None:
        return time.time() - int(age[1]) * _UNITS_S[age[2]]
    # A position is a number, or two; a date has more to it.
    if text.count("-") < 2:
        return text
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise Misuse(
            f"{text!r} is no place in a topic; give 'begin', 'end', an age such as 15m, a time such as "
            "2026-11-27T10:00:00Z, or a position"
        ) from None
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def _untouched(log: LogStore) -> LogStore:
    """One without topics, in place of a file that is not there: looking at it would make it."""
    if not log.url.startswith(_SQLITE) or Path(log.url.removeprefix(_SQLITE)).exists():
        return log
    return _Absent(log.url, log.namespace)


class _Absent(MemoryLogStore):
    """Says where nothing is."""

    def __init__(self, url: str, namespace: str) -> None:
        super().__init__(namespace)
        self._url = url

    @property
    def url(self) -> str:
        """Where it would be."""
        return self._url
