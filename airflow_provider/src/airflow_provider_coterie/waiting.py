"""How a task waits outside of any worker: for what, how long at most, and what a trigger must know of it.

It was refused, or another process is at its work. A trigger has none of the team's code, so all of it is JSON.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from coterie import Orchestrator, Task, Team
from coterie.errors import BreakerOpen, ClaimedElsewhere, CoterieError, PoolBusy, Refused, TopicFull
from coterie.ids import AgentType, WorkflowId
from coterie.journal.place import Place
from coterie.policies import Policies

__all__ = ["ClaimWait", "Wait", "claim_wait", "patience_s", "room_wait", "take_place", "wait_of"]

# For so long the queue of remote workers may be full.
ROOM_S = 3600.0

# What ends the waiting before its time is over: a slot of the pool, a breaker that lets calls through, nothing.
WaitFor = Literal["slot", "breaker", "time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """One task's waiting, since it was first refused. Instants are seconds since the epoch.

    retry_at: when asking again may help, as far as is known. gives_up_at: when all patience is used up.
    ticket, priority, pool: of the place in the queue of the agent type's pool. agents: [id, capacity] of the type.
    breaker: the policy; breakers: the names, any of which may let the task through.
    """

    wait_for: WaitFor
    agent_type: AgentType
    first_refused_at: float
    retry_at: float
    gives_up_at: float
    ticket: str = ""
    priority: int = 0
    pool: Mapping[str, Any] | None = None
    agents: tuple[tuple[str, int], ...] = ()
    breaker: Mapping[str, Any] | None = None
    breakers: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without what is not needed."""
        document = {name: value for name, value in asdict(self).items() if value not in (None, "", ())}
        return {**document, "agents": [list(agent) for agent in self.agents], "breakers": list(self.breakers)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The way back."""
        agents = tuple((str(name), int(capacity)) for name, capacity in document["agents"])
        return cls(**{**document, "agents": agents, "breakers": tuple(document["breakers"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimWait:
    """Waiting for another process that is at the same work.

    place: where the journal says so. retry_at: until when it has said so, in seconds since the epoch.
    """

    workflow_id: WorkflowId
    place: Place
    retry_at: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"workflow_id": self.workflow_id, "place": list(self.place), "retry_at": self.retry_at}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The way back."""
        return cls(**{**document, "place": Place(*document["place"])})


def claim_wait(busy: ClaimedElsewhere, workflow_id: WorkflowId, place: Place) -> ClaimWait:
    """What to wait for where another process is at it."""
    return ClaimWait(workflow_id=workflow_id, place=place, retry_at=time.time() + busy.retry_after_s)


def room_wait(full: TopicFull, task: Task, first_refused_at: float | None) -> Wait | None:
    """What to wait for where too many tasks wait for workers already; None: it has been waited for long enough."""
    now = time.time()
    since = now if first_refused_at is None else first_refused_at
    if now - since >= ROOM_S:
        return None
    retry_at = now + max(1.0, full.retry_after_s)
    return Wait(
        wait_for="time",
        agent_type=task.agent_type,
        first_refused_at=since,
        retry_at=retry_at,
        gives_up_at=max(retry_at, since + ROOM_S),
    )


def patience_s(policies: Policies | None, first_refused_at: float | None) -> float | None:
    """For how much longer a task may be refused, by its type's policies; None: nothing can refuse it."""
    if policies is None:
        return None
    waited_s = 0.0 if first_refused_at is None else time.time() - first_refused_at
    return max(0.0, policies.max_wait_s - max(0.0, waited_s))


def wait_of(refusal: Refused, *, team: Team, task: Task, ticket: str, first_refused_at: float | None) -> Wait:
    """What to wait for after a refusal, and for how long at most."""
    now = time.time()
    since = now if first_refused_at is None else first_refused_at
    left_s = patience_s(team.policies.get(task.agent_type), since) or 0.0
    agent_type = _refused_type(refusal, team, task)
    policies = team.policies.get(agent_type, Policies())
    wait_for: WaitFor = "time"
    if isinstance(refusal, PoolBusy) and policies.pool is not None:
        wait_for = "slot"
    elif isinstance(refusal, BreakerOpen) and policies.breaker is not None:
        wait_for = "breaker"
    agents = tuple((agent.id, agent.capacity) for agent in team.agents.values() if agent.type == agent_type)
    breakers = tuple(name for name, _ in agents) if policies.breaker_scope == "agent" else (agent_type,)
    return Wait(
        wait_for=wait_for,
        agent_type=agent_type,
        first_refused_at=since,
        retry_at=now + refusal.retry_after_s,
        gives_up_at=now + left_s,
        ticket=ticket,
        priority=task.priority,
        pool=asdict(policies.pool) if policies.pool is not None else None,
        agents=agents if policies.pool is not None else (),
        breaker=asdict(policies.breaker) if policies.breaker is not None else None,
        breakers=breakers if wait_for == "breaker" else (),
    )


async def take_place(orchestrator: Orchestrator, task: Task, ticket: str) -> None:
    """Stand in the pool's queue from now on, not only from when a triggerer gets to it: first come, first served."""
    gate = orchestrator.pipeline.gate(task.agent_type)
    if gate is not None:
        # What is refused here, or fails, the trigger asks for again.
        with suppress(CoterieError):
            await gate.tools.pool.keep_place(ticket, priority=task.priority)


def _refused_type(refusal: Refused, team: Team, task: Task) -> AgentType:
    """The type that refused: the task's, or that of the agents that stand in for its own."""
    name = refusal.breaker if isinstance(refusal, BreakerOpen) else ""
    if name in team.agents:
        return team.agents[name].type
    return name if name in team.policies else task.agent_type
