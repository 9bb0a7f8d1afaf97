"""Places in a queue: by priority, then by arrival, with ageing so that nothing starves.

One level of priority is worth `ageing_us` of waiting. So the order of two tickets never changes while they wait, and
is one number, fixed on arrival: the instant at which a ticket of priority 0 would have had to come to stand there. A
ticket of priority p is overtaken only by those of priority q that come less than (q - p) * ageing after it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from coterie._json import JsonValue

__all__ = ["MOST_PRIORITY", "Ticket", "first", "place", "rank"]

# Priorities beyond it, and beyond its negative, count as this one: then every rank has at most 14 digits.
MOST_PRIORITY = 1000


@dataclass(frozen=True, slots=True)
class Ticket:
    """A place in the queue.

    rank_us: who is served first, smallest first; may be negative. number: of arrival, for equal ranks.
    until: when it lapses, unless somebody asks with it before. owner: the process to wake. holder: the call that waits;
    empty for a deferred ticket, which nobody needs to stand by. key, avoid: what it wants of an agent.
    """

    rank_us: int
    number: int
    until: int
    owner: str
    holder: str
    key: str = ""
    avoid: frozenset[str] = frozenset()

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Ticket:
        """Read the stored form."""
        avoid = frozenset(stored.get("x", ()))
        return cls(stored["r"], stored["i"], stored["e"], stored["o"], stored["h"], stored.get("y", ""), avoid)

    def dump(self) -> dict[str, JsonValue]:
        """The stored form."""
        stored: dict[str, JsonValue] = {
            "r": self.rank_us,
            "i": self.number,
            "e": self.until,
            "o": self.owner,
            "h": self.holder,
        }
        if self.key:
            stored["y"] = self.key
        if self.avoid:
            stored["x"] = dict.fromkeys(sorted(self.avoid), 1)
        return stored


def rank(priority: int, at: int, ageing_us: int) -> int:
    """The rank of a ticket that arrives at `at`."""
    return at - max(-MOST_PRIORITY, min(MOST_PRIORITY, priority)) * ageing_us


def first(tickets: Mapping[str, Ticket], without: Collection[str] = ()) -> str | None:
    """Whose turn it is, those in `without` left out; None if nobody waits."""
    waiting = (ticket_id for ticket_id in tickets if ticket_id not in without)
    return min(waiting, key=lambda ticket_id: _order(tickets[ticket_id]), default=None)


def place(tickets: Mapping[str, Ticket], ticket_id: str) -> int:
    """How many tickets are served before this one."""
    own = _order(tickets[ticket_id])
    return sum(_order(ticket) < own for ticket in tickets.values())


def _order(ticket: Ticket) -> tuple[int, int]:
    return ticket.rank_us, ticket.number
