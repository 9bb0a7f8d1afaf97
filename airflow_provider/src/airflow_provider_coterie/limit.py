"""How long a task may take in all: its attempts, the back-offs between them, and some slack."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import ceil

from coterie import Agent, Retry

__all__ = ["execution_limit", "team_limit"]

SLACK_S = 60.0


def execution_limit(timeout_s: float | None, retry: Retry | None, *, rounds: int = 1) -> timedelta | None:
    """A bound that only a hung process exceeds; None where one attempt has none.

    rounds: how many units of work follow each other in one Airflow task.
    """
    if timeout_s is None:
        return None
    attempts = retry.max_attempts if retry is not None else 1
    waits_s = (attempts - 1) * retry.cap_s if retry is not None else 0.0
    return timedelta(seconds=ceil((attempts * timeout_s + waits_s) * rounds + SLACK_S))


def team_limit(
    agents: Sequence[Agent], timeout_s: float | None, retry: Retry | None, *, units: int = 1
) -> timedelta | None:
    """The same, when the team is known: an agent's own policy serves a task that brings none."""
    rounds = ceil(units / max(1, sum(agent.capacity for agent in agents)))
    limits = [execution_limit(timeout_s or a.timeout_s, retry or a.retry, rounds=max(1, rounds)) for a in agents]
    bounded = [limit for limit in limits if limit is not None]
    return max(bounded) if bounded and len(bounded) == len(limits) else None
