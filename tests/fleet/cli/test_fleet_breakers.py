"""`coterie breakers`: what is stored is shown as it is, and what a person demands holds for the whole fleet."""

from __future__ import annotations

import asyncio
import re

import pytest

from coterie import CircuitBreaker
from coterie._rules.breaker import admit, force, record, settle
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.pool import suspend, turn
from coterie._rules.pool_policy import PoolPolicy
from coterie.errors import BreakerOpen
from tests.fleet.cli.places import SECOND, Place, lived

POLICY = BreakerPolicy(failure_threshold=3, timeout_s=3600, max_timeout_s=7200, jitter=0)
TIMED = BreakerPolicy(mode="time", window_s=60)


def failed(name: str, count: int, policy: BreakerPolicy = POLICY):
    return record(name, policy, generation=0, runs=[("f", count)], chance=0)


def by_name(document) -> dict:
    return {row["name"]: row for row in document["breakers"]}


def test_a_breaker_is_shown_with_all_that_is_known_of_it(place: Place, seen):
    opened = place.now - 20 * SECOND
    place.put(breaker__bad=lived((opened, failed("bad", 3))))

    document = seen("breakers", "list")

    second = opened // SECOND
    assert document["store"].keys() == {"url", "scope", "namespace", "format", "clock"}
    assert document["store"]["namespace"] == place.namespace
    (row,) = document["breakers"]
    assert row.keys() == {
        "name", "state", "generation", "since", "until", "failures", "calls", "opened_in_a_row", "trial",
        "stored", "error",
    }  # fmt: skip
    assert (row["state"], row["generation"], row["opened_in_a_row"]) == ("open", second, 1)
    assert row["since"][:19] != row["until"][:19]
    assert row["stored"] is True
    assert document["problems"] == []


