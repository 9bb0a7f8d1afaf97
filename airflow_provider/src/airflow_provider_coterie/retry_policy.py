"""Whether Airflow should try a plain task again, by what coterie says of its failure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Self

from airflow.sdk import Context, RetryDecision, RetryPolicy

from coterie.errors import AgentUnavailable, CoterieError, LeaseLost, Refused, Unavailable

__all__ = ["CoterieRetryPolicy"]


class CoterieRetryPolicy(RetryPolicy):
    """For `retry_policy=` of tasks that use coterie's breakers, pools, limits or agents in their own code.

    Refused: again after `retry_after_s`. An agent that does not answer: again, after what it asked for if it did.
    A store that does not answer, or a lease that was lost: again, as the task's `retry_delay` says. Any other error of
    coterie's: not again, a retry would only repeat it. All else: as Airflow itself decides.

    The task's `retries` bound it all, and each counts: where deferral works, coterie's own operators use up none.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002  # Airflow's signature
        max_tries: int,  # noqa: ARG002
        context: Context | None = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Decide about one failure."""
        reason = f"{type(exception).__name__}: {exception}"[:500]
        if isinstance(exception, Refused):
            return RetryDecision.retry(timedelta(seconds=exception.retry_after_s), reason)
        if isinstance(exception, AgentUnavailable) and exception.retry_after_s is not None:
            return RetryDecision.retry(timedelta(seconds=exception.retry_after_s), reason)
        if isinstance(exception, CoterieError) and not isinstance(
            exception, (AgentUnavailable, LeaseLost, Unavailable)
        ):
            return RetryDecision.fail(reason)
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """Nothing: it has no settings."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:  # noqa: ARG003  # Airflow's signature
        """The way back."""
        return cls()
