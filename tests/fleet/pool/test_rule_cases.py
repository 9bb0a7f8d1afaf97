"""The rule of the pool, one situation at a time."""

from __future__ import annotations

import pytest

from coterie._rules.pool import turn
from coterie._rules.pool_policy import PoolPolicy
from coterie.errors import PolicyError
from tests.fleet.pool.histories import AGENTS, EPOCH, SECOND, World, terms


@pytest.mark.parametrize("gap", [1, 3, 10])
@pytest.mark.parametrize("ageing_s", [1.0, 60.0])
def test_a_low_priority_is_served_while_high_ones_keep_coming(gap: int, ageing_s: float):
    world = World(terms(ageing_s=ageing_s, queue_limit=10_000, lease_s=40_000.0))
    world.run(("register", "north", 1, 1, False))
    world.ask("holder")
    world.ask("low", "low", 0)
    bound = int(gap * ageing_s)

    served_after = None
    for number in range(2 * bound + 10):
        world.now += SECOND
        world.run(("register", "north", 1, 1, False))
        world.ask("low", "low", 0)
        world.ask(f"high{number}", "high", gap)
        current = next(iter(world.grants.values())).ticket
        if current == "low":
            served_after = number
            break
        world.give_back(current)

    # One high ticket comes for each slot that is freed: without ageing the low one would never have its turn.
    assert served_after is not None
    assert served_after <= bound + 2


def test_among_equals_the_first_to_come_is_served_first():
    world = World(terms(queue_limit=100))
    world.run(("register", "north", 1, 1, False))
    world.ask("t0")
    for number in range(1, 10):
        world.ask(f"t{number}")

    served = []
    for number in range(9):
        world.give_back(f"t{number}")
        served += world.granted

    assert served == [f"t{number}" for number in range(1, 10)]


def test_several_slots_that_become_free_at_once_are_all_handed_over():
    world = World(terms(healthy_share=0.0))
    world.run(("register", "north", 1, 1, False))
    for number in range(4):
        world.ask(f"t{number}")

    world.run(("register", "south", 2, 1, False))

    assert world.granted == ["t1", "t2"]
    assert list(world.tickets) == ["t3"]


def test_one_who_avoids_the_free_agent_holds_up_nobody_behind():
    world = World(terms())
    for agent in ("north", "south"):
        world.run(("register", agent, 1, 1, False))
    world.ask("north-holder")
    world.ask("south-holder")
    world.run(("ask", "picky", "h", 0, True, True, "", ["north"]))
    world.ask("next")
    north = next(one.ticket for one in world.grants.values() if one.agent == "north")

    world.give_back(north)

    assert world.granted == ["next"]
    assert list(world.tickets) == ["picky"]


def test_a_release_hands_the_slot_over_in_the_same_step_and_tells_the_waiter():
    world = World(terms())
    world.run(("register", "north", 1, 1, False))
    first = world.ask("one", "h1")
    world.ask("two", "h2")

    decided = turn(world.terms, "p1", chance=0, back=[("one", "north", first["n"], "s", 5)])(world.state, world.now)

    assert decided.signals == (("pool/linter/p1", f"two north {first['n'] + 1}"),)
    assert decided.state["leases"]["two"]["n"] == first["n"] + 1
    assert decided.state["tickets"] == {}


def test_a_granted_ticket_that_nobody_claims_goes_to_the_next():
    world = World(terms(claim_s=5.0))
    world.run(("register", "north", 1, 1, False))
    world.ask("one")
    world.ask("two", "h2")
    world.ask("three", "h3")
    world.give_back("one")
    assert world.granted == ["two"]

    world.now += 4 * SECOND
    world.ask("three", "h3")
    assert world.granted == []
    world.now += 2 * SECOND
    world.turn()

    assert world.granted == ["three"]


def test_a_deferred_ticket_outlives_its_process_and_its_duplicates_do_no_harm():
    world = World(terms(ticket_s=600.0))
    world.run(("register", "north", 1, 1, False))
    world.ask("busy", "h1")
    world.ask("kept", "", -1)
    world.ask("kept", "", -1)
    for _ in range(50):
        world.now += 10 * SECOND
        world.run(("register", "north", 1, 1, False))
        world.run(("renew", 0))
    world.ask("other", "h2", 0)

    world.give_back("busy")
    assert world.granted == ["kept"]
    # Two triggers see the grant, neither takes it; the worker that claims first has it.
    assert [world.ask("kept", "")["k"] for _ in range(2)] == ["leased", "leased"]
    assert world.leases["kept"]["h"] == ""
    assert world.ask("kept", "worker")["k"] == "leased"
    assert world.ask("kept", "worker")["k"] == "leased"
    assert world.ask("kept", "rival")["k"] == "taken"
    assert len(world.leases) == 1


def test_all_suspended_is_refused_at_once_with_the_smallest_wait():
    world = World(terms())
    for agent, left_s in (("north", 30), ("south", 12)):
        world.run(("register", agent, 1, 1, False))
        world.run(("suspend", agent, left_s * SECOND))
    before = world.state

    assert world.ask("one") == {"k": "suspended", "r": 12 * SECOND}
    # A refusal writes nothing.
    assert world.state is before
    world.now += 12 * SECOND
    assert world.ask("one")["a"] == "south"


def test_a_type_without_a_living_agent_is_refused():
    world = World(terms())
    assert world.ask("one")["k"] == "nobody"
    assert world.state is None

    world.run(("register", "north", 1, 1, False))
    assert world.ask("one")["k"] == "leased"
    world.now += 31 * SECOND
    assert world.ask("two")["k"] == "nobody"


