"""The simulation behind the page about scaling: what holds whatever was measured, and what the page shows of it."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))

import scaling  # noqa: E402
from scaling_advice import Question, advise, most_in_one_pool, store_carries  # noqa: E402
from scaling_chart import Line, chart  # noqa: E402
from scaling_loop import Loop  # noqa: E402
from scaling_model import Costs, Fleet, simulate  # noqa: E402

COSTS = Costs("redis", 1000.0, 65.0, 1.95, 5.5, 1.9, 55.0, 211.0, 30.0)
FREE = Costs("none", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
FILE = Costs("sqlite", 1700.0, 180.0, 4.0, 7.0, 3.5, 125.0, 900.0, 0.0)
BOTH = {"redis": COSTS, "sqlite": FILE}


def test_what_is_due_happens_in_the_order_of_time_and_then_of_asking():
    loop, seen = Loop(), []

    for name, delay_s in (("late", 2.0), ("first", 1.0), ("second", 1.0)):
        loop.after(delay_s, lambda name=name: seen.append((name, loop.now)))
    loop.run(1.5)

    assert seen == [("first", 1.0), ("second", 1.0)]
    assert loop.now == 1.5


def test_with_slots_for_all_and_nothing_that_costs_everybody_is_at_work_all_the_time():
    outcome = simulate(Fleet(callers=200, processes=4, seconds=2.0, capacity=200), FREE)

    assert outcome.per_s == pytest.approx(100, rel=0.05)
    assert outcome.in_flight == pytest.approx(200, rel=0.05)
    assert outcome.wait(1.0) == 0


def test_slots_bound_the_rate_and_the_others_wait_their_turn():
    outcome = simulate(Fleet(callers=60, processes=2, seconds=1.0, capacity=20), FREE)

    assert outcome.per_s == pytest.approx(20, rel=0.05)
    assert outcome.wait(0.5) == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("rate_per_s", [5.0, 40.0])
def test_no_more_go_than_the_limit_lets(rate_per_s: float):
    fleet = Fleet(callers=40, processes=2, seconds=0.5, capacity=40, rate_per_s=rate_per_s)

    outcome = simulate(fleet, COSTS, measured_s=30.0)

    assert 0.9 * rate_per_s <= outcome.per_s <= 1.01 * rate_per_s + 1


def test_a_store_that_does_nothing_else_carries_no_more_than_its_commands_cost():
    costs = replace(FREE, turn=5000.0)

    outcome = simulate(Fleet(callers=500, processes=5, seconds=1.0, capacity=500), costs)

    assert outcome.store == pytest.approx(1.0, abs=0.02)
    assert outcome.per_s == pytest.approx(100, rel=0.1)


def test_an_agent_that_is_down_is_called_until_its_breaker_opens_and_then_by_trials_alone():
    fleet = Fleet(callers=40, processes=2, seconds=0.05, agents=4, capacity=5, down=1)

    outcome = simulate(fleet, COSTS, measured_s=130.0)

    assert 1 <= outcome.failed <= 2 * 3
    assert outcome.per_s == pytest.approx(15 / 0.05, rel=0.05)


def test_processes_that_share_a_core_with_others_get_their_share():
    fleet = Fleet(callers=400, processes=4, seconds=0.1, capacity=400)

    alone = simulate(replace(fleet, cores=1), COSTS)
    beside = simulate(replace(fleet, cores=1, foreign=8.0), COSTS)

    assert beside.per_s < alone.per_s < simulate(fleet, COSTS).per_s


def test_one_seed_gives_one_outcome():
    fleet = Fleet(callers=30, processes=3, seconds=0.3, capacity=20, rate_per_s=50.0)

    assert simulate(fleet, COSTS, seed=7) == simulate(fleet, COSTS, seed=7)
    assert simulate(fleet, COSTS, seed=7) != simulate(fleet, COSTS, seed=8)


def test_of_random_fleets_none_does_more_than_any_of_its_bounds():
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for _ in range(12):
        fleet = Fleet(
            callers=chance.randint(1, 300),
            processes=chance.randint(1, 6),
            seconds=chance.uniform(0.02, 3.0),
            agents=chance.randint(1, 20),
            capacity=chance.randint(1, 20),
            rate_per_s=chance.choice([0.0, chance.uniform(2, 300)]),
        )
        outcome = simulate(fleet, COSTS, measured_s=10.0)

        where = f"seed {seed}: {fleet}"
        at_once = min(fleet.callers, fleet.agents * fleet.capacity)
        # What began before the measured time may end within it.
        assert outcome.per_s * 10 <= at_once * (10 / fleet.seconds * 1.3 + 2), where
        assert outcome.in_flight <= at_once * 1.01 + fleet.seconds * outcome.per_s * 0.2, where
        assert outcome.store <= 1.01, where
        if fleet.rate_per_s:
            assert outcome.per_s * 10 <= fleet.rate_per_s * (10 + 1.5 * fleet.seconds + 2) + 1, where


def test_a_store_carries_what_arithmetic_says_and_beyond_it_less():
    most = store_carries(Fleet(callers=1, processes=1, seconds=1.0), COSTS)

    below, beyond = (
        simulate(Fleet(callers=callers, processes=10, seconds=1.0, capacity=callers), COSTS)
        for callers in (round(0.9 * most), round(1.5 * most))
    )

    assert below.per_s == pytest.approx(0.9 * most, rel=0.04)
    assert below.store < 0.97
    assert beyond.store > 0.99
    # Who waits to give a slot back still has it, and every command reads it.
    assert beyond.per_s < 0.95 * most


@pytest.mark.parametrize("alone", [True, False])
def test_the_most_that_one_type_should_hold_keeps_the_store_as_busy_as_was_said(alone: bool):
    most = round(most_in_one_pool(30.0, COSTS, alone=alone))
    shape = {"agents": most, "capacity": 1} if alone else {"agents": 1, "capacity": most}

    outcome = simulate(Fleet(callers=most, processes=10, seconds=30.0, **shape), COSTS)

    assert outcome.store == pytest.approx(0.7, abs=0.06)


def test_an_answer_gives_what_is_asked_for_and_names_what_is_full_first():
    advice = advise(Question(calls=600, seconds=20), BOTH)

    assert advice.bound == "what you ask for"
    assert advice.outcome.per_s == pytest.approx(10, rel=0.05)
    assert 200 <= advice.fleet.callers <= 230
    assert advice.costs.store == "redis"
    assert advice.enough


@pytest.mark.parametrize(
    ("question", "allowed", "bound"),
    [
        (Question(600, 20, capacity=100), 5.0, "the agents' capacity"),
        (Question(600, 20, limit=120), 2.0, "the rate limit"),
    ],
)
def test_an_answer_says_what_allows_no_more(question: Question, allowed: float, bound: str):
    advice = advise(question, BOTH)

    assert (advice.allowed, advice.bound) == (allowed, bound)


def test_on_one_machine_a_file_does_until_it_is_half_full():
    assert advise(Question(600, 5, machines=1), BOTH).costs.store == "sqlite"
    slow = {**BOTH, "sqlite": replace(FILE, turn=2000.0)}
    assert advise(Question(9000, 1, machines=1), slow).costs.store == "redis"


def test_many_in_flight_are_split_among_agent_types():
    advice = advise(Question(1200, 20), {"redis": replace(COSTS, per_lease=50.0)})

    assert advice.fleet.pools > 1
    assert advice.enough


def test_what_no_split_helps_is_said_to_be_too_much():
    question = Question(3000, 2)

    advice = advise(question, {"redis": replace(COSTS, turn=20_000.0)})

    assert not advice.enough
    assert "TOO MUCH" in scaling.told(question, advice)


def test_a_chart_is_an_svg_with_a_label_for_each_line_that_covers_no_other():
    lines = [Line("a < b", [(10, 1), (1000, 100)]), Line("c", [(10, 1), (1000, 99)])]

    root = ET.fromstring(chart(lines, across="agents", up="calls", title="A & B"))

    texts = {each.text: float(each.get("y", "0")) for each in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"a < b", "c", "agents", "calls", "1,000"} <= texts.keys()
    assert abs(texts["a < b"] - texts["c"]) >= 17


def test_the_page_shows_what_the_program_answers(capsys: pytest.CaptureFixture[str]):
    page = (REPOSITORY / "docs/explanation/scaling.md").read_text("utf-8").splitlines()
    asked = [number for number, line in enumerate(page) if line.startswith("    $ python benchmarks/scaling.py ")]

    for number in asked:
        end = next(at for at in range(number, len(page)) if not page[at].startswith("    "))
        scaling.main(page[number].split()[3:])

        assert [line[4:] for line in page[number + 1 : end]] == capsys.readouterr().out.rstrip().splitlines()
    assert len(asked) >= 2


def test_the_saved_figures_are_of_both_stores():
    costs = scaling.read_costs(scaling.SAVED)

    assert set(costs) == {"redis", "sqlite"}
    assert all(one.turn > 0 and one.per_lease > 0 and one.call > 0 for one in costs.values())


@pytest.mark.full
@pytest.mark.parametrize("store", ["redis", "sqlite"])
def test_a_real_fleet_is_run_and_its_calls_are_counted(store: str):
    from scaling_real import Point, run_point

    real = run_point(Point("two", Fleet(callers=4, processes=2, seconds=0.05, capacity=2), store, measured_s=2.0))

    assert real.per_s > 0
    assert real.call_us > 0
    assert real.wait_p50_s > 0
