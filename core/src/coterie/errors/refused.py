"""Not now: wait, then ask again; no attempt was made."""

from __future__ import annotations

from coterie.errors.root import CoterieError, in_words

__all__ = ["BreakerOpen", "BudgetSpent", "ClaimedElsewhere", "NoLiveAgent", "PoolBusy", "QuotaSpent", "Refused"]


class Refused(CoterieError):
    """Not now. No attempt was made and none is counted; ask again after `retry_after_s` seconds.

    Schedulers wait for it (Airflow defers, Prefect awaits) without using up a retry.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class BreakerOpen(Refused):
    """The agent, or every agent of the type, is suspended. `breaker` names the circuit breaker, or the type."""

    def __init__(self, breaker: str, *, retry_after_s: float, state: str = "open", said: str | None = None) -> None:
        self.breaker = breaker
        self.state = state
        if said is None and state == "forced_open":
            said = (
                f"the circuit breaker {breaker!r} was forced open by hand; 'coterie breakers auto {breaker}' ends that"
            )
        said = said or f"the circuit breaker {breaker!r} is {state}"
        super().__init__(f"{said}; try again in {in_words(retry_after_s)}", retry_after_s=retry_after_s)


class QuotaSpent(Refused):
    """A rate limit has no room within the time that the caller would wait."""


class PoolBusy(Refused):
    """Every slot is taken, and the time that the caller would wait is over."""


class BudgetSpent(Refused):
    """The tokens or money of a window are used up; `retry_after_s` is when the window moves on."""


class NoLiveAgent(Refused):
    """Agents of the type are known or may come, but none is alive and healthy now."""


class ClaimedElsewhere(Refused):
    """Another process is at the same work; what it does will be there to be replayed. `owner` says who."""

    def __init__(self, what: str, *, owner: str, retry_after_s: float, instead: str | None = None) -> None:
        self.owner = owner
        step = instead or f"wait for it, or ask again in {retry_after_s:.3g} s"
        super().__init__(
            f"{owner or 'another process'} is at work on {what}; it has said so within the last moments: {step}",
            retry_after_s=retry_after_s,
        )
