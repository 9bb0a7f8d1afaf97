"""`coterie limits` and `coterie budgets`: what is left, as far as it is known, and what the dead hold."""

from __future__ import annotations

import re

import pytest

from coterie._rules.budget import Allowance, reserve, settle, window_end_s
from coterie._rules.quota import Quota, pause
from coterie._rules.quota import reserve as take
from coterie._rules.retry_budget import RetryAllowance
from coterie._rules.retry_budget import take as retry
from coterie.budget import Budget
from coterie.policies import run_budget
from tests.fleet.cli.places import SECOND, Place, lived

QUOTAS = {"requests": Quota(rate_per_s=0.01, burst=10), "tokens": Quota(rate_per_s=0.1, burst=1000)}
MONEY = Allowance(limit=12_500_000, window=20 * 86_400)
WHOLE = Allowance(limit=1000)


def took(tokens: int):
    return take(QUOTAS, {"requests": 1, "tokens": tokens}, max_wait_s=86_400)


def test_a_limit_is_shown_with_what_is_free(place: Place, seen):
    place.put(limit__linter=lived((place.now, took(500)), (place.now, took(400))))

    (limit,) = seen("limits", "--team", "fleetteam:team")["limits"]

    assert limit.keys() == {"name", "dimensions", "wait_s", "not_before", "paused_until", "taken"}
    assert (limit["name"], limit["paused_until"], limit["taken"]) == ("linter", None, 2)
    requests, tokens = limit["dimensions"]
    assert requests.keys() == {"name", "free", "burst", "rate_per_s", "refilled"}
    assert (requests["name"], requests["burst"], requests["rate_per_s"]) == ("requests", 10, 0.01)
    assert requests["free"] == 8
    assert (tokens["name"], tokens["burst"]) == ("tokens", 1000)
    assert 100 <= tokens["free"] < 110
    assert tokens["refilled"] is not None


def test_a_limit_of_an_unknown_quota_shows_when_it_is_refilled_and_no_more(place: Place, seen, shown):
    place.put(limit__linter=lived((place.now, took(500))))

    (limit,) = seen("limits")["limits"]

    assert [(one["free"], one["burst"], one["rate_per_s"]) for one in limit["dimensions"]] == [(None, None, None)] * 2
    assert limit["wait_s"] is None
    assert "linter requests ? " in shown("limits")
    assert "? is told by the policies" in shown("limits")


def test_the_wait_of_the_next_call_is_told(place: Place, seen, shown):
    place.put(limit__linter=lived(*((place.now, took(1000)) for _ in range(3))))

    (limit,) = seen("limits", "-t", "fleetteam:team")["limits"]

    # Two bursts of ten thousand seconds each are ahead, and half of one is its own.
    assert 24_000 < limit["wait_s"] <= 25_000
    assert limit["not_before"] is not None
    assert " in 6 h 5" in shown("limits", "-t", "fleetteam:team")
    assert "not before 5 h 3" in shown("limits")
    assert re.search(r"linter next call in 6 h 5\d min", shown("status", "-t", "fleetteam:team"))


def test_looking_takes_nothing(place: Place, seen):
    state = lived((place.now, took(500)))
    place.put(limit__linter=state)

    seen("limits", "-t", "fleetteam:team")

    assert place.get("limit/linter") == state


def test_a_pause_is_told(place: Place, seen, shown):
    place.put(limit__linter=lived((place.now, took(10)), (place.now, pause("linter", 7200))))

    assert seen("limits")["limits"][0]["paused_until"] is not None
    assert re.search(r"paused for another (1 h 59|2 h 0) min", shown("limits"))
    assert "1 near the end" in shown("status")
    assert "linter paused for another" in shown("status")


def spent(now: int, allowance: Allowance = MONEY, unit: int = SECOND):
    """Three units settled, four held by a living owner, one and two by dead ones."""
    return lived(
        (now - 5, reserve(allowance, "settled", 3 * unit, hold_s=600)),
        (now - 4, settle(allowance, "money", "settled", 3 * unit)),
        (now - 3, reserve(allowance, "living", 4 * unit, hold_s=600)),
        (now - 2, reserve(allowance, "dead-2", 2 * unit, hold_s=0.000_001)),
        (now - 2, reserve(allowance, "dead-1", unit, hold_s=0.000_001)),
    )


