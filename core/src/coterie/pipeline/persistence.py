"""Refusals are waited for, failures tried again: how long, how often, and with whose leave."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from coterie.attempt import asked_s, back_off_s, is_transient, item_of, named, tell_retry
from coterie.clock import Clock
from coterie.errors import BreakerOpen, PoolBusy, Refused
from coterie.events import Event, Listener
from coterie.pipeline.caller import Caller
from coterie.pipeline.gate import Admitted, Gate
from coterie.pipeline.places import Place
from coterie.task import Retry

__all__ = ["Persistence"]

_log = logging.getLogger("coterie.task")

# Waits are lengthened by chance, by at most this share, so that those who were refused together do not return together.
_SPREAD = 0.1


class Persistence:
    """One caller's: it begins when it is made.

    waits: whether refusals are waited for here; else they are raised. patience_s: how long at most, if not as long as
    the policies say. Only waiting counts, in queues too: not the time in which agents are at work.
    """

    def __init__(
        self,
        caller: Caller,
        gate: Gate,
        clock: Clock,
        listener: Listener | None,
        *,
        waits: bool = True,
        patience_s: float | None = None,
    ) -> None:
        self._caller = caller
        self._gate = gate
        self._clock = clock
        self._listener = listener
        self._waits = waits
        self._first_attempt = caller.attempt
        self.began_s = clock.monotonic()
        policy_s = gate.policies.max_wait_s
        self._left_s = policy_s if patience_s is None else min(patience_s, policy_s)
        self._asking_since: float | None = None
        self._place: Place | None = None
        self._was_let_through = False

    @property
    def left_s(self) -> float:
        """For how much longer refusals may be waited for."""
        return max(0.0, self._left_s - self._asking_s())

    def queue_s(self) -> float:
        """How long to stand in a queue; 0 where the caller waits by itself."""
        return self.left_s if self._waits else 0.0

    @asynccontextmanager
    async def through(
        self, way: AbstractAsyncContextManager[Admitted], place: Place | None = None
    ) -> AsyncIterator[Admitted]:
        """Pass the gate; what that takes counts as waiting, but for standing in a queue ahead of one's turn."""
        self._stop_asking()
        self._asking_since, self._place, self._was_let_through = self._clock.monotonic(), place, False
        async with way as admitted:
            self._stop_asking()
            self._was_let_through = True
            yield admitted

    async def goes_on(self, failure: BaseException, retry: Retry | None) -> bool:
        """Wait for what may be better later, and say whether there is such a thing.

        A refusal by another gate, which the work itself had asked, is a failure of the work like others.

        Raises:
            Refused: the failure itself; where the caller waits by itself.
        """
        self._stop_asking()
        if not self.is_refusal(failure):
            return await self._retries(failure, retry)
        assert isinstance(failure, Refused)
        # A pool only knows when a slot is free at the latest: standing in its queue is worth a try.
        least_s = 0.0 if isinstance(failure, PoolBusy) else failure.retry_after_s
        if least_s > self.left_s or self.left_s <= 0:
            return False
        if not self._waits:
            raise failure
        wait_s = min(failure.retry_after_s, self.left_s) * (1.0 + random.random() * _SPREAD)  # noqa: S311  # spreads load, no secret
        _log.info("task.refused %s: waiting %.3f s: %s", named(self._caller), wait_s, failure)
        self.tell("task.refused", wait_s=wait_s, error=f"{type(failure).__name__}: {failure}")
        trail = self._caller.trail
        began_us = trail.now_us() if trail is not None else 0
        # Without a slot, and no attempt: nobody was called.
        self._left_s -= await self._wait(wait_s, failure)
        if trail is not None:
            trail.since("wait", began_us, **{"for": "refusal"})
        return True

    def is_refusal(self, failure: BaseException) -> bool:
        """Whether this gate refused, so that nobody was called."""
        return isinstance(failure, Refused) and not self._was_let_through

    def tell(self, name: str, **fields: Any) -> None:
        """Tell the listener of the caller, if there is one."""
        if self._listener is not None:
            told = {"agent_type": self._gate.agent_type, **fields, **item_of(self._caller)}
            self._listener(Event(name, self._caller.workflow_id, self._caller.task_id, told))

    async def _wait(self, longest_s: float, refusal: Refused) -> float:
        """Wait, and say how long: less than asked for if a breaker refused that somebody closes meanwhile."""
        began_s = self._clock.monotonic()
        if isinstance(refusal, BreakerOpen) and await self._gate.reopening.wait(longest_s):
            return min(longest_s, self._clock.monotonic() - began_s)
        if not isinstance(refusal, BreakerOpen):
            await asyncio.sleep(longest_s)
        return longest_s

    def _asking_s(self) -> float:
        since_s = self._asking_since
        if since_s is not None and self._place is not None:
            # Until then this process's own work stood in the way, and nobody refused anything.
            since_s = None if self._place.due_s is None else max(since_s, self._place.due_s)
        return 0.0 if since_s is None else self._clock.monotonic() - since_s

    def _stop_asking(self) -> None:
        self._left_s, self._asking_since, self._place = self.left_s, None, None

    async def _retries(self, failure: BaseException, retry: Retry | None) -> bool:
        caller = self._caller
        made = caller.attempt - self._first_attempt + 1
        if retry is None or made >= retry.max_attempts or not is_transient(failure):
            return False
        least_s = asked_s(failure)
        if least_s > self.left_s:
            return False
        retries = self._gate.tools.retries
        if retries is not None and not await retries.take():
            _log.warning("task.not_retried %s: the retry budget of %r is spent", named(caller), self._gate.agent_type)
            return False
        wait_s = max(back_off_s(retry, made), least_s)
        tell_retry(caller, wait_s, failure, self._listener, agent_type=self._gate.agent_type)
        trail = caller.trail
        began_us = trail.now_us() if trail is not None else 0
        await asyncio.sleep(wait_s)
        if trail is not None:
            trail.since("backoff", began_us, attempt=caller.attempt, error=failure)
        caller.next_attempt()
        return True
