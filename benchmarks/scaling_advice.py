"""How many tasks in flight, how many processes, which store: found by simulation, from figures that were measured."""

from __future__ import annotations

__all__ = ["Advice", "Question", "advise", "most_in_one_pool", "store_carries"]

import math
from dataclasses import dataclass, replace

from scaling_model import Costs, Fleet, Outcome, simulate

# Beyond that share of a store's or a process's time, waits grow fast, and a burst finds no room.
STORE_SHARE = 0.7
FILE_SHARE = 0.5
PROCESS_SHARE = 0.6
MOST_POOLS = 64
TRIES = 6


@dataclass(frozen=True, slots=True)
class Question:
    """calls: wanted a minute. seconds: of one. capacity: what the agents take at once; limit: a minute; 0: no bound."""

    calls: float
    seconds: float
    capacity: int = 0
    limit: float = 0.0
    machines: int = 2


@dataclass(frozen=True, slots=True)
class Advice:
    """fleet: what was simulated in the end, and `outcome` what it came to. allowed: calls a second that can be at all.

    bound: what allows no more. bounds: for each part, the calls a minute at which it is full. enough: whether one store
    carries it.
    """

    fleet: Fleet
    costs: Costs
    outcome: Outcome
    allowed: float
    bound: str
    bounds: dict[str, float]
    enough: bool


def advise(question: Question, costs: dict[str, Costs]) -> Advice:
    """Find the smallest fleet that gives what is asked for, or what can be had of it."""
    rates = {"what you ask for": question.calls / 60}
    if question.capacity:
        rates["the agents' capacity"] = question.capacity / question.seconds
    if question.limit:
        rates["the rate limit"] = question.limit / 60
    bound = min(rates, key=lambda name: rates[name])
    allowed = rates[bound]
    if question.machines == 1:
        found = _with(costs["sqlite"], question, allowed, pools=1)
        if found.enough and found.outcome.store <= FILE_SHARE:
            return replace(found, bound=bound)
    pools = 1
    while True:
        found = _with(costs["redis"], question, allowed, pools=pools)
        if found.enough or pools >= MOST_POOLS:
            return replace(found, bound=bound)
        pools *= 2


def most_in_one_pool(seconds: float, costs: Costs, *, alone: bool) -> float:
    """Calls at once at which the store is busy for `STORE_SHARE`; alone: each agent performs one call at a time."""
    each_us = costs.per_lease + costs.per_agent * alone
    rest_us = 2 * costs.turn + costs.report
    # calls / seconds * (2 * each_us * calls + rest_us) = what it may be busy
    share_us = STORE_SHARE * seconds * 1e6
    return (math.sqrt(rest_us**2 + 8 * each_us * share_us) - rest_us) / (4 * each_us)


def store_carries(fleet: Fleet, costs: Costs) -> float:
    """Calls a second at which the store does nothing else, its pools' states growing with what is in flight."""
    each_us = 2 * costs.per_lease * fleet.seconds / fleet.pools
    rest_us = 2 * (costs.turn + costs.per_agent * fleet.agents / fleet.pools) + costs.report
    rest_us += costs.limit if fleet.rate_per_s else 0.0
    return (math.sqrt(rest_us**2 + 4 * each_us * 1e6) - rest_us) / (2 * each_us)


def _with(costs: Costs, question: Question, allowed: float, *, pools: int) -> Advice:
    processes = max(question.machines, math.ceil(allowed * costs.call / 1e6 / PROCESS_SHARE))
    slots = question.capacity or math.ceil(1.1 * allowed * question.seconds) + pools
    fleet = Fleet(
        callers=max(1, math.ceil(allowed * question.seconds)),
        processes=processes,
        seconds=question.seconds,
        agents=pools,
        capacity=math.ceil(slots / pools),
        rate_per_s=question.limit / 60,
        pools=pools,
    )
    outcome = simulate(fleet, costs)
    for _ in range(TRIES):
        if outcome.per_s >= 0.98 * allowed or outcome.store > 0.97:
            break
        fleet = replace(fleet, callers=max(fleet.callers + 1, round(fleet.callers * 1.06)))
        outcome = simulate(fleet, costs)
    bounds = {
        "store": store_carries(fleet, costs) * 60,
        "processes": processes / costs.call * 1e6 * 60,
    }
    if question.capacity:
        bounds["capacity"] = question.capacity / question.seconds * 60
    if question.limit:
        bounds["rate limit"] = question.limit
    enough = outcome.store <= STORE_SHARE and outcome.per_s >= 0.95 * allowed
    return Advice(fleet, costs, outcome, allowed, "", bounds, enough)
