"""Policies as people write them: in Python and in a team's YAML file."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from coterie import Team
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.quota import Quota
from coterie.errors import Misuse, PolicyError, UnknownAgentType
from coterie.policies import Fallback, Policies, Spend, policies_from

FULL = """
name: fleet
agents:
- {agent_type: writer, command: [cat]}
- {agent_type: cheap, command: [cat]}
policies:
  writer:
    breaker: {failure_threshold: 3, timeout_s: 30}
    breaker_scope: type
    pool: {strategy: round_robin, lease_s: 60}
    limits:
      requests: {limit: 100, window_s: 60, burst: 10}
      tokens: {rate_per_s: 1000, burst: 5000}
    tokens_per_call: 800
    budgets:
    - {name: today, unit: money, limit: "12.50", per_call: "0.05", window: day}
    - {name: run, limit: 100000, per_call: 800, per_run: true}
    retries: {share: 0.2}
    fallback: [{agent_type: cheap}, {cached_s: 3600}, {value: null}]
    max_wait_s: 120
"""


def test_a_team_file_may_say_everything(tmp_path: Path):
    (tmp_path / "team.yaml").write_text(FULL)

    policies = Team.load(str(tmp_path / "team.yaml")).policies["writer"]

    assert policies.breaker == BreakerPolicy(failure_threshold=3, timeout_s=30)
    assert policies.limits["requests"] == Quota.per_window(100, 60, burst=10)
    assert policies.limits["tokens"] == Quota(rate_per_s=1000, burst=5000)
    assert [(each.name, each.most, each.bound) for each in policies.budgets] == [
        ("today", 12_500_000, 50_000),
        ("run", 100_000, 800),
    ]
    assert [str(each) for each in policies.fallback] == ["agents of the type 'cheap'", "the last output", "a value"]
    assert policies.fallback[2].has_value


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "give a mapping"),
        ({"breakr": {}}, "at breakr"),
        ({"breaker": {"failure_threshold": 0}}, "failure_threshold 0"),
        ({"breaker": {"mode": "count", "window_calls": 5, "min_calls": 20}}, "window_calls 5 below min_calls 20"),
        ({"breaker": {"success_threshold": 4}}, "success_threshold 4 above half_open_max_calls 3"),
        ({"breaker_scope": "team"}, "breaker_scope"),
        ({"pool": {"lease_s": 5, "heartbeat_s": 10}}, "lease_s=5.0 and heartbeat_s=10.0"),
        ({"limits": {"requests": {"rate_per_s": -1, "burst": 1}}}, "rate_per_s"),
        ({"limits": {"requests": {"limit": 5, "window_s": 1}}}, "a window needs limit, window_s and burst"),
        ({"limits": {"requests": {"limit": 5, "window_s": 1, "burst": 5}}}, "1 <= burst < limit"),
        ({"limits": {"pages": {"rate_per_s": 1, "burst": 1}}}, "limits has 'pages'"),
        ({"limits": {"tokens": {"rate_per_s": 1, "burst": 10}}}, "tokens_per_call is 0"),
        ({"tokens_per_call": 500}, "tokens_per_call is 500, and no tokens are limited"),
        ({"budgets": [{"name": "a", "limit": 10, "per_call": 20}]}, "per_call 20 and limit 10"),
        ({"budgets": [{"name": "a b", "limit": 10, "per_call": 1}]}, "'a b' is not a usable name"),
        ({"budgets": [{"name": "a", "limit": "ten", "per_call": "1", "unit": "money"}]}, "no exact amount"),
        ({"budgets": [{"name": "a", "limit": "12.50", "per_call": 1}]}, "counts tokens and has limit '12.50'"),
        ({"budgets": [{"name": "a", "limit": 50, "per_call": "1", "unit": "money"}]}, "limit 50; give money as a text"),
        (
            {"budgets": [{"name": "a", "limit": 12.50, "per_call": "1", "unit": "money"}]},
            "wrong at budgets/0/limit: 12.5 is not exact; give money as a text such as '12.50'",
        ),
        ({"budgets": [{"name": "a", "limit": 9, "per_call": 1}] * 2}, "named twice"),
        ({"fallback": [{}]}, "a fallback is one of"),
        ({"fallback": [{"value": 1, "cached_s": 5}]}, "a fallback is one of"),
        ({"fallback": [{"cached_s": -5}]}, "cached_s -5"),
        ({"max_wait_s": -1}, "max_wait_s is -1"),
    ],
)
def test_what_cannot_work_is_refused_with_its_place_and_numbers(document: Any, message: str):
    with pytest.raises(Misuse, match="the policies of 'x'") as caught:
        policies_from(document, "the policies of 'x'")

    assert message in str(caught.value)


def test_policies_for_a_type_that_nobody_serves_are_a_mistake(tmp_path: Path):
    (tmp_path / "team.yaml").write_text("agents: [{agent_type: a, command: [cat]}]\npolicies: {b: {}}\n")

    with pytest.raises(UnknownAgentType, match="'b'"):
        Team.load(str(tmp_path / "team.yaml"))


@pytest.mark.parametrize("limit", [1.5, "1e400", "12.50", None, True])
def test_tokens_are_whole_or_refused(limit: Any):
    with pytest.raises(PolicyError, match="counts tokens and has limit"):
        Spend(name="a", limit=limit, per_call=1)


@pytest.mark.parametrize("limit", [1.5, "NaN", "1e400", 50, None, True])
def test_money_is_exact_or_refused(limit: Any):
    with pytest.raises(PolicyError, match="limit"):
        Spend(name="a", limit=limit, per_call="1", unit="money")


def test_money_is_the_same_however_it_is_written():
    spends = [Spend(name="a", limit=one, per_call="0.5", unit="money") for one in ("1200", "1200.000", Decimal(1200))]

    assert spends[0] == spends[1] == spends[2] == replace(spends[0])
    assert (spends[0].limit, spends[0].most, spends[0].bound) == ("1200.00", 1_200_000_000, 500_000)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"breaker": True}, "breaker is True; give a BreakerPolicy"),
        ({"pool": True}, "pool is True; give a PoolPolicy"),
        ({"pool": PoolPolicy}, "pool is <class .*; give a PoolPolicy"),
        ({"retries": 3}, "retries is 3; give a RetryAllowance"),
        ({"limits": {"requests": 5}}, "limits is {'requests': 5}; give quotas by name"),
        ({"limits": Quota(rate_per_s=1, burst=1)}, "limits is Quota.*; give quotas by name"),
        ({"budgets": Spend(name="a", limit=1, per_call=1)}, "budgets is Spend.*; give a list"),
        ({"budgets": ["a"]}, r"budgets is \['a'\]; give a list"),
        ({"fallback": Fallback(value=1)}, "fallback is .*; give a list"),
        ({"on_store_failure": "open"}, "on_store_failure is 'open'; use 'fail_open' or 'fail_closed'"),
    ],
)
def test_what_is_no_policy_is_refused_by_its_name_in_python_too(settings: Any, message: str):
    with pytest.raises(PolicyError, match=message):
        Policies(**settings)


def test_a_value_may_be_null():
    assert Fallback(value=None).has_value
    assert not Fallback(cached_s=1).has_value


def test_policies_compare_by_what_they_say():
    assert Policies(budgets=[Spend(name="a", limit=10, per_call=1)]) == Policies(
        budgets=(Spend(name="a", limit=10, per_call=1),)
    )
