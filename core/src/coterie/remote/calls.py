"""Ask workers for tasks, look at what has become of them, wait for it, or cancel it: the caller's side."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from coterie._rules import call as rule
from coterie._rules.call import Asked, CallRecord, Submitted
from coterie._rules.timeline import micros
from coterie.artifacts import ArtifactStore
from coterie.clock import Clock
from coterie.errors import CallAbandoned, CallCancelled, NoReply, TopicFull
from coterie.events import Listener
from coterie.journal.outage import Alarm, Outage
from coterie.ports import LogStore, StateStore
from coterie.remote.absence import Absence
from coterie.remote.announcer import Announcer
from coterie.remote.call import Call, CallStatus
from coterie.remote.documents import fetched, stowed
from coterie.remote.queue import KEEP_OPEN_S, KEEP_S, QUEUE, Asking, call_key, topic_of
from coterie.remote.waiting import Waiting
from coterie.result import TaskResult

if TYPE_CHECKING:
    from coterie.bus import EventBus

__all__ = ["RemoteCalls"]

_log = logging.getLogger("coterie.remote")


class RemoteCalls:
    """Calls of workers, through a state store, which decides, and a log store, which brings them to workers.

    store, log, artifacts, namespace: the same as the workers'. bus: where it is told what is asked for. Neither is
    closed here. on_event: told of `state.store_failed` and `state.store_recovered`.
    """

    def __init__(
        self,
        store: StateStore,
        log: LogStore,
        *,
        artifacts: ArtifactStore | None = None,
        namespace: str = "default",
        bus: EventBus | None = None,
        clock: Clock | None = None,
        on_event: Listener | None = None,
    ) -> None:
        self.store = store
        self.log = log
        self.artifacts = artifacts
        self.namespace = namespace
        self.bus = bus
        self._clock = clock
        self._announcer = Announcer(bus)
        self._absence = Absence(store)
        self.alarm = Alarm("calls", on_event)
        # Of all who ask for a call, or perform one, through this: an outage is one, however many wait for its end.
        now = time.time if clock is None else clock.now
        self.outage = Outage(_log, "call.store_away", "call.store_back", now=now, alarm=self.alarm)

    def __repr__(self) -> str:
        return f"RemoteCalls({self.store!r}, {self.log!r}, namespace={self.namespace!r})"

    async def submit(self, call: Call, *, owner: str = "") -> CallStatus:
        """Ask for a call, once, however often this is called: one of that id that is queued, running, or has ended
        with a result, is joined; one that was cancelled, given up, or never begun, is asked for anew.

        owner: who may cancel it; the latest to submit it.

        Raises:
            OversizedMessage: it is over 256 KiB, and there is no artifact store.
            TopicFull: too many wait for the type already; nothing was asked for. Unavailable: a store failed; whether
            it was asked for is not known, and submitting it again is safe.
        """
        text = await stowed(call.to_json(), self.artifacts, f"the call of {call.task.id!r}")
        asked = Asked(
            call.agent_type,
            text,
            owner,
            micros(call.patience_s),
            call.task.priority,
            call.workflow_id,
            call.task.id,
            call.correlation_id,
        )
        decide = partial(rule.submit, call_id=call.id, asked=asked)
        found: Submitted = await self.store.update(call_key(call.id), decide, keep_s=KEEP_OPEN_S)
        if found.record.phase == "queued":
            if found.is_new:
                # Before its message: a worker may have it the moment that it is there.
                self._announcer.created(call, found.record)
            await self._tell(call.id, found)
        return replace(await self._status(call.id, found.record), joined=found.before)

    async def look(self, call_id: str) -> CallStatus | None:
        """How a call stands; None where there is none, or none any more."""
        state, _ = await self.store.read(call_key(call_id))
        record = rule.call_record(state)
        return None if record is None else await self._status(call_id, record)

    async def wait(self, call_id: str, *, timeout_s: float | None = None) -> TaskResult:
        """How a call ended. A task that failed is a result like others.

        A store that fails is waited for, five minutes at most; a message that was lost is sent again; a worker that is
        lost is replaced.

        Raises:
            CallCancelled: somebody wants it no more. CallAbandoned: workers have given it up, or it is not known.
            NoReply: it has not ended in time, or nobody has begun it within its patience.
        """
        status = await self.ended(call_id, timeout_s=timeout_s)
        if status.phase == "cancelled":
            raise CallCancelled(call_id, status.reason or "somebody")
        if status.given_up == "abandoned":
            raise CallAbandoned(call_id, status.reason)
        if status.result is None:
            raise status.late()
        return status.result

    async def ended(
        self, call_id: str, *, timeout_s: float | None = None, heard: Callable[[CallRecord], None] | None = None
    ) -> CallStatus:
        """As `wait`, with all that is known of its end; however it came to it.

        heard: told how it stands, each time that it is looked at before.

        Raises:
            NoReply: it has not ended in time. CallAbandoned: it is not known.
        """
        scope = asyncio.timeout(timeout_s)
        try:
            async with scope:
                waiting = Waiting(
                    self.store, self.log, call_id, self._absence, self._announcer, outage=self.outage, heard=heard
                )
                record = await waiting.until_over()
        except TimeoutError:
            if timeout_s is None or not scope.expired():
                raise
            raise NoReply(f"the call {call_id!r}", timeout_s) from None
        return await self._status(call_id, record)

    async def cancel(self, call_id: str, *, owner: str | None = None, by: str) -> bool:
        """End a call that is not over, and the agent that is at it; whether there was one to end.

        owner: only if he is who submitted it last. by: who wants it so, for people.
        """
        decide = partial(rule.cancel, call_id=call_id, owner=owner, by=by)
        ended = await self.store.update(call_key(call_id), decide, keep_s=KEEP_S)
        if ended is not None:
            self._announcer.of_record("task.cancelled", call_id, ended, {"state": "cancelled", "by": by})
        return ended is not None

    async def aclose(self) -> None:
        """Have told what is to be told, within a bound; safe to call twice."""
        await self._announcer.aclose()

    async def _tell(self, call_id: str, found: Submitted) -> None:
        record = found.record
        message = Asking(call_id, record.round).message(priority=record.priority)
        try:
            await self.log.append(topic_of(record.agent_type), [message], retention=QUEUE)
        except TopicFull:
            if not found.is_new:
                # It is queued all the same, and as a rule its message too; whoever waits sends it again.
                return
            undo = partial(rule.withdraw, call_id=call_id, round_=record.round)
            await self.store.update(call_key(call_id), undo, keep_s=KEEP_S)
            raise

    async def _status(self, call_id: str, record: CallRecord) -> CallStatus:
        if record.result:
            text = await fetched(record.result, self.artifacts, f"the end of the call {call_id!r}")
            record = replace(record, result=text)
        return CallStatus.of(call_id, record)
