"""A slot that is held, and the call that asks for one."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from coterie._rules.balance import CHANCES
from coterie._rules.pool import Answer, Asked
from coterie._rules.pool_status import PoolStatus
from coterie._rules.timeline import SECOND
from coterie.errors import (
    AgentUnavailable,
    BreakerOpen,
    CoterieError,
    LeaseLost,
    Misuse,
    NoLiveAgent,
    PoolBusy,
    Refused,
    StaleToken,
    TaskTimedOut,
)
from coterie.errors.root import in_words
from coterie.ids import AgentId, AgentType, TaskId, check_workflow_id

__all__ = [
    "Ask",
    "Assignment",
    "Lease",
    "Wait",
    "Waiter",
    "check_returned",
    "check_ticket",
    "check_wait",
    "new_chance",
    "new_id",
    "outcome_of",
    "refusal",
    "refused",
    "time_left",
]

# Seconds; or a function that says how many more it are, asked whenever they are over.
Wait: TypeAlias = float | Callable[[], float]

_BUSY = {
    "busy": "every slot is taken",
    "full": "every slot is taken and the queue is full",
    "taken": "another call waits, or works, by the same ticket",
    "closed": "it was closed in this process",
    "late": "no slot came free within wait_s; raise that, or the agents' capacity",
}


def new_id() -> str:
    """A name that nobody else has: 16 hexadecimal digits."""
    return os.urandom(8).hex()


def new_chance() -> int:
    """What the rule draws lots by."""
    return int.from_bytes(os.urandom(4), "big") % CHANCES


@dataclass(frozen=True, slots=True)
class Assignment:
    """A slot for one task, until `deadline` (seconds since the epoch) or as long as this process renews it."""

    task_id: TaskId
    agent_id: AgentId
    token: int
    deadline: float


class Lease:
    """One slot of one agent, held.

    token: grows with every grant of the agent; give it to the agent, so that it can refuse an older holder.
    deadline: when the slot is free again unless it is renewed, in seconds since the epoch; moves with each renewal.
    lost: set when the lease ended early; stop then, the slot may be somebody else's.
    unused: set it where nobody was called: it then says nothing of the agent.
    """

    __slots__ = ("_timer", "agent_id", "agent_type", "began_s", "deadline", "id", "lost", "token", "unused")

    def __init__(self, lease_id: str, agent_type: AgentType, agent_id: AgentId, token: int, *, began_s: float) -> None:
        self.id = lease_id
        self.agent_type = agent_type
        self.agent_id = agent_id
        self.token = token
        self.began_s = began_s
        self.deadline = 0.0
        self.lost = asyncio.Event()
        self.unused = False
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"Lease({self.agent_type!r}, {self.agent_id!r}, token={self.token})"

    def extend(self, left_s: float, deadline: float) -> None:
        """Hold it for `left_s` seconds from now; then it counts as lost."""
        self.end()
        self.deadline = deadline
        self._timer = asyncio.get_running_loop().call_later(max(0.0, left_s), self.lost.set)

    def end(self) -> None:
        """Nobody waits for its end any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller wants. holder: names the call; empty for one that keeps a place and takes no slot."""

    ticket: str
    holder: str
    priority: int = 0
    takes_over: bool = True
    key: str = ""
    avoid: Collection[AgentId] = field(default=())

    def __post_init__(self) -> None:
        if type(self.priority) is not int:
            raise Misuse(f"the priority is {self.priority!r}; give a whole number, higher ones come first")

    def said(self, *, waits: bool) -> Asked:
        """The form that the rule reads."""
        avoid = sorted(set(self.avoid))
        return [self.ticket, self.holder, self.priority, int(self.takes_over), int(waits), self.key, avoid]


class Waiter:
    """A ticket in the queue, and how many callers here wait by it; `future` holds the answer."""

    __slots__ = ("ask", "callers", "future")

    def __init__(self, ask: Ask, future: asyncio.Future[Answer]) -> None:
        self.ask = ask
        self.callers = 0
        self.future = future

    def resolve(self, answer: Answer) -> None:
        """Let the caller go on."""
        if not self.future.done():
            self.future.set_result(answer)


def outcome_of(error: Exception) -> str:
    """What an error under a lease says of the agent, in the rule's words: it failed, was overloaded, or nothing."""
    if isinstance(error, (Refused, LeaseLost)):
        return ""
    # AgentThrottled is one of them.
    return "o" if isinstance(error, (TimeoutError, TaskTimedOut, AgentUnavailable)) else "f"


