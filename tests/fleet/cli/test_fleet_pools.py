"""`coterie pool`: agents, leases and the queue as they are stored; drained and resumed for the whole fleet."""

from __future__ import annotations

import asyncio

import pytest

from coterie._rules.pool import set_agent, suspend, turn
from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.timeline import micros
from coterie.pool import ResourcePool
from tests.fleet.cli.places import SECOND, Place, lived

POLICY = PoolPolicy(heartbeat_s=1000, lease_s=4000, claim_s=2000, ageing_s=30, healthy_share=0)
TERMS = POLICY.terms("linter")


def alive(*agents: tuple[str, int], terms=TERMS):
    return turn(terms, "owner", chance=0, agents=[[name, capacity, 1] for name, capacity in agents])


def asks(*tickets: str, priority: int = 0, holder: str = "call"):
    said = [[ticket, holder and f"{holder}-{ticket}", priority, 1, 1, "", []] for ticket in tickets]
    return turn(TERMS, "owner", chance=0, asks=said)


def a_pool_with_everything(now: int):
    """linter-1 is busy and linter-2 draining; linter-3 suspended; linter-4 lost; three wait."""
    return lived(
        (now - 4000 * SECOND, alive(("linter-4", 1))),
        (now - 12 * SECOND, alive(("linter-1", 2), ("linter-2", 1), ("linter-3", 1))),
        (now - 11 * SECOND, suspend(TERMS, "linter-3", now + 400 * SECOND, chance=0)),
        (now - 10 * SECOND, asks("a", "b", "c")),
        (now - 9 * SECOND, set_agent(TERMS, "linter-2", "drain", chance=0)),
        (now - 8 * SECOND, asks("early")),
        (now - 7 * SECOND, asks("kept", holder="")),
        (now - 6 * SECOND, asks("urgent", priority=2)),
        (now - 5 * SECOND, turn(TERMS, "owner", chance=0, renew=held(now))),
    )


def held(now: int) -> list:
    """Leases are confirmed by renewal; their tokens follow from the second of the state's birth."""
    first = (now - 4000 * SECOND) // SECOND * 10_000 + 1
    return [[ticket, first + number] for number, ticket in enumerate("abc")]


def test_a_pool_is_shown_with_its_agents_leases_and_queue(place: Place, seen):
    place.put(pool__linter=a_pool_with_everything(place.now))

    (pool,) = seen("pool", "list")["pools"]

    assert pool.keys() == {"agent_type", "in_use", "free_slots", "token", "ageing_s", "agents", "waiting"}
    assert (pool["agent_type"], pool["in_use"], pool["free_slots"], pool["ageing_s"]) == ("linter", 3, 0, None)
    agents = {agent["agent_id"]: agent for agent in pool["agents"]}
    assert {name: (agent["condition"], agent["in_use"], agent["capacity"]) for name, agent in agents.items()} == {
        "linter-1": ("busy", 2, 2),
        "linter-2": ("draining", 1, 1),
        "linter-3": ("suspended", 0, 1),
        "linter-4": ("lost", 0, 1),
    }
    tokens = sorted(token for agent in pool["agents"] for token in agent["tokens"])
    assert tokens == [token for _, token in held(place.now)]
    assert pool["token"] == tokens[-1]
    assert agents["linter-1"].keys() == {
        "agent_id", "capacity", "limit", "in_use", "condition", "weight", "latency_s", "alive_until", "heartbeat_age_s",
        "left", "suspended_until", "tokens",
    }  # fmt: skip
    assert [name for name, agent in agents.items() if agent["suspended_until"]] == ["linter-3"]


def test_the_queue_is_in_the_order_of_service(place: Place, seen):
    place.put(pool__linter=a_pool_with_everything(place.now))

    (pool,) = seen("pool")["pools"]

    assert [(one["ticket"], one["deferred"]) for one in pool["waiting"]] == [
        ("urgent", False),
        ("early", False),
        ("kept", True),
    ]
    # Two levels of priority, at 30 s each, before its arrival.
    standing = [one["standing_s"] for one in pool["waiting"]]
    assert standing[0] - standing[1] == pytest.approx(2 * 30 + 6 - 8, abs=0.001)
    assert pool["waiting"][0].keys() == {"ticket", "deferred", "standing_s", "lapses"}


def test_the_age_of_a_heartbeat_is_told_by_the_policy_alone(place: Place, seen, shown):
    place.put(pool__linter=lived((place.now - 12 * SECOND, alive(("linter-1", 1)))))

    def age(*more: str):
        (pool,) = seen("pool", *more)["pools"]
        return pool["agents"][0]["heartbeat_age_s"]

    assert age() is None
    assert "? ago, alive 49 min" in shown("pool")
    assert age("-t", "fleetteam:team") >= 12
    assert "? ago" not in shown("pool", "-t", "fleetteam:team")


def test_an_agent_whose_process_has_left_is_told(place: Place, seen, shown):
    leaving = turn(TERMS, "owner", chance=0, agents=[["linter-1", 1, 1]], leaving=True)
    place.put(pool__linter=lived((place.now, alive(("linter-1", 1))), (place.now, leaving)))

    (agent,) = seen("pool", "-t", "fleetteam:team")["pools"][0]["agents"]

    assert (agent["left"], agent["heartbeat_age_s"]) == (True, None)
    assert "left, alive 2" in shown("pool")
    assert "?" not in shown("pool")


