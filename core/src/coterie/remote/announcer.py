"""Tell the bus what becomes of calls and workers, beside the work: a bus that is slow, or away, holds nothing up."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from coterie._json import JsonValue
from coterie._rules.call import CallRecord
from coterie.errors import CoterieError

if TYPE_CHECKING:
    from coterie.bus import CloudEvent, EventBus
    from coterie.remote.call import Call

__all__ = ["Announcer"]

_log = logging.getLogger("coterie.remote")

# More is dropped, and said.
MOST_WAITING = 10_000
_AT_ONCE = 100
_FLUSH_S = 2.0


class Announcer:
    """Publishes events in their order, from a queue. Without a bus it does nothing."""

    def __init__(self, bus: EventBus | None) -> None:
        self._bus = bus
        self._waiting: deque[CloudEvent] = deque()
        self._work: asyncio.Task[None] | None = None
        self.dropped = 0

    def tell(
        self,
        name: str,
        data: dict[str, JsonValue],
        *,
        key: str = "",
        subject: str | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        traceparent: str | None = None,
    ) -> None:
        """Have an event published; its time is now. What cannot be is dropped, and said."""
        if self._bus is None:
            return
        if len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            if self.dropped == 1:
                _log.warning("events.dropped: the bus does not keep up; what happens is no longer told")
            return
        try:
            event = self._bus.event(
                name,
                data,
                key=key,
                subject=subject,
                correlation_id=correlation_id,
                causation_id=causation_id,
                traceparent=traceparent,
            )
        except CoterieError as error:
            # Such as a trace's name that is none: what it would tell goes on without it.
            self.dropped += 1
            _log.warning("events.dropped: %s cannot be told: %s", name, error)
            return
        self._waiting.append(event)
        if self._work is None or self._work.done():
            self._work = asyncio.get_running_loop().create_task(self._publish())

    def created(self, call: Call, record: CallRecord) -> None:
        """A task is asked for."""
        fields: dict[str, JsonValue] = {"priority": record.priority, "round": record.round, "by": call.submitted_by}
        self.of_call("task.created", call, fields)

    def of_call(self, name: str, call: Call, fields: Mapping[str, JsonValue]) -> None:
        """Something has happened to a call; what of the fields is None is left out."""
        if self._bus is None:
            return
        from coterie.bus.about import about

        given = {**call.item_fields, "call": call.id, "agent_type": call.agent_type, **fields}
        told = {name: value for name, value in given.items() if value is not None}
        what = about(call.workflow_id, call.task.id, told, correlation_id=call.correlation_id)
        self.tell(name, **what._asdict(), causation_id=call.causation_id, traceparent=call.traceparent)

    def of_record(self, name: str, call_id: str, record: CallRecord, fields: Mapping[str, JsonValue]) -> None:
        """Something has happened to a call of which no more than the record is there."""
        if self._bus is None:
            return
        from coterie.bus.about import about

        told = {"call": call_id, "agent_type": record.agent_type, **fields}
        self.tell(name, **about(record.run, record.task, told, correlation_id=record.correlation)._asdict())

    def given_up(self, call_id: str, record: CallRecord) -> None:
        """A call is over that has no result."""
        error = "NoReply" if record.given_up == "late" else "CallAbandoned"
        fields: dict[str, JsonValue] = {"state": record.given_up, "error": f"{error}: {record.reason}"}
        self.of_record("task.failed", call_id, record, fields)

    async def aclose(self) -> None:
        """Publish what waits, within a bound; safe to call twice."""
        work, self._work = self._work, None
        if work is None or work.done():
            return
        _, late = await asyncio.wait({work}, timeout=_FLUSH_S)
        if late:
            work.cancel()
            await asyncio.wait(late)
            _log.warning("events.dropped: %d were not published in time", len(self._waiting))

    async def _publish(self) -> None:
        assert self._bus is not None
        while self._waiting:
            batch = [self._waiting[n] for n in range(min(_AT_ONCE, len(self._waiting)))]
            try:
                await self._bus.publish_all(batch)
            except CoterieError as error:
                # A store that fails must not fail the work that is told of.
                self.dropped += len(batch)
                _log.warning("events.dropped: %d were not published: %s", len(batch), error)
            for _ in batch:
                self._waiting.popleft()
