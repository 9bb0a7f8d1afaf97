"""Each section's columns, and its rows as cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

from rich.text import Text

from coterie._rules.timeline import SECOND
from coterie.cli.fleet.breakers import BreakerRow
from coterie.cli.fleet.budgets import BudgetRow
from coterie.cli.fleet.drawing import money_or_units, state_text
from coterie.cli.fleet.limits import LimitRow
from coterie.cli.fleet.times import span
from coterie.cli.runs.documents import money, run_state
from coterie.cli.top.layout import Column, Signs, bar
from coterie.cli.top.snapshot import AgentRow, GroupRow, QueueRow, RunRow, SectionName, WorkerRow
from coterie.cli.words import clipped, count_of
from coterie.remote.registry import WorkerStatus

__all__ = ["TABLES", "Table", "summary"]

_BAR = 10
_NONE = Text("")
_UNKNOWN = "?"
_MOST_CHARS = 200


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a section. cells: of one row, at an instant of the store's clock (None: not known)."""

    columns: tuple[Column, ...]
    cells: Callable[[Any, int | None, Signs], Sequence[Text]]
    summary: Callable[[Sequence[Any]], str]


def _run(row: RunRow, now_us: int | None, _signs: Signs) -> Sequence[Text]:
    age = "" if now_us is None and row.ended_us is None else span(row.age_us(now_us or 0))
    bad = row.state in ("failed", "partial", "interrupted", "lost")
    return (
        Text(row.run),
        Text(row.plan or "", style="dim"),
        run_state(row.state),
        Text(f"{row.done + row.failed:,}/{row.total:,}" if row.total is not None else f"{row.done + row.failed:,}"),
        Text(f"{row.failed:,}" if row.failed else "", style="bold red"),
        Text(f"{row.running:,}" if row.running else "", style="cyan"),
        Text(f"{row.items[0]:,}/{row.items[1]:,}" if row.items is not None else ""),
        Text(age),
        Text(money(row.cost_micros) if row.cost_micros else ""),
        Text(row.now, style="red" if bad else ""),
    )


def _agent(row: AgentRow | WorkerRow, _now_us: int | None, signs: Signs) -> Sequence[Text]:
    return _worker(row.worker, signs) if isinstance(row, WorkerRow) else _pool(row, signs)


def _worker(worker: WorkerStatus, signs: Signs) -> Sequence[Text]:
    style = {"alive": "green", "draining": "yellow", "lost": "red"}.get(worker.state, "")
    state = Text(worker.state, style=style)
    used, filled = _NONE, _NONE
    if worker.state == "lost":
        # What it was at when it was last heard of, others have now.
        state.append(f" {span(round(worker.seen_s * SECOND))} ago")
    else:
        used = Text(f"{worker.in_use:,}/{worker.capacity:,}")
        filled = bar(worker.in_use / worker.capacity if worker.capacity else 0.0, _BAR, signs, style="cyan")
    serves = Text(clipped(", ".join(worker.types), _MOST_CHARS), style="dim")
    return Text(f"worker {worker.id}"), serves, state, used, filled, _NONE, _NONE


def _pool(row: AgentRow, signs: Signs) -> Sequence[Text]:
    pool = row.pool
    conditions = Counter(agent.condition for agent in pool.agents)
    away = [f", {conditions[name]:,} {name}" for name in ("suspended", "lost", "draining") if conditions[name]]
    used = pool.in_use / row.slots if row.slots else float(pool.in_use > 0)
    return (
        Text("pool"),
        Text(pool.agent_type),
        Text(count_of(len(pool.agents), "agent")).append("".join(away), style="red"),
        Text(f"{pool.in_use:,}/{row.slots:,}"),
        bar(used, _BAR, signs, style="red" if used >= 1 and pool.tickets else "cyan"),
        Text(f"{len(pool.tickets):,}" if pool.tickets else "", style="yellow"),
        Text(span(row.oldest_us) if row.oldest_us is not None else ""),
    )


