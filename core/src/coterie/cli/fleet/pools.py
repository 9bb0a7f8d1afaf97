"""A pool's stored state, as people are shown it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coterie._rules.decided import State
from coterie._rules.pool import channel
from coterie._rules.pool_policy import PoolPolicy, Terms
from coterie._rules.pool_state import AgentRecord, Book
from coterie._rules.pool_status import Condition, look
from coterie._rules.timeline import SECOND, micros
from coterie.cli.fleet.reading import reading
from coterie.cli.fleet.times import instant
from coterie.ids import AgentId, AgentType

__all__ = ["AgentRow", "PoolRow", "TicketRow", "pool_row", "suspended_agents", "terms_of"]

_NEVER_US = 10**14


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """One agent. Instants in microseconds since the epoch, on the store's clock.

    alive_until_us: it is lost from then on, unless a heartbeat comes. heartbeat_age_us: None without the policy, and
    where it has left. left: the process that kept it alive has gone in good order. suspended_until_us: None unless it
    is suspended. tokens: of its leases. limit: how many of its slots are lent, where the pool finds that out.
    """

    agent_id: AgentId
    capacity: int
    limit: int | None
    in_use: int
    condition: Condition
    weight: int
    latency_s: float | None
    alive_until_us: int
    heartbeat_age_us: int | None
    left: bool
    suspended_until_us: int | None
    tokens: tuple[int, ...]

    @property
    def slots(self) -> int:
        """How many leases it may have at once."""
        return self.capacity if self.limit is None else min(self.capacity, self.limit)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        age_us = self.heartbeat_age_us
        return {
            "agent_id": self.agent_id,
            "capacity": self.capacity,
            "limit": self.limit,
            "in_use": self.in_use,
            "condition": self.condition,
            "weight": self.weight,
            "latency_s": self.latency_s,
            "alive_until": instant(self.alive_until_us),
            "heartbeat_age_s": None if age_us is None else age_us / SECOND,
            "left": self.left,
            "suspended_until": instant(self.suspended_until_us),
            "tokens": list(self.tokens),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketRow:
    """One place in the queue. standing_us: how long a ticket of priority 0 would have waited that stands there.

    deferred: nobody stands by it; it keeps a place. until_us: it lapses then, unless somebody asks with it.
    """

    ticket: str
    deferred: bool
    standing_us: int
    until_us: int
    channel: str

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "ticket": self.ticket,
            "deferred": self.deferred,
            "standing_s": self.standing_us / SECOND,
            "lapses": instant(self.until_us),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRow:
    """One pool. tickets: first the one that is served first. token: the newest that was granted; None before that.

    ageing_s: how much waiting makes up for one level of priority; None without the policy.
    """

    agent_type: AgentType
    agents: tuple[AgentRow, ...]
    tickets: tuple[TicketRow, ...]
    token: int | None
    ageing_s: float | None

    @property
    def in_use(self) -> int:
        """Slots that are leased, on whatever agent."""
        return sum(agent.in_use for agent in self.agents)

    @property
    def free(self) -> int:
        """Slots that may be leased now."""
        return sum(max(0, agent.slots - agent.in_use) for agent in self.agents if agent.condition == "ready")

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "agent_type": self.agent_type,
            "in_use": self.in_use,
            "free_slots": self.free,
            "token": self.token,
            "ageing_s": self.ageing_s,
            "agents": [agent.document() for agent in self.agents],
            "waiting": [ticket.document() for ticket in self.tickets],
        }


def terms_of(agent_type: AgentType, policy: PoolPolicy | None) -> Terms:
    """The terms to look at a pool with, or to change one of its agents by.

    Without the policy, how long a lost agent is missed is not known: then none is forgotten here.
    """
    terms = (policy or PoolPolicy()).terms(agent_type)
    return terms if policy is not None else {**terms, "forget": _NEVER_US}


def pool_row(agent_type: AgentType, policy: PoolPolicy | None, state: State | None, now: int) -> PoolRow:
    """What its state says at `now`.

    Raises:
        StateFormatError: it cannot be read, or a newer coterie wrote it.
    """
    with reading(f"pool/{agent_type}"):
        return _row(agent_type, policy, state, now)


def suspended_agents(agent_type: AgentType, policy: PoolPolicy | None, state: State | None, now: int) -> list[AgentId]:
    """Whom it does not let be picked at `now`.

    Those who have left are among them, shown or not: until a next change drops what is over, whoever registers them
    again finds them as they were.

    Raises:
        StateFormatError: as of `pool_row`.
    """
    with reading(f"pool/{agent_type}"):
        book = Book(state, now, terms_of(agent_type, policy))
        return [agent_id for agent_id, record in book.agents.items() if record.suspended > book.at]


def _row(agent_type: AgentType, policy: PoolPolicy | None, state: State | None, now: int) -> PoolRow:
    terms = terms_of(agent_type, policy)
    book = Book(state, now, terms)
    book.prune()
    begun_us = now - book.at
    alive_us = micros(policy.alive_s) if policy is not None else None

    def agent_row(agent_id: AgentId, condition: Condition, record: AgentRecord) -> AgentRow:
        leases = [lease.token for lease in book.leases.values() if lease.agent == agent_id]
        age_us = None if alive_us is None or record.left else book.at - record.until + alive_us
        return AgentRow(
            agent_id=agent_id,
            capacity=record.capacity,
            limit=record.limit,
            in_use=len(leases),
            condition=condition,
            weight=record.weight,
            latency_s=record.latency_us / SECOND if record.latency_us else None,
            alive_until_us=begun_us + record.until,
            heartbeat_age_us=age_us,
            left=record.left,
            suspended_until_us=begun_us + record.suspended if record.suspended > book.at else None,
            tokens=tuple(sorted(leases)),
        )

    status = look(state, now, terms)
    queue = sorted(book.tickets.items(), key=lambda named: (named[1].rank_us, named[1].number))
    return PoolRow(
        agent_type=agent_type,
        agents=tuple(agent_row(one.agent_id, one.condition, book.agents[one.agent_id]) for one in status.agents),
        tickets=tuple(
            TicketRow(
                ticket=name,
                deferred=not ticket.holder,
                standing_us=book.at - ticket.rank_us,
                until_us=begun_us + ticket.until,
                channel=channel(agent_type, ticket.owner),
            )
            for name, ticket in queue
        ),
        token=book.token if state is not None and "token" in state else None,
        ageing_s=policy.ageing_s if policy is not None else None,
    )
