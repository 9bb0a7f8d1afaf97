"""The rule of the pool, on random histories: what holds after every step, whoever does what when."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from coterie._rules.pool_policy import Terms
from coterie._rules.pool_status import look
from tests.fleet.pool.histories import AGENTS, ANY_TERMS, HISTORIES, SECOND, Step, World, slots, terms
from tests.fleet.twins.harness import assert_storable

EXAMPLES = settings(max_examples=150, deadline=None)
# Agents keep their capacity here, so that "over capacity" has one meaning.
CAPACITY = {"north": 1, "south": 2, "east": 3}


def steady(step: Step) -> Step:
    return (*step[:2], CAPACITY[step[1]], *step[3:]) if step[0] == "register" else step


def played(policy: Terms, history: list[Step]) -> World:
    world = World(policy)
    for agent in AGENTS:
        world.run(("register", agent, CAPACITY[agent], 1, False))
    for step in history:
        world.run(steady(step))
    return world


@EXAMPLES
@given(ANY_TERMS, HISTORIES)
def test_holders_are_never_more_than_slots(policy: Terms, history: list[Step]):
    world = World(policy)

    for step in history:
        world.run(steady(step))

        live = Counter(grant.agent for grant in world.grants.values() if grant.until > world.now)
        assert all(count <= CAPACITY[agent] for agent, count in live.items()), (step, live)


@EXAMPLES
@given(ANY_TERMS, HISTORIES)
def test_tokens_only_grow(policy: Terms, history: list[Step]):
    world, newest = World(policy), 0

    for step in history:
        before = set(world.grants) | world.ended
        world.run(step)
        fresh = sorted((set(world.grants) | world.ended) - before)

        assert all(token > newest for token in fresh)
        newest = max([newest, *fresh])


@EXAMPLES
@given(ANY_TERMS, HISTORIES)
def test_nobody_waits_for_a_slot_that_is_free(policy: Terms, history: list[Step]):
    world = World(policy)

    for step in history:
        world.run(steady(step))
        if step[0] == "pass" or world.state is None:
            continue

        at = world.state["at"]
        used = Counter(lease["a"] for lease in world.leases.values())
        free = {
            name
            for name, one in world.agents.items()
            if one["e"] > at and not one["d"] and one["s"] <= at and used[name] < slots(one)
        }
        assert all(free <= set(ticket.get("x", {})) for ticket in world.tickets.values()), (step, free)


@EXAMPLES
@given(ANY_TERMS, HISTORIES)
def test_a_freed_slot_goes_to_the_one_with_most_priority_and_age(policy: Terms, history: list[Step]):
    world = World(policy)
    world.run(("register", "north", 1, 1, False))
    history = [step for step in history if step[0] in ("ask", "release", "pass", "drop")]

    # Whoever avoids an agent may be passed over.
    for step in [(*one[:7], []) if one[0] == "ask" else one for one in history]:
        waiting = dict(world.tickets)
        world.run(step)
        if step[0] not in ("release", "drop") or not world.granted:
            continue

        aged = {
            name: (priority * policy["ageing"] + world.now - came, -number)
            for name, (priority, came, number) in world.arrivals.items()
            if name in waiting
            and waiting[name]["e"] - world.state["at"] > 0
            and name in [*world.granted, *world.tickets]  # type: ignore[index, operator]
        }
        assert world.granted[0] == max(aged, key=aged.__getitem__)


@EXAMPLES
@given(ANY_TERMS, HISTORIES)
def test_every_lease_and_ticket_comes_back_in_the_end(policy: Terms, history: list[Step]):
    world = played(policy, history)

    world.now += 7200 * SECOND
    world.turn()

    assert (world.leases, world.tickets, world.agents) == ({}, {}, {})


@EXAMPLES
@given(ANY_TERMS, HISTORIES)
def test_after_any_history_whoever_waits_is_served(policy: Terms, history: list[Step]):
    world = played(policy, history)
    for agent in AGENTS:
        world.run(("set", agent, "resume"))
        world.run(("register", agent, CAPACITY[agent], 1, False))
    waiting, served = set(world.tickets), set[str]()

    for _ in range(len(waiting) + 20):
        if not world.tickets:
            break
        for grant in list(world.grants.values()):
            served.add(grant.ticket)
            world._back(grant, grant.ticket, "s", 1)

    assert not world.tickets
    assert waiting <= {one.ticket for one in world.grants.values()} | served


@EXAMPLES
@given(ANY_TERMS, HISTORIES)
def test_the_status_adds_up(policy: Terms, history: list[Step]):
    world = played(policy, history)

    status = look(world.state, world.now, policy)

    live = Counter(grant.agent for grant in world.grants.values() if grant.until > world.now)
    assert {agent.agent_id: agent.in_use for agent in status.agents if agent.in_use} == {
        name: count for name, count in live.items() if name in {agent.agent_id for agent in status.agents}
    }
    assert status.capacity == sum(a.slots for a in status.agents if a.condition in ("ready", "busy"))
    assert status.waiting.get("linter", 0) <= len(world.tickets)


@EXAMPLES
@given(ANY_TERMS, HISTORIES)
def test_the_stored_form_stays_bounded_and_storable(policy: Terms, history: list[Step]):
    world = World(policy)

    for step in history:
        world.run(step)

        assert_storable(world.state)
        parked = list(world.tickets.values())
        assert len(parked) <= policy["queue"] + 1
        assert len(json.dumps(world.state)) <= 400 + 150 * (len(world.agents) + len(world.leases) + 2 * len(parked))


@EXAMPLES
@given(HISTORIES, st.lists(st.integers(-3600 * SECOND, 30 * SECOND), min_size=1, max_size=8))
def test_a_clock_that_is_set_back_lets_nothing_last_longer_than_it_should(history: list[Step], leaps: list[int]):
    world = World(terms())
    for number, step in enumerate(history):
        world.run(step)
        if number % 5 == 0 and step[0] != "pass":
            leap = leaps[number % len(leaps)]
            world.now += leap
            # Holders measure durations: a leap of the wall clock moves nothing for them.
            for grant in world.grants.values():
                grant.until += min(leap, 0)
    before = world.state["at"] if world.state else 0

    world.turn()
    longest = max((lease["e"] for lease in world.leases.values()), default=0)

    assert longest <= (world.state["at"] if world.state else 0) + 60 * SECOND  # type: ignore[operator]
    assert world.state is None or world.state["at"] >= before or world.state["at"] >= 0  # type: ignore[operator]
