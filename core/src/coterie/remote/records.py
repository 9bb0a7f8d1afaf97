"""The records of calls, as one worker changes them: though the store may be away, what is done is written."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TypeVar

from coterie._rules import call as rule
from coterie._rules.call import Begun, CallRecord, Dropped
from coterie._rules.call_course import Left
from coterie._rules.decided import Decide, Decided, State
from coterie._rules.timeline import micros
from coterie.journal.insisting import insisted
from coterie.journal.outage import AWAY_US
from coterie.remote.calls import RemoteCalls
from coterie.remote.queue import KEEP_OPEN_S, KEEP_S, Asking, call_key

__all__ = ["INSIST_ON_ENDS_S", "CallRecords"]

T = TypeVar("T")

# What must be written is tried for so long; after that the lease ends, and another worker finds out how things stand.
_INSIST_S = 30.0
# An end is work that is done, and would be done again.
INSIST_ON_ENDS_S = 3600.0


class CallRecords:
    """Insists on each change for a while, on ends for an hour.

    worker_id, session: who takes what is begun.

    Every change raises `Unavailable` where the store is away for longer.
    """

    def __init__(self, calls: RemoteCalls, *, worker_id: str, session: str) -> None:
        self._calls = calls
        self._store = calls.store
        self._worker_id = worker_id
        self._session = session

    async def begin(self, asking: Asking, position: str) -> Begun | Dropped:
        """Take the call that a message asks for, unless that is of no more use."""
        decide = partial(
            rule.begin,
            call_id=asking.call_id,
            round_=asking.round_,
            position=position,
            worker=self._worker_id,
            session=self._session,
        )
        begun: Begun | Dropped = await self._insist(asking.call_id, decide, keep_s=KEEP_OPEN_S)
        return begun

    async def look(self, call_id: str) -> CallRecord | None:
        """What is known of a call now.

        Raises:
            Unavailable: the store is away: that is not insisted on.
        """
        state, _ = await self._store.read(call_key(call_id))
        return rule.call_record(state)

    async def finish(self, call_id: str, token: int, text: str) -> bool:
        """Whether the end of an attempt counts; the record says for how long the store was away meanwhile."""
        loop = asyncio.get_running_loop()
        ended_at = loop.time()

        def decide(state: State | None, now: int) -> Decided[bool]:
            waited_us = micros(loop.time() - ended_at)
            unsaid_us = waited_us if waited_us >= AWAY_US else 0
            return rule.finish(state, now, call_id=call_id, token=token, result=text, unsaid_us=unsaid_us)

        return await self._insist(call_id, decide, INSIST_ON_ENDS_S)

    async def put_back(self, call_id: str, token: int, *, was_refused: bool, left: Left) -> None:
        """Leave a call to whoever takes its message next. left: what the attempt came to."""
        decide = partial(rule.put_back, call_id=call_id, token=token, was_refused=was_refused, left=left)
        await self._insist(call_id, decide, keep_s=KEEP_OPEN_S)

    async def abandon(self, asking: Asking, position: str, reason: str) -> CallRecord | None:
        """Give a call up whose message is a dead letter; its record, if that has ended it."""
        decide = partial(rule.abandon, call_id=asking.call_id, round_=asking.round_, position=position, reason=reason)
        ended: CallRecord | None = await self._insist(asking.call_id, decide, INSIST_ON_ENDS_S)
        return ended

    async def _insist(
        self, call_id: str, decide: Decide[T], seconds: float | None = None, *, keep_s: float = KEEP_S
    ) -> T:
        update = partial(self._store.update, call_key(call_id), decide, keep_s=keep_s)
        within_s = _INSIST_S if seconds is None else seconds
        return await insisted(update, seconds=within_s, outage=self._calls.outage, who=call_id)
