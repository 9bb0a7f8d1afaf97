"""What a pool's state says to people: who works, who does not and why, and how many wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from coterie._rules.decided import State
from coterie._rules.pool_policy import Terms
from coterie._rules.pool_state import AgentRecord, Book
from coterie._rules.timeline import SECOND
from coterie.ids import AgentId, AgentType

__all__ = ["Condition", "PoolStatus", "PooledAgent", "look"]

# lost: no heartbeat came in time.
Condition: TypeAlias = Literal["ready", "busy", "suspended", "draining", "lost"]


@dataclass(frozen=True, slots=True)
class PooledAgent:
    """One agent of a pool. latency_s: the moving average of its answers; None before the first.

    limit: how many of its slots are lent at once; None where that is not found out, and all of them are.
    """

    agent_id: AgentId
    agent_type: AgentType
    capacity: int
    in_use: int
    condition: Condition
    weight: int = 1
    latency_s: float | None = None
    limit: int | None = None

    @property
    def slots(self) -> int:
        """How many leases it may have at once."""
        return self.capacity if self.limit is None else min(self.capacity, self.limit)


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """Agents in the order of registration, and how many tickets wait, by agent type."""

    agents: tuple[PooledAgent, ...] = ()
    waiting: Mapping[AgentType, int] = field(default_factory=dict)

    @property
    def capacity(self) -> int:
        """Slots of all agents that may be picked."""
        return sum(agent.slots for agent in self.agents if agent.condition in ("ready", "busy"))

    @property
    def in_use(self) -> int:
        """Slots that are leased, on whatever agent."""
        return sum(agent.in_use for agent in self.agents)


def look(state: State | None, now: int, terms: Terms) -> PoolStatus:
    """The status of one pool at `now`."""
    book = Book(state, now, terms)
    book.prune()
    ordered = sorted(book.agents.items(), key=lambda named: named[1].number)
    agents = (
        PooledAgent(
            name,
            terms["agent_type"],
            one.capacity,
            book.used.get(name, 0),
            _condition(book, name, one),
            one.weight,
            one.latency_us / SECOND if one.latency_us else None,
            one.limit,
        )
        for name, one in ordered
    )
    return PoolStatus(tuple(agents), {terms["agent_type"]: len(book.tickets)} if book.tickets else {})


def _condition(book: Book, name: str, agent: AgentRecord) -> Condition:
    if agent.until <= book.at:
        return "lost"
    if agent.draining:
        return "draining"
    if agent.suspended > book.at:
        return "suspended"
    return "busy" if book.used.get(name, 0) >= agent.slots else "ready"
