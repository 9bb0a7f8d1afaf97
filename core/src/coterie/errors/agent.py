"""What remote agents do wrong, and another attempt may mend."""

from __future__ import annotations

from coterie.errors.root import CoterieError

__all__ = ["AgentThrottled", "AgentUnavailable", "BadAnswer"]


class AgentUnavailable(CoterieError):
    """The agent could not be reached, or said that it cannot work now; the task's `retry` tries again.

    status: the HTTP status, or None if no answer came. retry_after_s: what the agent asked for, or None.
    """

    def __init__(self, message: str, *, status: int | None = None, retry_after_s: float | None = None) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        super().__init__(message)


class AgentThrottled(AgentUnavailable):
    """The agent is asked too often: it works, but not for us at the moment."""


class BadAnswer(CoterieError):
    """The agent answered, but not what was promised (no JSON, say); the task's `retry` tries again."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)
