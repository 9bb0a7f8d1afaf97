"""Settings that cannot work are refused, with their numbers."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from coterie._rules.breaker_policy import BreakerPolicy, terms_of
from coterie._rules.window import Counts, exceeds
from coterie.errors import PolicyError


def test_the_defaults_are_those_of_the_contract():
    policy = BreakerPolicy()

    assert (policy.mode, policy.failure_threshold, policy.success_threshold) == ("consecutive", 5, 2)
    assert (policy.timeout_s, policy.half_open_max_calls) == (60.0, 3)
    assert terms_of(policy).round_timeout == 2 * terms_of(policy).probe_timeout


@pytest.mark.parametrize(
    ("settings", "numbers"),
    [
        ({"mode": "sometimes"}, ["'sometimes'", "consecutive, count, time"]),
        ({"failure_threshold": 0}, ["failure_threshold 0"]),
        ({"failure_threshold": -1}, ["-1"]),
        ({"failure_threshold": 2.0}, ["2.0"]),
        ({"failure_threshold": True}, ["True"]),
        ({"success_threshold": 0}, ["success_threshold 0"]),
        ({"success_threshold": 4}, ["success_threshold 4", "half_open_max_calls 3"]),
        ({"half_open_max_calls": 0}, ["half_open_max_calls 0"]),
        ({"half_open_max_calls": 1_001}, ["1001", "1000"]),
        ({"mode": "count", "window_calls": 10, "min_calls": 11}, ["window_calls 10", "min_calls 11"]),
        ({"mode": "count", "failure_threshold": 3}, ["failure_threshold 3", "mode 'count'", "use mode 'consecutive'"]),
        ({"failure_rate": 0.3}, ["failure_rate 0.3", "mode 'consecutive'", "use mode 'count' or 'time'"]),
        ({"window_calls": 0}, ["window_calls 0"]),
        ({"window_calls": 10_001}, ["10001", "10000"]),
        ({"window_s": 0}, ["window_s 0"]),
        ({"window_s": 1.5}, ["window_s 1.5"]),
        ({"window_s": 3_601}, ["3601", "3600"]),
        ({"min_calls": 0}, ["min_calls 0"]),
        ({"failure_rate": 0.0}, ["failure_rate 0.0"]),
        ({"failure_rate": 1.01}, ["1.01"]),
        ({"failure_rate": nan}, ["nan"]),
        ({"failure_rate": "0.5"}, ["'0.5'"]),
        ({"slow_rate": 0}, ["slow_rate 0"]),
        ({"slow_rate": -0.5}, ["-0.5"]),
        ({"slow_call_s": 0}, ["slow_call_s 0"]),
        ({"slow_call_s": -1.0}, ["-1.0"]),
        ({"timeout_s": 0}, ["timeout_s 0"]),
        ({"timeout_s": -60.0}, ["-60.0"]),
        ({"timeout_s": inf, "max_timeout_s": inf}, ["inf"]),
        ({"timeout_s": None}, ["None"]),
        ({"timeout_s": 601}, ["max_timeout_s 600", "timeout_s 601"]),
        ({"max_timeout_s": 59.0}, ["max_timeout_s 59", "timeout_s 60"]),
        ({"timeout_growth": 0.99}, ["timeout_growth 0.99"]),
        ({"timeout_growth": nan}, ["nan"]),
        ({"jitter": 1.0}, ["jitter 1.0"]),
        ({"jitter": -0.1}, ["-0.1"]),
        ({"probe_timeout_s": 0.0}, ["probe_timeout_s 0.0"]),
        ({"round_timeout_s": -1}, ["round_timeout_s -1"]),
        ({"round_timeout_s": 59}, ["round_timeout_s 59", "probe_timeout_s 60"]),
    ],
)
def test_a_setting_that_cannot_work_is_refused_with_its_numbers(settings: dict[str, Any], numbers: list[str]):
    with pytest.raises(PolicyError) as refused:
        BreakerPolicy(**settings)

    assert all(number in str(refused.value) for number in numbers), str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"failure_threshold": 1, "success_threshold": 1, "half_open_max_calls": 1},
        {"timeout_s": 600.0, "timeout_growth": 1, "jitter": 0},
        {"mode": "count", "window_calls": 20, "min_calls": 20, "failure_rate": 1},
        {"mode": "time", "window_s": 1, "slow_call_s": 0.001, "slow_rate": 0.000001},
        {"window_calls": 5},  # a window that the mode does not use
        {"round_timeout_s": 60.0},
    ],
)
def test_settings_at_the_edge_of_what_works_are_taken(settings: dict[str, Any]):
    assert terms_of(BreakerPolicy(**settings)).timeout > 0


def test_equal_settings_are_equal_policies_however_they_are_written():
    whole, broken = BreakerPolicy(timeout_s=30, jitter=0), BreakerPolicy(timeout_s=30.0, jitter=0.0)

    assert repr(whole) == repr(broken)
    assert terms_of(whole) == terms_of(broken)


def test_a_policy_is_read_strictly_from_a_document():
    read = TypeAdapter(BreakerPolicy).validate_python

    assert read({"mode": "time", "failure_rate": 0.25}) == BreakerPolicy(mode="time", failure_rate=0.25)
    with pytest.raises(ValidationError, match="failure_treshold"):
        read({"failure_treshold": 3})


@pytest.mark.parametrize(
    ("rate", "calls", "failures"),
    [
        (2 / 3, 3, 2),
        (1 / 3, 3, 1),
        (0.57, 100, 57),
        (0.29, 100, 29),
        (0.1, 10, 1),
        (1.0, 7, 7),
        (0.000001, 1_000_000, 1),
    ],
)
def test_a_share_is_reached_exactly_and_not_a_call_sooner(rate: float, calls: int, failures: int):
    terms = terms_of(BreakerPolicy(mode="time", failure_rate=rate))

    assert exceeds(terms, Counts(calls, failures, 0))
    assert not exceeds(terms, Counts(calls, failures - 1, 0))


def test_slowness_is_not_judged_where_no_call_is_slow():
    assert not exceeds(terms_of(BreakerPolicy()), Counts(10, 0, 10))
    assert exceeds(terms_of(BreakerPolicy(slow_call_s=1.0)), Counts(10, 0, 10))


def test_a_policy_in_whole_numbers_is_json_and_comes_back():
    terms = terms_of(BreakerPolicy(mode="count", slow_call_s=2.5, timeout_s=0.0010001))

    assert type(terms)(**terms.wire()) == terms
    assert all(isinstance(value, str | int) for value in terms.wire().values())
    assert terms.timeout == 1001, "a wait is never shorter than asked for"
