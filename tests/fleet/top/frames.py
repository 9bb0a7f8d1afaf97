"""Snapshots as they might have been taken, and frames as plain lines."""

from __future__ import annotations

from typing import Any

from coterie._rules.quota import Quota
from coterie.cli.fleet.breakers import BreakerRow
from coterie.cli.fleet.budgets import BudgetRow
from coterie.cli.fleet.limits import DimensionRow, LimitRow
from coterie.cli.fleet.pools import AgentRow as PooledAgent
from coterie.cli.fleet.pools import PoolRow, TicketRow
from coterie.cli.top.drawing import frame, page
from coterie.cli.top.snapshot import AgentRow, GroupRow, Head, QueueRow, RunRow, Section, Snapshot, WorkerRow
from coterie.cli.top.view import View
from coterie.remote.registry import WorkerStatus

__all__ = ["NOW", "SECOND", "a_run", "a_snapshot", "drawn", "whole"]

SECOND = 1_000_000
# 2026-11-28 07:30:00 UTC
NOW = 1_795_851_000 * SECOND


def a_run(name: str, **fields: Any) -> RunRow:
    return RunRow(**{"run": name, "state": "running", "begun_us": NOW - 90 * SECOND, **fields})


def a_pool() -> PoolRow:
    agents = tuple(
        PooledAgent(
            agent_id=f"writer-{number}",
            capacity=2,
            limit=None,
            in_use=2,
            condition="busy",
            weight=1,
            latency_s=None,
            alive_until_us=NOW,
            heartbeat_age_us=0,
            left=False,
            suspended_until_us=None,
            tokens=(1, 2),
        )
        for number in (1, 2)
    )
    tickets = tuple(
        TicketRow(ticket=f"t{n}", deferred=False, standing_us=n * 4 * SECOND, until_us=NOW, channel="c") for n in (2, 1)
    )
    return PoolRow(agent_type="writer", agents=agents, tickets=tickets, token=9, ageing_s=None)


def a_breaker(name: str, state: Any, **fields: Any) -> BreakerRow:
    known = {"generation": 1, "since_us": NOW - 30 * SECOND, "until_us": None, "failures": 1, "calls": 8, "opened": 1}
    return BreakerRow(
        **{"name": name, "state": state, "probes_out": 0, "probes_settled": 0, "stored": True, **known, **fields}
    )


def a_snapshot(**sections: Any) -> Snapshot:
    """A busy newsroom."""
    rows = (
        a_run(
            "news-2", plan="news", total=4, done=1, failed=1, items=(57, 100), cost_micros=1_250_000, now="write 57/100"
        ),
        a_run(
            "news-1",
            plan="news",
            state="failed",
            ended_us=NOW - 60 * SECOND,
            total=4,
            done=2,
            failed=1,
            now="check: TimeoutError: late",
        ),
        a_run("hand-7", state="waiting", begun_us=NOW - 7200 * SECOND, total=2, done=1, now="a person: sign"),
    )
    quota = Quota(rate_per_s=2, burst=10)
    dimension = DimensionRow(name="requests", refilled_us=None, free=3, quota=quota)
    limit = LimitRow(name="writer", dimensions=(dimension,), next_us=None, wait_us=0, paused_us=None, taken=1234)
    budget = BudgetRow(
        name="money",
        spent=1_900_000,
        held=50_000,
        limit=2_000_000,
        unit="money",
        windowed=True,
        ends_us=NOW + 3600 * SECOND,
        dead=(),
        living=(),
    )
    worker = WorkerStatus("w-1", "alive", ("linter", "scanner"), 4, 1, "host 12", 60.0, 1.0)
    found = {
        "head": Head(
            "default", "redis://fleet:6379/0", NOW, 0.0008, workers=1, calls_per_s=3.5, cost_per_hour=4_200_000
        ),
        "runs": Section(rows),
        "agents": Section((AgentRow(a_pool()), WorkerRow(worker))),
        "breakers": Section(
            (a_breaker("checker-1", "open", until_us=NOW + 12 * SECOND), a_breaker("writer-1", "closed"))
        ),
        "limits": Section((limit,)),
        "budgets": Section((budget,)),
        "queues": Section(
            (
                QueueRow(agent_type="linter", waiting=12, claimed=3, dead=0, oldest_us=NOW - 45 * SECOND, workers=1),
                GroupRow(
                    topic="events", group="billing", lag=7, claimed=0, dead=2, consumers=0, oldest_us=NOW - 300 * SECOND
                ),
            )
        ),
    }
    return Snapshot(**{**found, **sections})


def drawn(snapshot: Snapshot, view: View | None = None, width: int = 80, height: int = 24, **more: Any) -> list[str]:
    """A frame's lines, without colour and the room at their ends."""
    return [line.plain.rstrip() for line in frame(snapshot, view or View(), width, height, **more)]


def whole(snapshot: Snapshot, width: int | None = None) -> list[str]:
    """All there is, as `--once` shows it."""
    return [line.plain.rstrip() for line in page(snapshot, View(), width)]
