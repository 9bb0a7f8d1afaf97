"""Readers of what lies in topics: queues of remote tasks, and how far groups have come with events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from coterie._rules.log import GroupStatus, TopicStatus
from coterie.cli.top.names import Names
from coterie.cli.top.snapshot import GroupRow, QueueRow, Section
from coterie.cli.top.waits import Waiting, Waits
from coterie.ports import LogStore, StateStore
from coterie.remote.queue import GROUP, topic_of

__all__ = ["Queues", "with_workers"]

_QUEUES = topic_of("")


class Queues:
    """The topics of a log, and the records of the calls in its queues.

    most: topics that are looked at. clock: seconds that only grow.
    """

    def __init__(
        self, store: StateStore, log: LogStore, *, most: int = 100, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._names = Names(clock, most=most)
        self._listed: dict[str, TopicStatus] = {}
        self._waits = Waits(store, log)

    async def read(self) -> Section[QueueRow | GroupRow]:
        """Queues first, then groups; those first with the most to do.

        Raises:
            Unavailable, StateFormatError: as the log store.
        """
        topics = await self._topics()
        rows = await asyncio.gather(*(self._rows(topic) for topic in topics))
        found = sorted((row for each in rows for row in each), key=_order)
        return Section(tuple(found), self._names.hidden("topic"))

    async def _topics(self) -> list[TopicStatus]:
        """All topics: to list them costs as much as to ask each how it stands."""
        known = self._names.known("topic")
        if known is None:
            since = self._names.now
            self._listed = {topic.name: topic for topic in await self._log.topics()}
            known = self._names.keep("topic", list(self._listed), since)
        return [self._listed[name] for name in known]

    async def _rows(self, topic: TopicStatus) -> list[QueueRow | GroupRow]:
        groups = await self._log.groups(topic.name)
        if topic.name.startswith(_QUEUES):
            return [await self._queue(topic, next((group for group in groups if group.name == GROUP), None))]
        return [await self._group(topic, group) for group in groups] or [_unread(topic)]

    async def _queue(self, topic: TopicStatus, group: GroupStatus | None) -> QueueRow:
        waiting = topic.messages if group is None else group.unread + group.waiting
        found = await self._waits.of(topic.name) if waiting else Waiting()
        return QueueRow(
            agent_type=topic.name.removeprefix(_QUEUES),
            waiting=waiting,
            claimed=0 if group is None else group.held,
            dead=0 if group is None else group.dead,
            oldest_us=found.since_us,
            calls=found.calls,
            taken=found.taken,
        )

    async def _group(self, topic: TopicStatus, group: GroupStatus) -> GroupRow:
        oldest_us = await self._oldest_us(topic.name, group.position) if group.unread else None
        return GroupRow(
            topic=topic.name,
            group=group.name,
            lag=group.unread + group.waiting + group.held,
            claimed=group.held,
            dead=group.dead,
            consumers=len(group.consumers),
            oldest_us=oldest_us,
        )

    async def _oldest_us(self, topic: str, after: str) -> int | None:
        found = await self._log.read(topic, after=after, limit=1)
        return found.messages[0].at if found.messages else None


def with_workers(
    rows: Sequence[QueueRow | GroupRow], serving: Mapping[str, int] | None
) -> tuple[QueueRow | GroupRow, ...]:
    """The rows, and how many workers serve each queue."""
    if serving is None:
        return tuple(rows)
    return tuple(
        replace(row, workers=serving.get(row.agent_type, 0)) if isinstance(row, QueueRow) else row for row in rows
    )


def _unread(topic: TopicStatus) -> GroupRow:
    return GroupRow(topic=topic.name, group="", lag=topic.messages, claimed=0, dead=0, consumers=0)


def _order(row: QueueRow | GroupRow) -> tuple[bool, int, str]:
    if isinstance(row, QueueRow):
        return False, -row.waiting, row.agent_type
    return True, -row.lag, f"{row.topic}/{row.group}"
