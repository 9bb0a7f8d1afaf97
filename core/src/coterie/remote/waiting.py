"""Wait for the end of a call, and see to it that there will be one: whoever waits is the one who cares."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from coterie._rules import call as rule
from coterie._rules.call import CallRecord
from coterie._rules.worker import worker_record
from coterie.errors import CallAbandoned, TopicFull, Unavailable
from coterie.journal.insisting import insisted
from coterie.journal.outage import Outage
from coterie.ports import LogStore, StateStore
from coterie.remote.absence import Absence
from coterie.remote.announcer import Announcer
from coterie.remote.queue import KEEP_OPEN_S, KEEP_S, QUEUE, Asking, call_key, name_of, topic_of

__all__ = ["Waiting"]

T = TypeVar("T")

_log = logging.getLogger("coterie.remote")

# Without a signal the record is looked at so often; chance keeps those apart who began together.
LOOK_S = 5.0
_SPREAD = 0.2
_AFTER_S = 0.05
# Nobody has begun it for so long: there may be nobody, which is said.
NOTICE_S = 3.0
# Nor for so long: its message may be lost, and is sent again; twice as late each time.
SEND_AGAIN_S = 5.0
_LATEST_SEND_S = 600.0
# For so long a store may fail before the waiting does.
OUTAGE_S = 300.0


class Waiting:
    """For one call. heard: told how it stands, each time that it is looked at before its end."""

    def __init__(
        self,
        store: StateStore,
        log: LogStore,
        call_id: str,
        absence: Absence,
        announcer: Announcer,
        *,
        outage: Outage,
        heard: Callable[[CallRecord], None] | None = None,
    ) -> None:
        self._outage = outage
        self._heard = heard
        self._store = store
        self._log = log
        self._absence = absence
        self._announcer = announcer
        self._call_id = call_id
        self._key = call_key(call_id)
        self._stirred = asyncio.Event()
        self._send_again_s = SEND_AGAIN_S
        self._lost_token = 0
        self._late_s: float | None = None

    async def until_over(self) -> CallRecord:
        """The record of the call, once it is done or cancelled.

        Raises:
            CallAbandoned: there is none. Unavailable: a store has failed for five minutes.
        """
        try:
            await self._patiently(self._subscribe)
            while True:
                self._stirred.clear()
                record = await self._patiently(self._look)
                if record.phase in ("done", "cancelled"):
                    return record
                if self._heard is not None:
                    self._heard(record)
                await self._pause()
        finally:
            await self._unsubscribe()

    async def _look(self) -> CallRecord:
        state, now = await self._store.read(self._key)
        record, self._late_s = rule.call_record(state), None
        if record is None:
            raise CallAbandoned(self._call_id, "nothing is known of it: nobody has asked for it, or it is long over")
        if record.phase == "queued":
            return await self._tended(record, now)
        if record.phase == "running":
            await self._replace_lost(record)
        return record

    async def _tended(self, record: CallRecord, now: int) -> CallRecord:
        if 0 < record.late_us <= now:
            late = await self._store.update(self._key, partial(rule.expire, call_id=self._call_id), keep_s=KEEP_S)
            if late is not None:
                self._announcer.given_up(self._call_id, late)
                return late
            state, _ = await self._store.read(self._key)
            return rule.call_record(state) or record
        self._late_s = (record.late_us - now) / 1e6 if record.late_us else None
        waited_s = (now - record.submitted_us) / 1e6
        if waited_s > NOTICE_S:
            await self._absence.notice(record.agent_type)
        if waited_s > self._send_again_s:
            self._send_again_s = min(self._send_again_s * 2 + LOOK_S, self._send_again_s + _LATEST_SEND_S)
            await self._send(record)
        return record

    async def _replace_lost(self, record: CallRecord) -> None:
        """Leave the call to others where its worker is lost, for good or for so long that nothing is heard of it.

        As a rule they have long taken it over with its message; but that may be lost too.
        """
        state, now = await self._store.read(f"worker/{record.worker}")
        worker = worker_record(state)
        if worker is not None and worker.session == record.session:
            grace_us = worker.until_us - worker.seen_us
            if now < worker.until_us + grace_us:
                return
        elif self._lost_token != record.token:
            # Who has left in order gave back what he held: one more look, in case that is just being done.
            self._lost_token = record.token
            return
        decide = partial(rule.lose, call_id=self._call_id, token=record.token)
        if await self._store.update(self._key, decide, keep_s=KEEP_OPEN_S):
            what = name_of(self._call_id, record.run, record.task)
            _log.warning("call.worker_lost %s: %s is not heard of; others are asked", what, record.worker)
            await self._send(record, again=record.token)

    async def _send(self, record: CallRecord, *, again: int = 0) -> None:
        message = Asking(self._call_id, record.round).message(priority=record.priority, again=again)
        try:
            await self._log.append(topic_of(record.agent_type), [message], retention=QUEUE)
        except TopicFull:
            # Tried again at a later look.
            _log.warning("call.not_told %s: the queue of %r is full", self._call_id, record.agent_type)

    async def _pause(self) -> None:
        wait_s = LOOK_S * random.uniform(1.0 - _SPREAD, 1.0)  # noqa: S311  # spreads load, no secret
        if self._late_s is not None:
            # Somewhat after it: the store's clock decides.
            wait_s = min(wait_s, self._late_s + _AFTER_S)
        try:
            async with asyncio.timeout(wait_s):
                await self._stirred.wait()
        except TimeoutError:
            return

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        return await insisted(work, seconds=OUTAGE_S, outage=self._outage, who=self._call_id)

    async def _subscribe(self) -> None:
        await self._store.subscribe(self._key, self._notice)

    async def _unsubscribe(self) -> None:
        try:
            await self._store.unsubscribe(self._key, self._notice)
        except Unavailable as error:
            _log.debug("call.not_unsubscribed %s: %s", self._call_id, error)

    def _notice(self, _: str | None) -> None:
        self._stirred.set()
