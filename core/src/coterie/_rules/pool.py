"""Who gets a slot of which agent, in one atomic step: what expired is pruned, the queue served, the caller answered.

A `turn` is all that one process has to say about one agent type: what it gives back, which agents and leases it keeps
alive, which slots it asks for. A lease, a release, a heartbeat of a hundred leases and an orderly exit are the same
decision, and cost one command each. A slot that becomes free goes to the first in the queue in the very step that frees
it; who waits in another process is told on that process's own channel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias, cast

from coterie._json import JsonValue
from coterie._rules.balance import AgentView, pick, reshuffled
from coterie._rules.decided import Decided, Operation, Signal, State
from coterie._rules.pool_limit import bounded, learned
from coterie._rules.pool_policy import Terms
from coterie._rules.pool_state import AgentRecord, Book, LeaseRecord
from coterie._rules.tickets import Ticket, first, place, rank
from coterie._rules.timeline import SECOND

__all__ = ["Answer", "Asked", "Change", "Given", "channel", "key", "set_agent", "suspend", "turn"]

# How an ask ended, by "k":
#   leased       "a" agent, "n" token, "u" for how long (microseconds, as all durations)
#   queued       "p": how many are served before
# and refusals, with "r", after which to ask again:
#   busy         every slot is taken, and the caller does not wait
#   full         so is the queue
#   unhealthy    no slot is free and too few agents are healthy to queue for them: "h" of "t"
#   suspended    every agent is suspended
#   nobody       no agent is alive
#   taken        somebody else holds a lease, or waits, by the same ticket
Answer: TypeAlias = Mapping[str, Any]

# [lease id, agent, token, outcome, latency]: "s" success, "f" failure, "o" failure for being asked too much, "" none.
Given: TypeAlias = tuple[str, str, int, str, int]
# [ticket id, holder, priority, whether it takes the ticket over, whether it waits, key, agents to avoid]
Asked: TypeAlias = Sequence[Any]

Change: TypeAlias = Literal["drain", "resume", "remove"]

# An agent that took longer is as slow as any.
_SLOWEST_US = 3_600_000_000


def key(agent_type: str) -> str:
    """Where the state of a pool lies."""
    return f"pool/{agent_type}"


def channel(agent_type: str, owner: str) -> str:
    """Where a process hears of its grants, as `ticket agent token`."""
    return f"pool/{agent_type}/{owner}"


def turn(
    terms: Terms,
    owner: str,
    *,
    chance: int,
    back: Sequence[Given] = (),
    drop: Sequence[Sequence[str]] = (),
    agents: Sequence[Sequence[str | int]] = (),
    leaving: bool = False,
    renew: Sequence[Sequence[str | int]] = (),
    asks: Sequence[Asked] = (),
) -> Operation[Answer]:
    """All that the process `owner` has to say.

    agents: [id, capacity, weight], which are alive; leaving: and which it looks after no more.
    back: leases that are over. drop: [ticket, holder], whether it waits still or was granted by now.
    renew: [lease id, token] of those it holds. asks: slots it wants.

    Result: "back": by lease id "ok", "gone" (it had ended) or "stale" (and somebody was granted the agent since);
    "lost": the lease ids among `renew` that have ended; "asks": an answer by ticket id.
    """
    said: dict[str, JsonValue] = {
        "owner": owner,
        "chance": chance,
        "agents": [list(one) for one in agents],
        "leaving": int(leaving),
        "back": [list(one) for one in back],
        "drop": [list(one) for one in drop],
        "renew": [list(one) for one in renew],
        "asks": [list(one) for one in asks],
    }
    return Operation("pool.turn", (_json(terms), said), _turn, _as_answer)


def set_agent(terms: Terms, agent_id: str, change: Change, *, chance: int) -> Operation[bool]:
    """Drain, resume or remove an agent; whether there is one of that id.

    Draining, and removed, it gets no new leases; those it has run on. `resume` ends a suspension too.
    """
    said: JsonValue = {"agent": agent_id, "change": change, "chance": chance}
    return Operation("pool.set", (_json(terms), said), _set, bool)


def suspend(terms: Terms, agent_id: str, until_us: int, *, chance: int) -> Operation[bool]:
    """Do not pick an agent before `until_us`, microseconds since the epoch on the store's clock; 0: at once again.

    Whether there is an agent of that id.
    """
    said: JsonValue = {"agent": agent_id, "until": until_us, "chance": chance}
    return Operation("pool.suspend", (_json(terms), said), _suspend, bool)


def _json(terms: Terms) -> JsonValue:
    return cast("dict[str, JsonValue]", terms)


def _as_answer(result: JsonValue) -> Answer:
    assert isinstance(result, dict)
    return result


def _turn(state: State | None, now: int, terms: Terms, said: Mapping[str, Any]) -> Decided[JsonValue]:
    book = Book(state, now, terms)
    owner: str = said["owner"]
    for agent in said["agents"]:
        _keep_alive(book, *agent, leaving=bool(said["leaving"]))
    book.prune()
    returned: dict[str, JsonValue] = {one[0]: _give_back(book, one) for one in said["back"]}
    for ticket_id, holder in said["drop"]:
        _drop(book, ticket_id, holder)
    lost: dict[str, JsonValue] = {name: 1 for name, token in said["renew"] if not _renew(book, owner, name, token)}
    new = {ask[0] for ask in said["asks"] if _take_place(book, owner, ask)}
    _serve(book, said["chance"], present={ask[0] for ask in said["asks"]})
    answers = {ask[0]: _answer(book, owner, ask, is_new=ask[0] in new) for ask in said["asks"]}
    return book.done({"back": returned, "lost": lost, "asks": answers})


def _set(state: State | None, now: int, terms: Terms, said: Mapping[str, Any]) -> Decided[JsonValue]:
    book = Book(state, now, terms)
    book.prune()
    agent = book.agents.get(said["agent"])
    if agent is not None:
        book.changed = True
        if said["change"] == "remove":
            del book.agents[said["agent"]]
        elif said["change"] == "drain":
            book.agents[said["agent"]] = replace(agent, draining=True)
        else:
            book.agents[said["agent"]] = replace(agent, draining=False, suspended=0)
    _serve(book, said["chance"], present=())
    return book.done(agent is not None)


def _suspend(state: State | None, now: int, terms: Terms, said: Mapping[str, Any]) -> Decided[JsonValue]:
    book = Book(state, now, terms)
    book.prune()
    agent = book.agents.get(said["agent"])
    if agent is not None:
        book.changed = True
        # By what is left of it: the state's time may differ from the store's, after that was set back.
        left_us = said["until"] - now
        book.agents[said["agent"]] = replace(agent, suspended=book.at + left_us if left_us > 0 else 0)
    _serve(book, said["chance"], present=())
    return book.done(agent is not None)


def _keep_alive(book: Book, agent_id: str, capacity: int, weight: int, *, leaving: bool) -> None:
    book.changed = True
    agent = book.agents.get(agent_id)
    if leaving:
        # Another process may look after it as well: its next heartbeat comes within a third of the time.
        if agent is not None:
            book.agents[agent_id] = replace(
                agent, until=min(agent.until, book.at + book.terms["alive"] // 2), left=True
            )
        return
    until = book.at + book.terms["alive"]
    if agent is None:
        agent = AgentRecord(book.number(), capacity, weight, until)
    else:
        agent = replace(agent, capacity=capacity, weight=weight, until=until, left=False)
    book.agents[agent_id] = bounded(book, agent)


def _give_back(book: Book, given: Given) -> str:
    lease_id, agent_id, token, outcome, latency_us = given
    lease = book.leases.get(lease_id) if lease_id else None
    if not lease_id:
        # By its token alone: it is the only one of its pool.
        lease_id, lease = next(
            ((name, one) for name, one in book.leases.items() if one.token == token and one.agent == agent_id),
            ("", None),
        )
    if lease is None or lease.token != token or lease.agent != agent_id:
        newer = any(one.agent == agent_id and one.token > token for one in book.leases.values())
        return "stale" if newer else "gone"
    book.forget(lease_id)
    agent = book.agents.get(agent_id)
    if agent is not None and outcome:
        agent = replace(agent, latency_us=_average(agent.latency_us, outcome, latency_us))
        book.agents[agent_id] = learned(book, agent, token, outcome, in_flight=book.used[agent_id] + 1)
    return "ok"


def _average(before_us: int, outcome: str, latency_us: int) -> int:
    """The moving average of answers. A failure counts twice the average: failing fast must not attract work."""
    sample_us = min(_SLOWEST_US, max(latency_us, 2 * before_us) if outcome != "s" else latency_us)
    return before_us + (sample_us - before_us) // 8 if before_us else sample_us


def _drop(book: Book, ticket_id: str, holder: str) -> None:
    ticket, lease = book.tickets.get(ticket_id), book.leases.get(ticket_id)
    if ticket is not None and ticket.holder == holder:
        del book.tickets[ticket_id]
        book.changed = True
    if lease is not None and lease.holder == holder:
        book.forget(ticket_id)


def _renew(book: Book, owner: str, lease_id: str, token: int) -> bool:
    lease = book.leases.get(lease_id)
    if lease is None or lease.token != token:
        return False
    book.leases[lease_id] = replace(lease, until=book.at + book.terms["lease"], owner=owner)
    book.changed = True
    return True


def _take_place(book: Book, owner: str, ask: Asked) -> bool:
    """Join the queue, or stay in it; whether the ticket is new."""
    ticket_id, holder, priority, takes_over, _waits, wanted_key, avoid = ask
    ticket = book.tickets.get(ticket_id)
    until = book.at + (book.terms["parked"] if holder else book.terms["deferred"])
    if ticket_id in book.leases:
        return False
    if ticket is None:
        number = book.number()
        ranked = rank(priority, book.at, book.terms["ageing"])
        book.tickets[ticket_id] = Ticket(ranked, number, until, owner, holder, wanted_key, frozenset(avoid))
        return True
    if ticket.holder == holder or takes_over:
        book.tickets[ticket_id] = replace(
            ticket, until=until, owner=owner, holder=holder, key=wanted_key, avoid=frozenset(avoid)
        )
        book.changed = True
    return False


def _serve(book: Book, chance: int, *, present: Collection[str]) -> None:
    """Hand free slots to the first in the queue; who is not `present` is told."""
    free = _free(book)
    unserved: set[str] = set()
    while free and (ticket_id := first(book.tickets, unserved)) is not None:
        ticket = book.tickets[ticket_id]
        suited = [agent for agent in free if agent.agent_id not in ticket.avoid]
        if not suited:
            unserved.add(ticket_id)
            continue
        agent = pick(book.terms["strategy"], suited, chance=chance, key=ticket.key)
        chance = reshuffled(chance)
        _grant(book, ticket_id, agent)
        if ticket_id not in present:
            message = f"{ticket_id} {agent.agent_id} {book.token}"
            book.signals.append(Signal(channel(book.terms["agent_type"], ticket.owner), message))
        free = _free(book)


def _grant(book: Book, ticket_id: str, agent: AgentView) -> None:
    ticket = book.tickets.pop(ticket_id)
    book.token += 1
    until = book.at + (book.terms["claim"] if ticket.holder else book.terms["deferred_claim"])
    book.leases[ticket_id] = LeaseRecord(agent.agent_id, book.token, until, ticket.owner, ticket.holder)
    book.used[agent.agent_id] = book.used.get(agent.agent_id, 0) + 1
    book.last = agent.number
    book.changed = True


def _free(book: Book) -> list[AgentView]:
    """Agents with a free slot, from the one that was registered after the last picked."""
    views = [
        AgentView(name, one.number, one.slots, book.used.get(name, 0), one.weight, one.latency_us)
        for name, one in book.agents.items()
        if one.until > book.at and not one.draining and one.suspended <= book.at and book.used.get(name, 0) < one.slots
    ]
    views.sort(key=lambda agent: (agent.number <= book.last, agent.number))
    return views


def _answer(book: Book, owner: str, ask: Asked, *, is_new: bool) -> JsonValue:
    ticket_id, holder, _priority, _takes_over, waits, _key, avoid = ask
    if ticket_id in book.leases:
        return _claim(book, owner, ticket_id, holder)
    ticket = book.tickets[ticket_id]
    if ticket.holder != holder:
        return {"k": "taken", "r": ticket.until - book.at}
    refusal = _refusal(book, avoid, waits=bool(waits), is_new=is_new)
    if refusal is None:
        book.changed = True
        return {"k": "queued", "p": place(book.tickets, ticket_id)}
    del book.tickets[ticket_id]
    book.changed = book.changed or not is_new
    return refusal


def _claim(book: Book, owner: str, ticket_id: str, holder: str) -> JsonValue:
    lease = book.leases[ticket_id]
    if lease.holder not in ("", holder):
        return {"k": "taken", "r": lease.until - book.at}
    until = book.at + book.terms["lease"] if holder else lease.until
    book.leases[ticket_id] = replace(lease, until=until, owner=owner, holder=holder)
    book.changed = True
    return {"k": "leased", "a": lease.agent, "n": lease.token, "u": until - book.at}


def _refusal(book: Book, avoid: Collection[str], *, waits: bool, is_new: bool) -> dict[str, JsonValue] | None:
    """Why a caller may not wait for a slot; None if it may."""
    at = book.at
    missed = [one for one in book.agents.values() if not one.draining and not one.left]
    alive = {name: one for name, one in book.agents.items() if one.until > at and not one.draining}
    if not alive:
        return {"k": "nobody", "r": book.terms["alive"]}
    wanted = [one for name, one in alive.items() if name not in avoid]
    if all(one.suspended > at for one in wanted):
        soonest = min((one.suspended - at for one in wanted), default=SECOND)
        return {"k": "suspended" if wanted else "busy", "r": soonest}
    soonest = min((lease.until - at for lease in book.leases.values()), default=SECOND)
    healthy = sum(one.suspended <= at for one in alive.values())
    total = len(alive) + sum(one.until <= at for one in missed)
    if is_new and healthy * 1_000_000 < book.terms["share"] * total:
        return {"k": "unhealthy", "r": soonest, "h": healthy, "t": total}
    if not waits:
        return {"k": "busy", "r": soonest}
    if is_new and len(book.tickets) > book.terms["queue"]:
        return {"k": "full", "r": soonest}
    return None
