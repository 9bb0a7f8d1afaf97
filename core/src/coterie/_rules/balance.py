"""Which agent gets the next piece of work: one small pure function a strategy.

Each is given the agents that have a free slot, never none, beginning behind the one that was picked last: whoever takes
the first among equals goes round them, so that callers who decide at the same time do not all pile onto the same agent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

__all__ = ["CHANCES", "STRATEGIES", "AgentView", "Strategy", "pick", "reshuffled"]

Strategy: TypeAlias = Literal[
    "round_robin",
    "least_loaded",
    "least_response_time",
    "random",
    "weighted",
    "power_of_two_choices",
    "consistent_hash",
]
STRATEGIES = get_args(Strategy)

# A chance is a whole number from 0 to one below this.
CHANCES = 1_000_000
_UNKNOWN_US = 1_000_000


class AgentView(NamedTuple):
    """An agent as a strategy sees it. latency_us: the moving average of its answers; 0 before the first."""

    agent_id: str
    number: int
    capacity: int
    in_use: int
    weight: int
    latency_us: int


def pick(strategy: Strategy, free: Sequence[AgentView], *, chance: int, key: str) -> AgentView:
    """The agent to lease. key: what `consistent_hash` keeps on one agent."""
    return _PICK[strategy](free, chance, key)


def reshuffled(chance: int) -> int:
    """Another chance, for one more pick in the same decision."""
    return (chance * 7919 + 104_729) % CHANCES


def _round_robin(free: Sequence[AgentView], _chance: int, _key: str) -> AgentView:
    return free[0]


def _least_loaded(free: Sequence[AgentView], _chance: int, _key: str) -> AgentView:
    return min(free, key=lambda agent: agent.in_use * CHANCES // agent.capacity)


def _least_response_time(free: Sequence[AgentView], _chance: int, _key: str) -> AgentView:
    unknown_us = _unknown_us(free)
    return min(free, key=lambda agent: _cost(agent, unknown_us))


def _random(free: Sequence[AgentView], chance: int, _key: str) -> AgentView:
    return free[chance * len(free) // CHANCES]


def _weighted(free: Sequence[AgentView], chance: int, _key: str) -> AgentView:
    drawn = chance * sum(agent.weight for agent in free) // CHANCES
    for agent in free:
        drawn -= agent.weight
        if drawn < 0:
            return agent
    raise AssertionError("a draw below the sum of the weights falls on one of them")


def _power_of_two_choices(free: Sequence[AgentView], chance: int, _key: str) -> AgentView:
    """The better of two drawn at random (Mitzenmacher, "The Power of Two Choices", 2001)."""
    count = len(free)
    if count == 1:
        return free[0]
    first = chance % count
    second = chance // count % (count - 1)
    second += second >= first
    unknown_us = _unknown_us(free)
    one, other = free[first], free[second]
    return other if _cost(other, unknown_us) < _cost(one, unknown_us) else one


def _consistent_hash(free: Sequence[AgentView], _chance: int, key: str) -> AgentView:
    """Rendezvous hashing (Thaler and Ravishankar, 1998): a key moves only when its agent comes, goes or is full."""
    return max(free, key=lambda agent: _affinity(key, agent.agent_id))


def _affinity(key: str, agent_id: str) -> int:
    digest = hashlib.sha1(f"{key}\n{agent_id}".encode(), usedforsecurity=False)
    return int(digest.hexdigest()[:12], 16)


def _unknown_us(free: Sequence[AgentView]) -> int:
    """What to take for the latency of an agent that has not answered yet: as fast as the fastest, not faster."""
    return min((agent.latency_us for agent in free if agent.latency_us), default=_UNKNOWN_US)


def _cost(agent: AgentView, unknown_us: int) -> int:
    return (agent.latency_us or unknown_us) * (agent.in_use + 1) // agent.capacity


_PICK: Mapping[Strategy, Callable[[Sequence[AgentView], int, str], AgentView]] = {
    "round_robin": _round_robin,
    "least_loaded": _least_loaded,
    "least_response_time": _least_response_time,
    "random": _random,
    "weighted": _weighted,
    "power_of_two_choices": _power_of_two_choices,
    "consistent_hash": _consistent_hash,
}
