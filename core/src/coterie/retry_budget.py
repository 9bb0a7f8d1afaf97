"""Retry no more than the fleet's successes allow, so that retries never become the load that keeps a service down."""

from __future__ import annotations

import logging

from coterie._rules import retry_budget as rule
from coterie._rules.retry_budget import RetryAllowance, Tokens
from coterie.clock import Clock, SystemClock
from coterie.errors import Misuse, Unavailable
from coterie.events import Listener
from coterie.ids import AgentType, check_name
from coterie.ports import StateStore
from coterie.shared_state import SharedState, StoreFailure
from coterie.work import Work

__all__ = ["RetryAllowance", "RetryBudget"]

_log = logging.getLogger("coterie.retry")

# Successes are counted here and told at most so often, and with each retry.
TELL_S = 1.0
CLOSE_S = 5.0
KEEP_S = 7 * 86_400.0
MOST = 10**9


class RetryBudget:
    """The retries of one agent type, for one event loop at a time; shared by all that give the same store.

    A token is taken before each retry; when there is none, the last failure should be raised instead.

    on_store_failure: while the store does not answer, "fail_open" counts in this process alone, "fail_closed" raises
        `Unavailable`.
    on_event: told of `state.store_failed` and `state.store_recovered`.
    """

    def __init__(
        self,
        agent_type: AgentType,
        allowance: RetryAllowance | None = None,
        *,
        store: StateStore | None = None,
        on_store_failure: StoreFailure = "fail_open",
        on_event: Listener | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.agent_type = check_name(agent_type, "the agent type")
        self.allowance = allowance or RetryAllowance()
        self._clock = clock or SystemClock()
        self._shared = SharedState(
            f"retry/{agent_type}",
            store,
            keep_s=KEEP_S,
            on_store_failure=on_store_failure,
            on_event=on_event,
            clock=self._clock,
        )
        self._successes = 0
        self._told_s = self._clock.monotonic()
        self._work = Work()

    def __repr__(self) -> str:
        return f"RetryBudget({self.agent_type!r}, {self.allowance!r})"

    def succeeded(self, count: int = 1) -> None:
        """Count successes; from within the event loop. Told to the store soon, without anybody waiting for it."""
        if type(count) is not int or count < 0:
            raise Misuse(f"{count!r} successes cannot be counted; give a whole number >= 0")
        self._successes = min(self._successes + count, MOST)
        if self._clock.monotonic() - self._told_s >= TELL_S:
            self._told_s = self._clock.monotonic()
            self._work.start(self.flush())

    async def take(self) -> bool:
        """Take a token for one retry; False: there is none, do not retry.

        Raises:
            Unavailable: the store failed, and `on_store_failure` is "fail_closed".
        """
        return (await self._take(1)).granted

    async def flush(self) -> None:
        """Tell the store of the successes so far; one that fails is told later."""
        if self._successes:
            try:
                await self._take(0)
            except Unavailable as error:
                _log.info("retry.not_told %s: %s", self.agent_type, error)

    async def aclose(self) -> None:
        """Tell what is left to tell, within a bound; safe to call twice."""
        await self._work.within(CLOSE_S, self.flush())
        await self._work.aclose(CLOSE_S)

    async def _take(self, retries: int) -> Tokens:
        successes, self._successes = self._successes, 0
        self._told_s = self._clock.monotonic()
        try:
            return await self._shared.update(rule.take(self.allowance, successes=successes, retries=retries))
        except Unavailable:
            self._successes = min(self._successes + successes, MOST)
            raise