def check_ticket(ticket: object) -> str:
    """Raise Misuse for what cannot name a place in the queue."""
    try:
        return check_workflow_id(ticket)
    except Misuse as error:
        raise Misuse(f"the ticket {ticket!r} is not usable; it may be whatever may name a run") from error


def check_wait(wait_s: float) -> float:
    """Raise Misuse for what is no time to wait."""
    if isinstance(wait_s, bool) or not 0 <= wait_s < math.inf:
        raise Misuse(f"wait_s={wait_s!r} is no time to wait; give seconds >= 0")
    return wait_s


def time_left(wait_s: Wait) -> Callable[[], float]:
    """For how many seconds more to wait.

    Raises:
        Misuse: it is no time to wait.
    """
    if callable(wait_s):
        return wait_s
    ends_s = time.monotonic() + check_wait(wait_s)
    return lambda: ends_s - time.monotonic()


def check_returned(agent_id: AgentId, token: int, how: str) -> None:
    """Raise what the store's word on a lease given back means.

    Raises:
        LeaseLost: it had ended before; StaleToken: and somebody was granted the agent since.
    """
    if how == "stale":
        raise StaleToken(
            f"the token {token} of the agent {agent_id!r} is not its newest: the lease ended, and others were granted "
            "since; drop the result, or let lease_s be longer"
        )
    if how == "gone":
        raise LeaseLost(
            f"the lease of the agent {agent_id!r} with the token {token} has ended: it expired, or was given back "
            "before; let lease_s be longer, or give a lease back once"
        )


def refused(agent_type: AgentType, answer: Answer, *, draining: Sequence[AgentId] = ()) -> Refused:
    """The error that a refusal is raised as. draining: the agents that are, where nobody is alive besides."""
    kind, retry_s = answer["k"], answer["r"] / SECOND
    if kind == "suspended":
        said = f"every agent of the type {agent_type!r} is suspended"
        return BreakerOpen(agent_type, retry_after_s=retry_s, state="open for every agent of the type", said=said)
    if kind == "nobody" and draining:
        return NoLiveAgent(
            f"every agent of the type {agent_type!r} that is alive is draining: {', '.join(map(repr, draining[:20]))}; "
            f"let one be picked again: 'coterie pool resume {agent_type} {draining[0]}'",
            retry_after_s=retry_s,
        )
    if kind == "nobody":
        return NoLiveAgent(
            f"no agent of the type {agent_type!r} is alive; register one, or see why its process sends no heartbeat",
            retry_after_s=retry_s,
        )
    if kind == "unhealthy":
        reason = f"only {answer['h']} of {answer['t']} agents are healthy, and those have no slot free"
    else:
        reason = _BUSY[kind]
    return PoolBusy(f"the pool {agent_type!r}: {reason}; try again in {in_words(retry_s)}", retry_after_s=retry_s)


async def refusal(agent_type: AgentType, answer: Answer, seen: Callable[[], Awaitable[PoolStatus]]) -> Refused:
    """As `refused`; where nobody is alive, another look at the pool may tell people what to do."""
    draining: list[AgentId] = []
    if answer["k"] == "nobody":
        with suppress(CoterieError):
            draining = [one.agent_id for one in (await seen()).agents if one.condition == "draining"]
    return refused(agent_type, answer, draining=draining)