def test_below_the_healthy_share_survivors_serve_but_nobody_queues_for_them():
    world = World(terms(healthy_share=0.5))
    for agent in AGENTS:
        world.run(("register", agent, 1, 1, False))
    world.run(("suspend", "north", 30 * SECOND))
    world.run(("suspend", "south", 30 * SECOND))

    assert world.ask("one")["a"] == "east"
    assert world.ask("two") == {"k": "unhealthy", "r": 30 * SECOND, "h": 1, "t": 3}


def test_an_agent_that_went_in_good_order_is_not_missed_and_one_that_died_is():
    for leaving, expected in ((True, "queued"), (False, "unhealthy")):
        world = World(terms(healthy_share=0.6))
        for agent in ("north", "south"):
            world.run(("register", agent, 1, 1, False))
        if leaving:
            world.run(("register", "south", 1, 1, True))
        for _ in range(4):
            world.now += 10 * SECOND
            world.run(("register", "north", 1, 1, False))
        world.ask("one")

        assert world.ask("two")["k"] == expected


def test_draining_lets_running_leases_finish_and_gives_no_new_ones():
    world = World(terms())
    world.run(("register", "north", 2, 1, False))
    world.ask("one")
    world.run(("set", "north", "drain"))
    world.run(("register", "north", 2, 1, False))

    assert world.ask("two")["k"] == "nobody"
    assert world.give_back("one") == "ok"
    world.run(("set", "north", "resume"))
    assert world.ask("two")["k"] == "leased"


def test_giving_back_twice_and_with_an_old_token_are_told_apart():
    world = World(terms())
    world.run(("register", "north", 1, 1, False))
    old = world.ask("one")["n"]
    back = ("one", "north", old, "s", 5)

    assert world.turn(back=[back])["back"] == {"one": "ok"}
    world.grants.clear()
    assert world.turn(back=[back])["back"] == {"one": "gone"}
    world.ask("two")
    assert world.turn(back=[back])["back"] == {"one": "stale"}


def test_a_ticket_that_is_used_again_obeys_its_newest_token_alone():
    world = World(terms())
    world.run(("register", "north", 1, 1, False))
    old = world.ask("one")["n"]
    world.give_back("one")
    new = world.ask("one", "h2")["n"]

    assert world.turn(renew=[["one", old]])["lost"] == {"one": 1}
    assert world.turn(back=[("one", "north", old, "s", 5)])["back"] == {"one": "stale"}
    assert world.turn(renew=[["one", new]])["lost"] == {}
    assert world.turn(back=[("one", "north", new, "s", 5)])["back"] == {"one": "ok"}


def test_dropping_a_ticket_gives_up_what_it_was_granted_meanwhile():
    world = World(terms())
    world.run(("register", "north", 1, 1, False))
    world.ask("one")
    world.ask("two", "h2")
    world.give_back("one")

    world.run(("drop", "two", "somebody else"))
    assert list(world.leases) == ["two"]
    world.run(("drop", "two", "h2"))

    assert world.leases == {}


def test_a_full_queue_takes_nobody_else_and_keeps_those_it_has():
    world = World(terms(queue_limit=2))
    world.run(("register", "north", 1, 1, False))
    for number in range(3):
        world.ask(f"t{number}")

    assert world.ask("late")["k"] == "full"
    assert world.ask("t2") == {"k": "queued", "p": 1}


def test_who_waits_already_goes_on_waiting_when_agents_fall_ill():
    world = World(terms())
    for agent in AGENTS:
        world.run(("register", agent, 1, 1, False))
        world.ask(f"holds-{agent}")
    world.ask("waits")
    for agent in ("north", "south"):
        world.run(("suspend", agent, 30 * SECOND))

    assert world.ask("waits")["k"] == "queued"
    assert world.ask("late")["k"] == "unhealthy"


def test_tokens_grow_over_the_loss_of_a_state():
    world = World(terms())
    world.run(("register", "north", 1, 1, False))
    old = world.ask("one")["n"]
    world.state = None
    world.grants.clear()
    world.now += SECOND

    world.run(("register", "north", 1, 1, False))

    assert world.ask("one")["n"] > old


def test_a_state_that_grew_old_moves_its_beginning_and_keeps_its_durations():
    world = World(terms(lease_s=100.0))
    world.run(("register", "north", 1, 1, False))
    world.now += 5 * 10**13
    world.run(("register", "north", 1, 1, False))
    world.ask("one")
    world.ask("two", "h2")
    rank = world.tickets["two"]["r"] - world.state["at"]

    world.now += 5 * SECOND
    world.run(("register", "north", 1, 1, False))

    assert world.state["t0"] > EPOCH // SECOND + 5 * 10**7 - 1
    assert world.state["at"] < 100 * SECOND
    assert world.leases["one"]["e"] - world.state["at"] == 95 * SECOND
    assert world.tickets["two"]["r"] - world.state["at"] == rank - 5 * SECOND


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"strategy": "fastest"}, "use one of"),
        ({"lease_s": 5.0, "heartbeat_s": 10.0}, "lease_s=5.0 and heartbeat_s=10.0"),
        ({"agent_ttl_s": 10.0}, "agent_ttl_s=10.0"),
        ({"queue_limit": -1}, "queue_limit=-1"),
        ({"healthy_share": 1.5}, "healthy_share=1.5"),
        ({"ageing_s": 0}, "ageing_s=0"),
        ({"claim_s": 0.5}, "claim_s=0.5"),
        ({"max_wait_s": float("inf")}, "max_wait_s=inf"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(wrong: dict[str, object], says: str):
    with pytest.raises(PolicyError, match=says):
        PoolPolicy(**wrong)  # type: ignore[arg-type]