def _breaker(row: BreakerRow, now_us: int | None, _signs: Signs) -> Sequence[Text]:
    since = "" if row.since_us is None or now_us is None else span(now_us - row.since_us)
    again = "" if row.until_us is None or now_us is None else _again(row, now_us)
    counted = _UNKNOWN if row.calls is None or row.failures is None else ""
    if row.calls and row.failures == row.calls:
        counted = f"{row.failures:,} in a row"
    elif row.calls and row.failures is not None:
        counted = f"{row.failures:,} of {row.calls:,} ({100 * row.failures / row.calls:.0f} %)"
    return Text(row.name), state_text(row.state), Text(since), Text(again), Text(counted), Text(row.error or "")


def _again(row: BreakerRow, now_us: int) -> str:
    wait_us = (row.until_us or 0) - now_us
    return f"in {span(wait_us)}" if wait_us > 0 else "next call"


def _limit(row: LimitRow, now_us: int | None, _signs: Signs) -> Sequence[Text]:
    left = [f"{one.name} {_left(one.free)}" + (f"/{one.quota.burst:,}" if one.quota else "") for one in row.dimensions]
    return Text(row.name), Text(", ".join(left)), _next_call(row, now_us), Text(f"{row.taken:,}")


def _next_call(row: LimitRow, now_us: int | None) -> Text:
    if row.paused_us is not None and now_us is not None:
        return Text(f"paused, {span(row.paused_us - now_us)} more", style="bold red")
    if row.wait_us:
        return Text(f"in {span(row.wait_us)}", style="yellow")
    if row.next_us is not None and now_us is not None:
        return Text(f"not before {span(row.next_us - now_us)}", style="yellow")
    return Text(_UNKNOWN if row.wait_us is None else "now", style="dim" if row.wait_us is None else "green")


def _left(free: int | None) -> str:
    return _UNKNOWN if free is None else f"{free:,}"


def _budget(row: BudgetRow, now_us: int | None, signs: Signs) -> Sequence[Text]:
    used = (row.spent + row.held) / row.limit if row.limit else None
    style = "cyan" if used is None or used < 0.8 else "yellow" if used < 1 else "bold red"
    ends = "" if row.ends_us is None or now_us is None else f"{span(row.ends_us - now_us)}"
    return (
        Text(row.name),
        Text(money_or_units(row.spent, row.unit)),
        Text(money_or_units(row.held, row.unit) if row.held else ""),
        Text(money_or_units(row.limit, row.unit)),
        _NONE if used is None else bar(used, _BAR, signs, style=style),
        Text("" if used is None else f"{floor(100 * used)} %"),
        Text(ends),
        Text(f"{len(row.dead):,} held by the dead" if row.dead else "", style="red"),
    )


def _queue(row: QueueRow | GroupRow, now_us: int | None, _signs: Signs) -> Sequence[Text]:
    if isinstance(row, GroupRow) and not row.group:
        # Events that nobody reads wait for nobody.
        kept = Text(f"{count_of(row.lag, 'event')} kept, no group", style="dim")
        return Text(row.topic), kept, _NONE, _NONE, _NONE, _NONE, _NONE
    is_queue = isinstance(row, QueueRow)
    waiting = row.waiting if isinstance(row, QueueRow) else row.lag
    by = row.workers if isinstance(row, QueueRow) else row.consumers
    name = row.agent_type if isinstance(row, QueueRow) else f"{row.topic}: {row.group}"
    nobody = by == 0 and waiting > 0
    return (
        Text(name),
        Text("tasks" if is_queue else "events", style="dim"),
        Text(f"{waiting:,}", style="yellow" if waiting else ""),
        Text(span(now_us - row.oldest_us) if now_us is not None and row.oldest_us is not None else ""),
        Text(f"{row.claimed:,}" if row.claimed else ""),
        Text(_UNKNOWN if by is None else f"{by:,}", style="bold red" if nobody else ""),
        Text(f"{row.dead:,}" if row.dead else "", style="bold red"),
    )


