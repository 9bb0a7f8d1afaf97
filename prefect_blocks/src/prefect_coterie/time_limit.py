"""How long a task run may take: never less than coterie itself allows, waiting for refusals included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from coterie.remote import RemoteAgent

if TYPE_CHECKING:
    from coterie import Task, Team

__all__ = ["timeout_seconds_for"]

# For what surrounds an agent's own time: loading inputs, storing outputs, ending children.
SLACK_S = 60.0
# A wait is lengthened by chance, by at most this share.
_LONGEST_WAIT = 1.1


def timeout_seconds_for(task: Task, team: Team) -> float | None:
    """When Prefect gives up on a run of `task`; None where an agent that may perform it has no time-out.

    None where workers may: how long it takes until one begins, and what their agents' time-outs are, they know.
    """
    if task.placement == "remote":
        return None
    needed_s = 0.0
    for agent_type in _performers(task.agent_type, team):
        own_s = _needed_s(task, agent_type, team)
        if own_s is None:
            return None
        needed_s += own_s
    return needed_s + SLACK_S


def _performers(agent_type: str, team: Team) -> Iterator[str]:
    """The type, and those that stand in for it, one after the other."""
    yield agent_type
    policies = team.policies.get(agent_type)
    for fallback in policies.fallback if policies is not None else ():
        if fallback.agent_type is not None:
            yield fallback.agent_type
        elif fallback.agent is not None:
            yield team.agents[fallback.agent].type


def _needed_s(task: Task, agent_type: str, team: Team) -> float | None:
    agents = team.of_type(agent_type)
    if any(isinstance(agent.handler, RemoteAgent) for agent in agents):
        return None
    limits = [task.timeout_s or agent.timeout_s for agent in agents]
    known = [limit for limit in limits if limit is not None]
    if len(known) < len(limits):
        return None
    retries = [task.retry or agent.retry for agent in agents]
    attempts = max(retry.max_attempts if retry else 1 for retry in retries)
    waits_s = max((retry.max_attempts * retry.cap_s for retry in retries if retry), default=0.0)
    policies = team.policies.get(agent_type)
    if policies is not None:
        waits_s += policies.max_wait_s * _LONGEST_WAIT + policies.max_hold_s * attempts
    return max(known) * attempts + waits_s