def test_an_agent_that_is_drained_while_it_is_suspended_is_told_as_both(place: Place, shown):
    events = [
        (place.now - 2, alive(("linter-1", 1))),
        (place.now - 1, suspend(TERMS, "linter-1", place.now + 400 * SECOND, chance=0)),
        (place.now, set_agent(TERMS, "linter-1", "drain", chance=0)),
    ]
    place.put(pool__linter=lived(*events))

    assert any(line.startswith("linter-1 draining, suspended another 6 min ") for line in shown("pool").splitlines())


def test_people_see_pools_agents_and_who_waits(place: Place, shown):
    place.put(pool__linter=a_pool_with_everything(place.now))

    lines = shown("pool", "-t", "fleetteam:team").splitlines()

    assert lines[0] == "linter 4 agents, 3 slots in use, 0 free, 3 waiting, 1 draining, 1 suspended, 1 lost"
    assert any(line.startswith("linter-3 suspended another 6 min ") for line in lines)
    assert any("linter-4 lost 0/1" in line and "lost 16 min " in line for line in lines)
    assert any(line.startswith("1 urgent 1 min ") for line in lines)
    assert any(line.startswith("3 kept ") and line.endswith(" deferred") for line in lines)
    assert lines[-1] == "a level of priority is worth 30 s of waiting"


def test_a_long_queue_is_cut_for_people_and_whole_in_json(place: Place, shown, seen):
    place.put(pool__linter=lived((place.now, alive(("linter-1", 1))), (place.now, asks(*map(str, range(20))))))

    assert "and 9 more" in shown("pool")
    assert len(seen("pool")["pools"][0]["waiting"]) == 19


def test_a_drained_agent_is_not_picked_until_it_is_resumed(place: Place, seen, invoke):
    async def picked(store):
        async with ResourcePool("linter", store=store, policy=POLICY) as pool:
            pool.register_agent("linter-1", capacity=2)
            pool.register_agent("linter-2", capacity=2)
            await pool.heartbeat()
            await asyncio.to_thread(invoke, "pool", "drain", "linter-1")
            async with pool.lease() as one, pool.lease() as two:
                drained = {one.agent_id, two.agent_id}
            told = (await asyncio.to_thread(invoke, "pool", "resume", "linter", "linter-1")).stdout
            await asyncio.to_thread(invoke, "pool", "drain", "linter", "linter-2")
            async with pool.lease() as one:
                return drained, told, one.agent_id

    assert place.with_store(picked) == ({"linter-2"}, "linter-1 (linter): ready (was draining)\n", "linter-1")


def test_draining_says_what_was_there_and_what_still_runs(place: Place, seen, invoke):
    place.put(pool__linter=a_pool_with_everything(place.now))

    told = invoke("pool", "drain", "linter-1").stdout
    document = seen("pool", "resume", "linter-1")

    assert told == "linter-1 (linter): draining (was busy); 2 leases still to end\n"
    assert document.keys() == {"store", "agent_type", "agent_id", "before", "after"}
    assert (document["before"]["condition"], document["after"]["condition"]) == ("draining", "busy")


def test_resuming_hands_the_free_slot_to_who_waits(place: Place, seen):
    place.put(
        pool__linter=lived(
            (place.now, alive(("linter-1", 1))),
            (place.now, set_agent(TERMS, "linter-1", "drain", chance=0)),
            (place.now, alive(("linter-2", 1))),
            (place.now, asks("a", "b")),
        )
    )

    document = seen("pool", "resume", "linter-1", "--team", "fleetteam:team")

    assert (document["before"]["in_use"], document["after"]["in_use"]) == (0, 1)
    assert seen("pool")["pools"][0]["waiting"] == []


def test_a_change_without_the_policy_forgets_no_agent(place: Place, seen, invoke):
    slow = PoolPolicy(heartbeat_s=3000, lease_s=4000)
    lost_at = place.now - micros(slow.alive_s) - 5000 * SECOND
    place.put(
        pool__slow=lived(
            (lost_at, alive(("gone", 1), terms=slow.terms("slow"))),
            (place.now, alive(("here", 1), terms=slow.terms("slow"))),
        )
    )

    invoke("pool", "drain", "here")

    assert [agent["agent_id"] for agent in seen("pool")["pools"][0]["agents"]] == ["gone", "here"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["linter-9"], "there is no agent 'linter-9'; known agents: 'linter-1', 'twin'"),
        (["linter", "linter-9"], "there is no agent 'linter-9'; known agents: 'linter-1', 'twin'"),
        (["tester", "linter-1"], "no agent serves the type 'tester'; known types: 'linter', 'writer'"),
        (["twin"], "there are agents 'twin' of the types 'linter', 'writer'; name the type before the agent"),
        (["linter", "linter-1", "twin"], "'linter linter-1 twin' is more than an agent and its type"),
        (["a/b"], "'a/b'"),
    ],
)
@pytest.mark.parametrize("change", ["drain", "resume"])
def test_an_agent_that_is_not_clear_changes_nothing(place: Place, invoke, argv, said, change):
    state = lived((place.now, alive(("linter-1", 1), ("twin", 1))))
    place.put(pool__linter=state, pool__writer=lived((place.now, alive(("twin", 1), terms=POLICY.terms("writer")))))

    done = invoke("pool", change, *argv)

    assert done.exit_code == 2
    assert said in done.stderr
    assert place.get("pool/linter") == state


@pytest.mark.parametrize("change", ["drain", "resume"])
def test_the_help_says_that_the_type_may_be_left_out(invoke, change):
    assert f"coterie pool {change} [OPTIONS] [TYPE] AGENT " in invoke("pool", change, "--help").stdout