def test_a_breaker_that_has_just_moved_has_been_so_for_no_time(place: Place, seen, shown):
    # A generation is the second of its transition, or more where several came in one second.
    moved = (place.now // SECOND + 50) * SECOND
    place.put(breaker__bad=lived((moved, failed("bad", 3))))

    (row,) = seen("breakers")["breakers"]

    assert row["since"] is not None
    assert shown("breakers").splitlines()[1].startswith("bad open 0.0 s ")


def test_people_see_how_long_it_is_open_and_for_how_long_still(place: Place, shown):
    place.put(
        breaker__bad=lived((place.now - 1200 * SECOND, failed("bad", 3))),
        breaker__due=lived((place.now - 4000 * SECOND, failed("due", 3))),
        breaker__good=lived((place.now, failed("good", 2))),
    )

    lines = shown("breakers").splitlines()

    assert lines[0] == "breaker state for until failures opened generation"
    assert lines[1].startswith("bad open 20 min ")
    assert re.search(r"another (39 min \d+|40 min 0) s", lines[1])
    assert "a trial is due" in lines[2]
    assert lines[3] == "good closed 2 in a row 0 0"


def test_a_trial_is_shown_with_its_calls(place: Place, seen, shown):
    begun = place.now - 5 * SECOND
    permits = [(begun + n, admit("half", POLICY, permit_id=f"{n:016x}", chance=0)) for n in range(2)]
    state = lived((begun - 3700 * SECOND, failed("half", 3)), *permits)
    generation = begun // SECOND
    done = settle("half", POLICY, permit_id=f"{0:016x}", generation=generation, code="s", chance=0)
    place.put(breaker__half=done(state, begun + 10).state)

    (row,) = seen("breakers")["breakers"]

    assert row["state"] == "half_open"
    assert row["trial"] == {"running": 1, "ended": 1}
    assert re.search(r"1 trying, 1 tried, 1 min \d+ s left", shown("breakers"))


def test_a_trial_without_a_verdict_is_open_again_from_its_deadline_on(place: Place, seen):
    begun = place.now - 150 * SECOND
    state = lived(
        (begun - 3700 * SECOND, failed("half", 3)), (begun, admit("half", POLICY, permit_id="a" * 16, chance=0))
    )
    place.put(breaker__half=state)

    (row,) = seen("breakers")["breakers"]

    assert (row["state"], row["generation"], row["opened_in_a_row"]) == ("open", (begun + 120 * SECOND) // SECOND, 2)


def test_calls_are_counted_where_their_form_says_how_many_count(place: Place, seen):
    ring = BreakerPolicy(mode="count", window_calls=200, min_calls=100)
    place.put(
        breaker__in_a_row=lived((place.now, failed("in-a-row", 2))),
        breaker__ring=lived((place.now, record("ring", ring, generation=0, runs=[("s", 40), ("f", 9)], chance=0))),
        breaker__linter_1=lived(
            (place.now - 100 * SECOND, failed("linter-1", 1, TIMED)), (place.now, failed("linter-1", 2, TIMED))
        ),
    )

    alone, with_team = (by_name(seen("breakers", *more)) for more in ([], ["--team", "fleetteam:team"]))

    counts = {name: (row["failures"], row["calls"]) for name, row in alone.items()}
    assert counts == {"in-a-row": (2, 2), "ring": (9, 49), "linter-1": (None, None)}
    assert (with_team["linter-1"]["failures"], with_team["linter-1"]["calls"]) == (2, 2)


def test_what_the_policy_alone_tells_is_a_question_mark(place: Place, shown):
    place.put(breaker__linter_1=lived((place.now, failed("linter-1", 2, TIMED))))

    assert "linter-1 closed ? 0 0" in shown("breakers")
    assert "? is told by the policies" in shown("breakers")
    assert "? is told by the policies" not in shown("breakers", "-t", "fleetteam:team")


def test_more_breakers_than_are_read_at_once_are_all_shown(place: Place, seen):
    place.put(**{f"breaker__b{n:03}": lived((place.now, failed(f"b{n:03}", 1))) for n in range(300)})

    assert [row["name"] for row in seen("breakers")["breakers"]] == [f"b{n:03}" for n in range(300)]


@pytest.mark.parametrize(
    ("demand", "before", "after"),
    [
        ("open", "closed", "forced_open"),
        ("open", "open", "forced_open"),
        ("close", "open", "closed"),
        ("close", "forced_open", "closed"),
        ("reset", "open", "closed"),
        ("reset", "closed", "closed"),
        ("disable", "closed", "disabled"),
        ("metrics-only", "closed", "metrics_only"),
        ("auto", "forced_open", "closed"),
        ("auto", "open", "open"),
    ],
)
def test_a_demand_says_what_was_there_before(place: Place, seen, demand, before, after):
    failures = 3 if before == "open" else 2
    events = [(place.now - 2 * SECOND, failed("gate", failures))]
    if before == "forced_open":
        events.append((place.now - SECOND, force("gate", POLICY, to="forced_open", chance=0)))
    place.put(breaker__gate=lived(*events))

    document = seen("breakers", demand, "gate")

    assert document.keys() == {"store", "breaker", "before", "after", "picked_again"}
    assert (document["before"]["state"], document["after"]["state"]) == (before, after)
    (stored,) = seen("breakers")["breakers"]
    assert stored == document["after"]


def test_resetting_forgets_what_was_counted_and_closing_does_not(place: Place, seen):
    place.put(breaker__gate=lived((place.now, failed("gate", 2))))

    assert seen("breakers", "close", "gate")["after"]["failures"] == 2
    assert seen("breakers", "reset", "gate")["after"]["failures"] == 0


def test_a_demand_guesses_no_count_either(place: Place, seen):
    place.put(breaker__linter_1=lived((place.now, failed("linter-1", 2, TIMED))))

    alone = seen("breakers", "close", "linter-1")
    with_team = seen("breakers", "close", "linter-1", "--team", "fleetteam:team")

    assert (alone["before"]["failures"], alone["after"]["failures"]) == (None, None)
    assert (with_team["before"]["failures"], with_team["after"]["failures"]) == (2, 2)


def test_a_forced_breaker_refuses_the_calls_of_every_process(place: Place, invoke):
    place.put(breaker__gate=lived((place.now, failed("gate", 1))))

    async def call(store):
        breaker = CircuitBreaker("gate", POLICY, store=store)
        try:
            return await breaker.call(lambda: "passed")
        except BreakerOpen as error:
            return error.state
        finally:
            await breaker.aclose()

    told = invoke("breakers", "open", "gate").stdout
    refused = place.with_store(call)
    invoke("breakers", "auto", "gate")

    assert told == "gate: forced_open (was closed)\n"
    assert (refused, place.with_store(call)) == ("forced_open", "passed")


def test_an_unknown_breaker_is_named_with_those_that_there_are(place: Place, invoke):
    place.put(breaker__one=lived((place.now, failed("one", 1))), breaker__two=lived((place.now, failed("two", 1))))

    for demand in ("open", "close", "reset", "disable", "metrics-only", "auto"):
        done = invoke("breakers", demand, "three")

        assert done.exit_code == 2
        assert "there is no circuit breaker 'three'" in done.stderr
        assert "there are: 'one', 'two'" in done.stderr
        assert "--new" in done.stderr
    assert place.get("breaker/three") is None
    assert place.get("fleet/format") is None


@pytest.mark.parametrize(("demand", "state"), [("open", "forced_open"), ("disable", "disabled")])
def test_a_breaker_that_is_not_stored_can_be_forced(place: Place, seen, demand, state):
    document = seen("breakers", demand, "fresh", "--new")

    assert document["before"] is None
    assert document["after"]["state"] == state
    assert [row["name"] for row in seen("breakers")["breakers"]] == ["fresh"]


def test_a_name_given_by_mistake_is_forgotten(place: Place, seen, invoke):
    told = invoke("breakers", "open", "calller", "--new").stdout.splitlines()
    assert told[0] == "calller: forced_open (was not stored yet)"
    assert "'coterie breakers forget calller'" in told[1]

    forgotten = seen("breakers", "forget", "calller")
    again = invoke("breakers", "forget", "calller")

    assert (forgotten["before"]["state"], forgotten["after"]) == ("forced_open", None)
    assert seen("breakers")["breakers"] == []
    assert again.exit_code == 2
    assert "there is no circuit breaker 'calller'" in again.stderr
    assert "--new" not in again.stderr


async def refuses(breaker: CircuitBreaker) -> bool:
    try:
        await breaker.call(lambda: None)
    except BreakerOpen:
        return True
    return False


def test_who_uses_a_breaker_that_is_forgotten_begins_anew(place: Place, seen):
    place.put(breaker__gate=lived((place.now, force("gate", POLICY, to="forced_open", chance=0))))

    async def use(store) -> list[bool]:
        breaker = CircuitBreaker("gate", POLICY, store=store, residence="resident")
        before = await refuses(breaker)
        await asyncio.to_thread(seen, "breakers", "forget", "gate")
        async with asyncio.timeout(60):
            while await refuses(breaker):  # noqa: ASYNC110  # told by the store
                await asyncio.sleep(0.01)
        await breaker.aclose()
        return [before, await refuses(CircuitBreaker("gate", POLICY, store=store))]

    assert place.with_store(use) == [True, False]


# Those of a team


def test_the_breakers_of_a_team_are_shown_before_anything_has_failed(place: Place, seen, shown):
    place.put(breaker__linter_1=lived((place.now, failed("linter-1", 2, TIMED))))

    rows = by_name(seen("breakers", "-t", "fleetteam:team"))

    assert {name: (row["state"], row["stored"]) for name, row in rows.items()} == {
        "linter-1": ("closed", True),
        "linter-2": ("closed", False),
        "writer": ("closed", False),
    }
    assert shown("breakers", "-t", "fleetteam:team").splitlines()[2].startswith("linter-2 closed")


def test_a_breaker_of_the_team_is_forced_without_further_ado(place: Place, invoke):
    done = invoke("breakers", "open", "linter-2", "--team", "fleetteam:team")

    assert done.stdout == "linter-2: forced_open (was not stored yet)\n"
    assert place.get("breaker/linter-2") is not None


@pytest.mark.parametrize("more", [[], ["--new"]])
def test_a_breaker_that_the_team_does_not_have_is_refused(place: Place, invoke, more):
    place.put(breaker__linter_1=lived((place.now, failed("linter-1", 2, TIMED))))

    done = invoke("breakers", "open", "linter-3", "--team", "fleetteam:team", *more)

    assert done.exit_code == 2
    assert "there are: 'linter-1', 'linter-2', 'writer'" in done.stderr
    assert "the team 'fleet'" in done.stderr
    assert place.get("breaker/linter-3") is None


def test_a_stored_breaker_that_the_team_does_not_have_is_there_all_the_same(place: Place, seen):
    place.put(breaker__other=lived((place.now, failed("other", 1))))

    assert seen("breakers", "open", "other", "--team", "fleetteam:team")["after"]["state"] == "forced_open"


def test_a_breaker_with_an_unusable_name_is_refused(place: Place, invoke):
    done = invoke("breakers", "open", "a/b", "--new")

    assert done.exit_code == 2
    assert "'a/b'" in done.stderr


def test_closing_a_breaker_lets_the_pool_pick_its_agent_again(place: Place, seen):
    terms = PoolPolicy().terms("linter")
    alive = turn(terms, "owner", chance=0, agents=[["linter-1", 1, 1], ["linter-2", 1, 1]])
    until = place.now + 60 * SECOND
    suspended = [(place.now, suspend(terms, f"linter-{n}", until, chance=0)) for n in (1, 2)]
    place.put(
        pool__linter=lived((place.now, alive), *suspended),
        breaker__linter_1=lived((place.now, failed("linter-1", 3))),
    )

    document = seen("breakers", "close", "linter-1")

    assert document["picked_again"] == [{"agent_type": "linter", "agent_id": "linter-1"}]
    (pool,) = seen("pool")["pools"]
    assert {agent["agent_id"]: agent["condition"] for agent in pool["agents"]} == {
        "linter-1": "ready",
        "linter-2": "suspended",
    }


@pytest.mark.parametrize("gone_s", [16, 31, 3000])
def test_closing_a_breaker_ends_the_suspension_of_agents_that_are_gone_for_now(place: Place, seen, gone_s):
    terms = PoolPolicy().terms("linter")
    alive = turn(terms, "owner", chance=0, agents=[["linter-1", 1, 1]])
    left = turn(terms, "owner", chance=0, agents=[["linter-1", 1, 1]], leaving=True)
    then = place.now - gone_s * SECOND
    suspended = suspend(terms, "linter-1", place.now + 3600 * SECOND, chance=0)
    place.put(
        pool__linter=lived((then, alive), (then, suspended), (then, left)),
        breaker__linter_1=lived((place.now, failed("linter-1", 3))),
    )
    assert seen("pool")["pools"][0]["agents"] == []

    document = seen("breakers", "reset", "linter-1")

    assert document["picked_again"] == [{"agent_type": "linter", "agent_id": "linter-1"}]
    place.with_store(
        lambda store: store.update("pool/linter", turn(terms, "later", chance=0, agents=[["linter-1", 1, 1]]))
    )
    assert [agent["condition"] for agent in seen("pool")["pools"][0]["agents"]] == ["ready"]


# What a breaker opened after.


def noted(place: Place, age_s: int, error: object = "ConnectionError: 503") -> dict:
    return {"error": error, "at": place.now // SECOND - age_s}


def test_what_a_breaker_opened_after_is_told_while_it_is_not_closed(place: Place, seen, shown):
    opened = place.now - 20 * SECOND
    half = lived(
        (opened - 3700 * SECOND, failed("half", 3)), (opened, admit("half", POLICY, permit_id="a" * 16, chance=0))
    )
    notes = {f"breaker-error__{name}": noted(place, 20) for name in ("bad", "good", "half")}
    place.put(
        breaker__bad=lived((opened, failed("bad", 3))),
        breaker__good=lived((opened, failed("good", 1))),
        breaker__half=half,
        **notes,
    )

    found = by_name(seen("breakers"))

    assert {name: row["error"] for name, row in found.items()} == {
        "bad": "ConnectionError: 503",
        "good": None,
        "half": "ConnectionError: 503",
    }
    assert "bad: opened after ConnectionError: 503" in shown("breakers").splitlines()
    assert re.search(r"bad open for .*, after ConnectionError: 503", shown("status"))


def test_what_an_earlier_opening_came_after_is_not_told_of_a_later_one(place: Place, seen):
    opened = place.now - 20 * SECOND
    again = lived((opened - 7200 * SECOND, failed("again", 3)), (opened, failed("again", 3)))
    note = {"breaker-error__bad": noted(place, 3600), "breaker-error__forced": noted(place, 0)}
    place.put(
        breaker__bad=lived((opened, failed("bad", 3))),
        breaker__forced=lived((opened, force("forced", POLICY, to="forced_open", chance=0))),
        breaker__again=again,
        **note,
    )

    assert {row["error"] for row in seen("breakers")["breakers"]} == {None}


def test_of_one_that_opened_again_without_closing_the_first_error_still_holds(place: Place, seen):
    begun = place.now - 150 * SECOND
    state = lived(
        (begun - 3700 * SECOND, failed("half", 3)), (begun, admit("half", POLICY, permit_id="a" * 16, chance=0))
    )
    place.put(breaker__half=state, **{"breaker-error__half": noted(place, 3850)})

    (row,) = seen("breakers")["breakers"]

    assert (row["state"], row["opened_in_a_row"], row["error"]) == ("open", 2, "ConnectionError: 503")


@pytest.mark.parametrize("error", [7, None])
def test_a_note_that_is_none_is_no_trouble(place: Place, seen, error):
    place.put(
        breaker__bad=lived((place.now, failed("bad", 3))),
        **{"breaker-error__bad": noted(place, 0, error)},
    )

    document = seen("breakers")

    assert ([row["error"] for row in document["breakers"]], document["problems"]) == ([None], [])


def test_to_forget_a_breaker_forgets_what_it_opened_after(place: Place, seen):
    place.put(breaker__bad=lived((place.now, failed("bad", 3))), **{"breaker-error__bad": noted(place, 0)})

    seen("breakers", "forget", "bad")

    assert place.get("breaker-error/bad") is None
