"""How long a task may take in all: its attempts, the back-offs between them, and some slack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from math import ceil
from typing import Any

from coterie import Agent, Retry, Task, Team
from coterie.policies import Fallback
from coterie.remote.agent import PATIENCE_S, RemoteAgent

__all__ = ["author_timeout_of", "execution_limit", "team_limit"]

SLACK_S = 60.0


def author_timeout_of(arguments: Mapping[str, Any]) -> timedelta | None:
    """The `execution_timeout` that a DAG's author gave an operator, itself or in `default_args`; None: none."""
    given: timedelta | None = {**(arguments.get("default_args") or {}), **arguments}.get("execution_timeout")
    return given


def execution_limit(
    timeout_s: float | None, retry: Retry | None, *, rounds: int = 1, queued_s: float = 0.0
) -> timedelta | None:
    """A bound that only a hung process exceeds; None where one attempt has none.

    rounds: how many units of work follow each other in one Airflow task. queued_s: for how long each may wait until a
    worker elsewhere begins it.
    """
    if timeout_s is None:
        return None
    attempts = retry.max_attempts if retry is not None else 1
    waits_s = (attempts - 1) * retry.cap_s if retry is not None else 0.0
    return timedelta(seconds=ceil((queued_s + attempts * timeout_s + waits_s) * rounds + SLACK_S))


def team_limit(team: Team, task: Task, *, units: int = 1) -> timedelta | None:
    """The same, when the team is known: an agent's own policy serves a task that brings none.

    Where the type has policies, refusals may be waited for in the task, and others may stand in.
    """
    agents = team.of_type(task.agent_type)
    rounds = max(1, ceil(units / max(1, sum(agent.capacity for agent in agents))))
    policies = team.policies.get(task.agent_type)
    fallback = policies.fallback if policies is not None else ()
    workers = [agents, *(_stand_ins(team, each) for each in fallback)]
    limits = [_longest(each, task, rounds) for each in workers]
    bounded = [limit for limit in limits if limit is not None]
    if len(bounded) < len(limits):
        return None
    waits_s = policies.max_wait_s * rounds if policies is not None else 0.0
    return sum(bounded, timedelta(seconds=ceil(waits_s)))


def _longest(agents: Sequence[Agent], task: Task, rounds: int) -> timedelta | None:
    limits = [
        execution_limit(
            task.timeout_s or a.timeout_s, task.retry or a.retry, rounds=rounds, queued_s=_queued_s(a, task)
        )
        for a in agents
    ]
    bounded = [limit for limit in limits if limit is not None]
    return max(bounded, default=timedelta()) if len(bounded) == len(limits) else None


def _queued_s(agent: Agent, task: Task) -> float:
    """For how long a worker elsewhere may be waited for; 0 where the agent works here."""
    if isinstance(agent.handler, RemoteAgent):
        return agent.handler.patience_s if task.placement != "local" else 0.0
    return PATIENCE_S if task.placement == "remote" else 0.0


def _stand_ins(team: Team, fallback: Fallback) -> Sequence[Agent]:
    """Who stands in; nobody, for a value that was kept or given."""
    if fallback.agent is not None:
        return [team.agents[fallback.agent]] if fallback.agent in team.agents else []
    return team.of_type(fallback.agent_type) if fallback.agent_type is not None else []