def test_a_budget_is_shown_with_what_is_left(place: Place, seen):
    place.put(budget__money=spent(place.now))

    alone = seen("budgets", "list")["budgets"][0]

    assert alone.keys() == {
        "name", "unit", "spent", "held", "limit", "left", "windowed", "window_ends", "dead_holds",
        "living_holds",
    }  # fmt: skip
    assert (alone["spent"], alone["held"]) == (6 * SECOND, 4 * SECOND)
    assert (alone["unit"], alone["limit"], alone["left"], alone["windowed"]) == (None, None, None, True)
    assert alone["window_ends"] is not None
    assert [(hold["id"], hold["amount"]) for hold in alone["living_holds"]] == [("living", 4 * SECOND)]
    assert [(hold["id"], hold["amount"]) for hold in alone["dead_holds"]] == [
        ("dead-1", SECOND),
        ("dead-2", 2 * SECOND),
    ]


def test_the_team_tells_the_limit_and_the_unit(place: Place, seen, shown):
    place.put(budget__run_42=spent(place.now, WHOLE, unit=100))

    budget = seen("budgets", "-t", "fleetteam:team")["budgets"][0]

    assert (budget["unit"], budget["limit"], budget["left"], budget["windowed"]) == ("tokens", 1000, 0, False)
    assert "run-42 600 400 1,000 0" in shown("budgets", "-t", "fleetteam:team")
    assert "run-42 600 400 ? ?" in shown("budgets")
    assert "run-42: dead-2 holds 200, its owner died" in shown("budgets")
    assert "run-42 0 of 1,000 left, 600 spent, 400 held, 2 holds of dead owners" in shown(
        "status", "-t", "fleetteam:team"
    )


def test_what_the_living_hold_is_shown_on_request(place: Place, shown):
    place.put(budget__money=spent(place.now))

    assert "living" not in shown("budgets")
    assert re.search(
        r"money: living holds 4\.00, its owner has another (9 min \d+|10 min 0) s to settle it",
        shown("budgets", "--holds", "-t", "fleetteam:team"),
    )


RUNS = [run_budget("run", f"nightly-{number}") for number in range(3)]


def test_the_budgets_of_single_runs_are_told_together_and_found_by_the_run(place: Place, seen, shown):
    states = [spent(place.now, WHOLE, unit=100), *[lived((place.now, reserve(WHOLE, "a", 1, hold_s=60)))] * 2]
    place.put(**{f"budget__{name}": state for name, state in zip(RUNS, states, strict=True)})

    together = shown("status", "-t", "fleetteam:team").splitlines()
    budgets = seen("budgets", "--run", "nightly-1", "-t", "fleetteam:team")["budgets"]

    assert together[-2:] == ["budgets 3", "run of 3 single runs, 1 used up, 2 holds of dead owners"]
    assert [(one["name"], one["left"]) for one in budgets] == [(RUNS[1], 999)]
    assert len(seen("budgets")["budgets"]) == 3


def test_retries_are_shown_with_the_limits(place: Place, seen, shown, folder):
    allowance = RetryAllowance(share=0.5, floor_per_s=0, cap=3)
    place.put(
        retry__writer=lived((place.now, retry(allowance, retries=2))), retry__other=lived((place.now, retry(allowance)))
    )
    (folder / "retryteam.py").write_text(
        "from coterie import Policies, RetryAllowance, Team\n"
        "team = Team('t')\n"
        "@team.agent('writer')\nasync def write(task_input): ...\n"
        "team.protect('writer', Policies(retries=RetryAllowance(share=0.5, floor_per_s=0, cap=3)))\n"
    )

    other, writer = seen("limits", "-t", "retryteam:team")["retries"]

    assert writer == {"name": "writer", "left": 1, "cap": 3, "share": 0.5, "floor_per_s": 0}
    assert other == {"name": "other", "left": None, "cap": None, "share": None, "floor_per_s": None}
    assert "writer 1 of 3 0.5 0" in shown("limits", "-t", "retryteam:team")
    assert "? is told by the policies" in shown("limits", "-t", "retryteam:team")
    assert "retries 2, 0 used up" in shown("status", "-t", "retryteam:team")


def test_money_is_shown_as_money(place: Place, shown):
    place.put(budget__money=spent(place.now))

    assert "money 6.00 4.00 12.50 2.50" in shown("budgets", "-t", "fleetteam:team")


