"""What a pool keeps: agents, leases of their slots, and the queue; as JSON, and as the rule works on it.

How many slots of an agent are taken is counted from the leases each time, never kept: nothing can drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from coterie._json import JsonValue
from coterie._rules.decided import Decided, Signal, State
from coterie._rules.pool_policy import Terms
from coterie._rules.tickets import Ticket
from coterie._rules.timeline import SECOND, Moment, moment

__all__ = ["AgentRecord", "Book", "LeaseRecord"]

T = TypeVar("T")

# Beyond it a state's beginning moves.
_LATEST_US = 5 * 10**13
# The first token of a state is that of its second of birth, so that tokens grow even over the loss of a state: a pool
# that granted more than so many leases a second, all its life, would be needed to catch up with its successor.
_TOKENS_A_SECOND = 10_000


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """An agent. number: of registration. until: alive so long. suspended: not picked before; 0 for not suspended.

    left: the process that kept it alive has gone in good order, so nobody misses it.
    limit: how many of its slots are lent at once, where that is found out, since `epoch` (see pool_limit).
    counted: successes towards its next raise (see aimd).
    """

    number: int
    capacity: int
    weight: int
    until: int
    suspended: int = 0
    draining: bool = False
    left: bool = False
    latency_us: int = 0
    limit: int | None = None
    epoch: int = 0
    counted: int = 0

    @property
    def slots(self) -> int:
        """How many leases it may have at once."""
        return self.capacity if self.limit is None else min(self.capacity, self.limit)

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> AgentRecord:
        """Read the stored form."""
        get, limit, epoch, counted = stored.__getitem__, stored.get("m"), stored.get("g", 0), stored.get("k", 0)
        base = get("i"), get("c"), get("w"), get("e"), get("s"), bool(get("d")), bool(get("l")), get("y")
        return cls(*base, limit, epoch, counted)

    def dump(self) -> JsonValue:
        """The stored form."""
        found_out: dict[str, JsonValue] = {}
        if self.limit is not None:
            found_out = {"m": self.limit, "g": self.epoch, "k": self.counted}
        return {
            "i": self.number,
            "c": self.capacity,
            "w": self.weight,
            "e": self.until,
            "s": self.suspended,
            "d": int(self.draining),
            "l": int(self.left),
            "y": self.latency_us,
            **found_out,
        }


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """One slot of `agent`, taken. holder: the call that has it; empty: granted to a deferred ticket, not claimed.

    until: free again then, unless it is renewed. owner: the process that looks after it.
    """

    agent: str
    token: int
    until: int
    owner: str
    holder: str

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> LeaseRecord:
        """Read the stored form."""
        return cls(stored["a"], stored["n"], stored["e"], stored["o"], stored["h"])

    def dump(self) -> JsonValue:
        """The stored form."""
        return {"a": self.agent, "n": self.token, "e": self.until, "o": self.owner, "h": self.holder}


class Book:
    """A pool's state while one decision is made about it. `changed`: whether it must be written."""

    __slots__ = (
        "_given",
        "agents",
        "changed",
        "count",
        "last",
        "leases",
        "signals",
        "terms",
        "tickets",
        "time",
        "token",
        "used",
    )

    def __init__(self, state: State | None, now: int, terms: Terms) -> None:
        self._given = state
        self.terms = terms
        self.time: Moment = moment(state, now)
        self.changed = False
        self.signals: list[Signal] = []
        stored: Mapping[str, Any] = state if state is not None else {}
        self.agents = {name: AgentRecord.load(one) for name, one in stored.get("agents", {}).items()}
        self.leases = {name: LeaseRecord.load(one) for name, one in stored.get("leases", {}).items()}
        self.tickets = {name: Ticket.load(one) for name, one in stored.get("tickets", {}).items()}
        # The newest token; how many agents and tickets have come; the number of the agent that was picked last.
        self.token: int = stored.get("token", self.time.t0_s * _TOKENS_A_SECOND)
        self.count: int = stored.get("count", 0)
        self.last: int = stored.get("last", 0)
        if self.time.at > _LATEST_US:
            self._begin_anew()
        self.used: dict[str, int] = {}
        for lease in self.leases.values():
            self.used[lease.agent] = self.used.get(lease.agent, 0) + 1

    @property
    def at(self) -> int:
        """Now, in the state's time."""
        return self.time.at

    def number(self) -> int:
        """The next number of an agent or ticket."""
        self.count += 1
        return self.count

    def forget(self, lease_id: str) -> LeaseRecord:
        """Take a lease off; its slot is free."""
        lease = self.leases.pop(lease_id)
        self.used[lease.agent] -= 1
        self.changed = True
        return lease

    def prune(self) -> None:
        """Drop what is over by now; an agent that was lost is missed for some time longer."""
        at, forget_us = self.at, self.terms["forget"]
        for lease_id in [name for name, lease in self.leases.items() if lease.until <= at]:
            self.forget(lease_id)
        tickets = [name for name, ticket in self.tickets.items() if ticket.until <= at]
        agents = [name for name, one in self.agents.items() if one.until + (0 if one.left else forget_us) <= at]
        for name in tickets:
            del self.tickets[name]
        for name in agents:
            del self.agents[name]
        self.changed = self.changed or bool(tickets or agents)

    def done(self, result: T) -> Decided[T]:
        """The decision: the new state if anything changed, the beginning of its time included."""
        # A clock that was set back must be written down, or a pool that only refuses would never see time pass.
        moved = self._given is not None and self._given["t0"] != self.time.t0_s
        if not (self.changed or moved):
            return Decided(self._given, result)
        state: State = {
            **self.time.stamp(),
            "token": self.token,
            "count": self.count,
            "last": self.last,
            "agents": {name: one.dump() for name, one in self.agents.items()},
            "leases": {name: one.dump() for name, one in self.leases.items()},
            "tickets": {name: one.dump() for name, one in self.tickets.items()},
        }
        return Decided(state, result, tuple(self.signals))

    def _begin_anew(self) -> None:
        """Move the state's beginning to this second, and all its instants with it."""
        shift_s = self.at // SECOND
        shift = shift_s * SECOND
        self.time = Moment(self.time.t0_s + shift_s, self.at - shift)
        self.changed = True
        self.agents = {
            name: replace(one, until=one.until - shift, suspended=max(0, one.suspended - shift))
            for name, one in self.agents.items()
        }
        self.leases = {name: replace(one, until=one.until - shift) for name, one in self.leases.items()}
        self.tickets = {
            name: replace(one, rank_us=one.rank_us - shift, until=one.until - shift)
            for name, one in self.tickets.items()
        }