def _counted(rows: Sequence[Any], state: Callable[[Any], str], quiet: str = "") -> str:
    found = Counter(state(row) for row in rows)
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in found.most_common() if name != quiet)


def _agents(rows: Sequence[AgentRow | WorkerRow]) -> str:
    pools = [row for row in rows if isinstance(row, AgentRow)]
    workers = _counted([row for row in rows if isinstance(row, WorkerRow)], lambda row: str(row.worker.state))
    in_use, slots = sum(row.pool.in_use for row in pools), sum(row.slots for row in pools)
    of_pools = f"{in_use:,} of {count_of(slots, 'slot')} in use" if pools else ""
    return "; ".join(filter(None, [of_pools, f"workers: {workers}" if workers else ""]))


def _queues(rows: Sequence[QueueRow | GroupRow]) -> str:
    waiting = sum(row.waiting for row in rows if isinstance(row, QueueRow))
    dead = sum(row.dead for row in rows)
    parts = [f"{count_of(waiting, 'task')} waiting" if waiting else "", f"{dead:,} given up" if dead else ""]
    return ", ".join(filter(None, parts))


def _limits(rows: Sequence[LimitRow]) -> str:
    near = sum(row.near_end for row in rows)
    return f"{near:,} near the end" if near else ""


def _budgets(rows: Sequence[BudgetRow]) -> str:
    spent = sum(row.left == 0 for row in rows)
    return f"{spent:,} used up" if spent else ""


TABLES: Mapping[SectionName, Table] = {
    "runs": Table(
        (
            Column("RUN", least=20, apart=True),
            Column("PLAN", least=6, drop=6),
            Column("STATE"),
            Column("ENDED", right=True),
            Column("FAILED", right=True, drop=2),
            Column("AT WORK", right=True, drop=4),
            Column("ITEMS", right=True, drop=3),
            Column("AGE", right=True),
            Column("COST", right=True, drop=5),
            Column("NOW", least=20, drop=1),
        ),
        _run,
        lambda rows: _counted(rows, lambda row: str(row.state)),
    ),
    "agents": Table(
        (
            Column("OF", least=10),
            Column("TYPE", least=10),
            Column("STATE", drop=2),
            Column("IN USE", right=True),
            Column("", drop=4),
            Column("QUEUE", right=True, drop=1),
            Column("OLDEST", right=True, drop=3),
        ),
        _agent,
        _agents,
    ),
    "breakers": Table(
        (
            Column("BREAKER", least=10),
            Column("STATE"),
            Column("SINCE", right=True, drop=2),
            Column("TRIES AGAIN", right=True),
            Column("FAILED", right=True, drop=3),
            Column("AFTER", least=16, drop=1),
        ),
        _breaker,
        lambda rows: _counted(rows, lambda row: str(row.state), "closed"),
    ),
    "limits": Table(
        (Column("LIMIT", least=10), Column("LEFT", least=8), Column("NEXT CALL"), Column("TAKEN", right=True, drop=1)),
        _limit,
        _limits,
    ),
    "budgets": Table(
        (
            Column("BUDGET", least=10),
            Column("SPENT", right=True),
            Column("HELD", right=True, drop=3),
            Column("LIMIT", right=True),
            Column("", drop=4),
            Column("", right=True),
            Column("ENDS IN", right=True, drop=2),
            Column("", least=6, drop=1),
        ),
        _budget,
        _budgets,
    ),
    "queues": Table(
        (
            Column("QUEUE", least=10),
            Column("OF", drop=2),
            Column("WAITING", right=True),
            Column("OLDEST", right=True),
            Column("CLAIMED", right=True, drop=1),
            Column("BY", right=True),
            Column("DEAD", right=True),
        ),
        _queue,
        _queues,
    ),
}


def summary(name: SectionName, rows: Sequence[Any]) -> str:
    """What to say of all rows of a section together."""
    return TABLES[name].summary(rows)