def test_a_window_that_has_ended_is_empty_and_the_next_one_s_end_unknown(place: Place, seen, shown):
    short = Allowance(limit=100, window=10)
    begun = (place.now // SECOND - 60) // 10 * 10 * SECOND
    place.put(budget__short=lived((begun, reserve(short, "old", 10, hold_s=1))))

    budget = seen("budgets")["budgets"][0]

    assert (budget["spent"], budget["held"], budget["dead_holds"]) == (0, 0, [])
    assert (budget["windowed"], budget["window_ends"]) == (True, None)
    assert shown("budgets").splitlines()[1] == "short 0 0 ? ? ?"


def test_what_is_shown_is_what_the_budget_itself_says(place: Place, seen):
    place.put(budget__money=spent(place.now))

    async def status(store):
        return await Budget("money", MONEY.limit, window=MONEY.window, store=store).status()

    budget, own = seen("budgets", "-t", "fleetteam:team")["budgets"][0], place.with_store(status)

    assert [budget[name] for name in ("spent", "held", "limit", "left")] == [own.spent, own.held, own.limit, own.left]


def test_a_dead_owner_s_hold_is_settled(place: Place, seen, invoke):
    place.put(budget__run_42=spent(place.now, WHOLE, unit=100))

    document = seen("budgets", "settle", "run-42", "dead-2", "30", "-t", "fleetteam:team")
    told = invoke("budgets", "settle", "run-42", "dead-1", "0").stdout

    assert document.keys() == {"store", "budget", "id", "held", "settled", "over"}
    assert (document["budget"], document["id"]) == ("run-42", "dead-2")
    assert (document["held"], document["settled"], document["over"]) == (200, 30, 0)
    assert told == "run-42: dead-1 settled at 0; 100 were held\n"
    budget = seen("budgets")["budgets"][0]
    assert (budget["spent"], budget["held"], budget["dead_holds"]) == (330, 400, [])


def test_money_is_settled_with_its_point(place: Place, seen):
    place.put(budget__money=spent(place.now))

    document = seen("budgets", "settle", "money", "dead-2", "1.25")

    assert (document["settled"], document["over"]) == (1_250_000, None)


def test_an_excess_over_the_limit_is_told(place: Place, invoke):
    place.put(budget__run_42=spent(place.now, WHOLE, unit=100))

    done = invoke("budgets", "settle", "run-42", "dead-2", "900", "--team", "fleetteam:team")

    assert done.stdout == "run-42: dead-2 settled at 900; 200 were held; the limit is exceeded by 700\n"


def test_after_the_window_s_end_a_hold_is_settled_only_with_the_policy(place: Place, invoke, seen):
    begun = (window_end_s(20 * 86_400, place.now // SECOND) - 20 * 86_400) * SECOND
    place.put(budget__money=lived((begun - SECOND, reserve(MONEY, "late", 4 * SECOND, hold_s=30 * 86_400))))

    alone = invoke("budgets", "settle", "money", "late", "1.5")

    assert alone.exit_code == 2
    assert "the window of the budget 'money' has ended" in alone.stderr
    assert "--team" in alone.stderr
    assert seen("budgets", "settle", "money", "late", "1.5", "-t", "fleetteam:team")["held"] == 4 * SECOND
    assert seen("budgets", "-t", "fleetteam:team")["budgets"][0]["spent"] == 1_500_000


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["day", "dead-1", "5"], "there is no budget 'day'"),
        (["day", "dead-1", "5"], "there are: 'run-42'"),
        (["run-42", "ghost", "5"], "there is no reservation in the budget 'run-42' by the id 'ghost'"),
        (["run-42", "ghost", "5"], "there are: 'dead-1', 'dead-2', 'living'"),
        (["run-42", "dead-1", "five"], "'five' is no amount"),
        (["run-42", "dead-1", "1e3"], "'1e3' is no amount"),
        (["run-42", "dead-1", "9" * 5000], "is no amount"),
        (["run-42", "dead-1", "9" * 14], "cannot be booked"),
        (["a/b", "dead-1", "5"], "'a/b'"),
    ],
)
def test_what_cannot_be_settled_is_told_and_changes_nothing(place: Place, invoke, argv, said):
    state = spent(place.now, WHOLE, unit=100)
    place.put(budget__run_42=state)

    done = invoke("budgets", "settle", *argv)

    assert done.exit_code == 2
    assert said in done.stderr
    assert place.get("budget/run-42") == state


def test_settling_twice_is_told(place: Place, invoke):
    place.put(budget__run_42=spent(place.now, WHOLE, unit=100))

    first, second = (invoke("budgets", "settle", "run-42", "dead-1", "5") for _ in range(2))

    assert (first.exit_code, second.exit_code) == (0, 2)
    assert "what is settled cannot be settled again" in second.stderr
