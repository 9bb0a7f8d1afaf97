"""Each strategy alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie._rules.balance import CHANCES, STRATEGIES, AgentView, Strategy, pick


def view(name: str, *, capacity: int = 4, in_use: int = 0, weight: int = 1, latency_us: int = 0) -> AgentView:
    return AgentView(name, ord(name[0]), capacity, in_use, weight, latency_us)


def picked(strategy: Strategy, free: list[AgentView], *, chance: int = 0, key: str = "") -> str:
    return pick(strategy, free, chance=chance, key=key).agent_id


@given(
    st.sampled_from(STRATEGIES),
    st.lists(
        st.builds(
            AgentView, st.uuids().map(str), st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.integers(1, 9),
            st.integers(0, 10**9),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, CHANCES - 1),
    st.text(max_size=5),
)  # fmt: skip
def test_every_strategy_picks_one_of_those_that_are_free(
    strategy: Strategy, free: list[AgentView], chance: int, key: str
):
    assert pick(strategy, free, chance=chance, key=key) in free


def test_round_robin_takes_the_next():
    assert picked("round_robin", [view("b"), view("a")]) == "b"


def test_least_loaded_looks_at_the_share_of_slots_and_goes_round_among_equals():
    assert picked("least_loaded", [view("a", in_use=2), view("b", capacity=10, in_use=3)]) == "b"
    assert picked("least_loaded", [view("c"), view("a"), view("b")]) == "c"


def test_least_response_time_weighs_latency_by_what_is_already_in_use():
    fast, slow = view("a", latency_us=100, in_use=3), view("b", latency_us=300)

    assert picked("least_response_time", [slow, fast]) == "b"
    assert picked("least_response_time", [slow, fast._replace(in_use=1)]) == "a"


def test_an_agent_without_answers_yet_is_taken_for_the_fastest_and_not_flooded():
    new = view("n", in_use=2)

    assert picked("least_response_time", [new, view("a", latency_us=500)]) == "a"
    assert picked("least_response_time", [new._replace(in_use=0), view("a", latency_us=500, in_use=1)]) == "n"


def test_random_and_weighted_follow_their_chances():
    free = [view("a", weight=1), view("b", weight=3)]
    draws = range(0, CHANCES, 1000)

    assert Counter(picked("random", free, chance=chance) for chance in draws) == {"a": 500, "b": 500}
    assert Counter(picked("weighted", free, chance=chance) for chance in draws) == {"a": 250, "b": 750}


def test_two_choices_never_take_the_worst_of_three():
    free = [view("a", in_use=0), view("b", in_use=1), view("c", in_use=3)]
    seen = Counter(picked("power_of_two_choices", free, chance=chance) for chance in range(0, CHANCES, 997))

    assert seen["c"] == 0
    assert seen["a"] > seen["b"] > 0


@pytest.mark.parametrize("gone", ["a", "b", "c"])
def test_a_key_moves_only_when_its_own_agent_goes(gone: str):
    names = ["a", "b", "c", "d"]
    free = [view(name) for name in names]
    homes = {f"key{n}": picked("consistent_hash", free, key=f"key{n}") for n in range(400)}
    left = [one for one in free if one.agent_id != gone]

    moved = {key for key, home in homes.items() if picked("consistent_hash", left, key=key) != home}

    assert moved == {key for key, home in homes.items() if home == gone}
    assert all(count > 50 for count in Counter(homes.values()).values())
