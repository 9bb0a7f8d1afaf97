"""What one call used: settled in the rate limit and in the budgets that it was held against."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from coterie._rules.budget import LARGEST
from coterie.attempt import asked_s
from coterie.budget import Spending
from coterie.errors import AgentThrottled, AgentUnavailable, Unavailable
from coterie.limiter import RateLimiter, Reservation
from coterie.pipeline.caller import Caller
from coterie.policies import Spend
from coterie.retry_budget import RetryBudget
from coterie.usage import Usage

__all__ = ["Account"]


class Account:
    """One call's consumption: what the agent reported is settled, what it did not is taken from the estimate."""

    def __init__(
        self,
        caller: Caller,
        limiter: RateLimiter | None,
        reservation: Reservation | None,
        spendings: list[tuple[Spend, Spending]],
        retries: RetryBudget | None,
    ) -> None:
        self._caller = caller
        self._limiter = limiter
        self._reservation = reservation
        self._spendings = spendings
        self._retries = retries
        self._before = caller.usage

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        used = self._used()
        free = error is not None and not used and _costs_nothing(error)
        for spend, spending in self._spendings:
            amount = used.cost_micros if spend.unit == "money" else used.input_tokens + used.output_tokens
            # What is not reported in a budget's own unit is charged at its upper bound: a budget is a promise.
            # The work is done: an amount that no budget can hold must not undo it.
            spending.report(min(amount, LARGEST) or (0 if free else spend.bound))
        if self._limiter is not None and self._reservation is not None:
            await self._settle(self._limiter, self._reservation, used, error)
        if error is None and self._retries is not None:
            self._retries.succeeded()

    def _used(self) -> Usage:
        now, before = self._caller.usage.to_dict(), self._before.to_dict()
        return Usage(**{name: now[name] - before[name] for name in now})

    @staticmethod
    async def _settle(limiter: RateLimiter, reservation: Reservation, used: Usage, error: BaseException | None) -> None:
        if "tokens" in limiter.quotas and used:
            await reservation.settle(tokens=used.input_tokens + used.output_tokens)
        if isinstance(error, AgentThrottled) and (pause_s := asked_s(error)):
            try:
                await limiter.pause(pause_s)
            except Unavailable:
                # The agent's own failure says more; the next that is throttled says it again.
                return


def _costs_nothing(error: BaseException) -> bool:
    """Whether a call that failed like this was certainly not billed: it was turned away."""
    return isinstance(error, AgentThrottled) or (isinstance(error, AgentUnavailable) and error.status == 503)
