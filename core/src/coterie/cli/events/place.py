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

from coterie._rules.log import TopicStatus
from coterie.bus import EventBus
from coterie.bus.reading import Moment
from coterie.errors import Misuse
from coterie.events import Listener
from coterie.ports import LogStore
from coterie.stores.log_memory import MemoryLogStore
from coterie.stores.opening import open_log_store

__all__ = ["EventPlace", "check_reached", "moment"]

_SQLITE = "sqlite://"
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGE = re.compile(r"([0-9]{1,9})([smhd])\Z")
# A number, or two; a date has more to it.
_POSITION = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?\Z")


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

    async def status(self, log: LogStore) -> TopicStatus | None:
        """What the topic keeps; None: there is no such topic."""
        return next((topic for topic in await log.topics() if topic.name == self.topic), None)

    def bus(self, log: LogStore, on_event: Listener | None = None) -> EventBus:
        """The topic as a bus, with the keys that the environment names."""
        from coterie.bus import Signing

        return EventBus(log, topic=self.topic, signing=Signing.from_environment(), on_event=on_event)


def moment(text: str | None) -> Moment:
    """A place in a topic: `begin`, `end`, an age such as `15m`, a time as ISO 8601 has it, or a position."""
    if text is None or text in ("begin", "end"):
        return text
    age = _AGE.match(text)
    if age is not None:
        return time.time() - int(age[1]) * _UNITS_S[age[2]]
    if _POSITION.match(text):
        return text
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise _no_place(text) from None
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def check_reached(place: Moment, topic: TopicStatus | None) -> None:
    """See that a position is one of this topic: stores take what it has not reached for one of an earlier topic of
    its name, behind which everything lies. That is right for programs that go on, and no answer to people.

    Raises:
        Misuse: it is none, or not reached yet.
    """
    if not isinstance(place, str) or not _POSITION.match(place) or topic is None or not topic.last:
        return
    if place.count("-") != topic.last.count("-"):
        raise _no_place(place)
    if _order(place) > _order(topic.last):
        raise Misuse(f"the topic {topic.name!r} has no {place} yet (the last is {topic.last}); give one that it has")


def _order(position: str) -> list[int]:
    return [int(number) for number in position.split("-")]


def _no_place(text: str) -> Misuse:
    return Misuse(
        f"{text[:80]!r} is no place in a topic; give 'begin', 'end', an age such as 15m, a time such as "
        "2026-11-27T10:00:00Z, or a position that 'coterie events replay' shows"
    )


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
