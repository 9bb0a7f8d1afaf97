"""Every command about a fleet, and a fleet that has one of each kind."""

from __future__ import annotations

from coterie._rules.breaker import record
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.budget import Allowance, reserve
from coterie._rules.pool import turn
from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.quota import Quota
from coterie._rules.quota import reserve as take
from coterie._rules.retry_budget import RetryAllowance
from coterie._rules.retry_budget import take as retry
from tests.fleet.cli.places import lived

__all__ = ["ACTS", "EVERY", "LOOKS", "a_fleet"]

QUOTA = {"requests": Quota(rate_per_s=0.01, burst=10)}
LOOKS = [["status"], ["breakers", "list"], ["pool", "list"], ["limits"], ["limits", "list"], ["budgets", "list"]]
ACTS = [
    ["breakers", "open", "gate"],
    ["breakers", "close", "gate"],
    ["breakers", "reset", "gate"],
    ["breakers", "disable", "gate"],
    ["breakers", "metrics-only", "gate"],
    ["breakers", "auto", "gate"],
    ["breakers", "forget", "gate"],
    ["pool", "drain", "linter-1"],
    ["pool", "resume", "linter-1"],
    ["budgets", "settle", "day", "hold", "1"],
    ["migrate"],
]
EVERY = [*LOOKS, *ACTS]


def fails(name: str, count: int, policy: BreakerPolicy | None = None):
    return record(name, policy or BreakerPolicy(failure_threshold=3), generation=0, runs=[("f", count)], chance=0)


def a_fleet(now: int) -> dict:
    alive = turn(PoolPolicy().terms("linter"), "owner", chance=0, agents=[["linter-1", 2, 1]])
    asked = turn(PoolPolicy().terms("linter"), "owner", chance=0, asks=[["a", "call", 0, 1, 1, "", []]])
    return {
        "breaker__bad": lived((now, fails("bad", 3))),
        "breaker__good": lived((now, fails("good", 1))),
        "pool__linter": lived((now, alive), (now, asked)),
        "limit__linter": lived((now, take(QUOTA, {"requests": 1}, max_wait_s=0))),
        "retry__linter": lived((now, retry(RetryAllowance()))),
        "budget__day": lived((now, reserve(Allowance(limit=100), "hold", 40, hold_s=600))),
    }
