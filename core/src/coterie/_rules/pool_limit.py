"""How many slots of an agent are lent at once, where a pool finds that out: a limit in the agent's record.

An epoch is named by the first token that may be granted in it: so a lease's own token says whether it began before the
limit was lowered, or before the agent was forgotten and came back. What the limit is worth depends on the agent's
record alone; whoever changes an agent by hand need not know the policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from coterie._rules.aimd import Aimd, AimdTerms, Concurrency, Outcome, adjust, begin
from coterie._rules.pool_state import AgentRecord, Book

__all__ = ["bounded", "learned"]

# A failure says nothing of the load.
_LOAD: Mapping[str, Outcome] = {"s": "success", "o": "overload"}


def bounded(book: Book, agent: AgentRecord) -> AgentRecord:
    """An agent that was registered: with a limit within what the terms allow, or without one where they have none."""
    terms = book.terms.get("adaptive")
    if terms is None:
        return agent if agent.limit is None else replace(agent, limit=None, epoch=0, counted=0)
    if agent.limit is None:
        return replace(agent, limit=_within(terms, begin(Aimd.of(terms)).limit, agent.capacity), epoch=book.token + 1)
    return _limited(terms, agent, Concurrency(agent.limit, agent.epoch, agent.counted))


def learned(book: Book, agent: AgentRecord, token: int, outcome: str, *, in_flight: int) -> AgentRecord:
    """An agent after the lease `token` of it was given back. in_flight: leases of it, this one included."""
    terms = book.terms.get("adaptive")
    if terms is None or agent.limit is None:
        return agent
    before = Concurrency(agent.limit, agent.epoch, agent.counted)
    load = _LOAD.get(outcome, "ignored")
    after = adjust(Aimd.of(terms), before, in_flight=in_flight, epoch=token, outcome=load)
    epoch = agent.epoch if after.epoch == before.epoch else book.token + 1
    return _limited(terms, agent, after._replace(epoch=epoch))


def _limited(terms: AimdTerms, agent: AgentRecord, found: Concurrency) -> AgentRecord:
    limit = _within(terms, found.limit, agent.capacity)
    # What was counted towards a raise of another limit says nothing of this one.
    counted = found.counted if limit == found.limit else 0
    return replace(agent, limit=limit, epoch=found.epoch, counted=counted)


def _within(terms: AimdTerms, limit: int, capacity: int) -> int:
    # A limit above the capacity would be lowered many times before anybody noticed.
    most = max(terms["minimum"], min(terms["maximum"], capacity))
    return max(terms["minimum"], min(most, limit))
