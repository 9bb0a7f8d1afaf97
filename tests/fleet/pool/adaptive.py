"""An agent whose slots are lent by what it bears, with a queue before it."""

from __future__ import annotations

from coterie._rules.aimd import Aimd
from tests.fleet.pool.histories import World, terms

FOUR = Aimd(minimum=1, start=4, maximum=8, backoff=0.75)


def busy(policy: Aimd, *, capacity: int = 8, waiting: int = 20) -> World:
    """One agent, all its slots lent, and a queue."""
    world = World(terms(queue_limit=100, adaptive=policy))
    world.run(("register", "north", capacity, 1, False))
    for number in range(waiting):
        world.ask(f"t{number}")
    return world


def release(world: World, outcome: str, *, oldest: bool = True) -> None:
    grant = list(world.grants.values())[0 if oldest else -1]
    assert world._back(grant, grant.ticket, outcome, 1000) == "ok"


def limit(world: World) -> int:
    return int(world.agents["north"]["m"])
