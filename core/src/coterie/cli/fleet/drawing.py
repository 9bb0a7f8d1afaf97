"""What the store holds, drawn for people: one table a kind, and all kinds at a glance."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from coterie.budget import Unit, written
from coterie.cli.fleet.breakers import BreakerRow
from coterie.cli.fleet.budgets import BudgetRow
from coterie.cli.fleet.limits import DimensionRow, LimitRow
from coterie.cli.fleet.pools import AgentRow, PoolRow
from coterie.cli.fleet.retries import RetryRow
from coterie.cli.fleet.snapshot import Head, Kind, Snapshot
from coterie.cli.fleet.times import clock_time, span
from coterie.cli.summary import output_console
from coterie.cli.words import count_of, seconds

__all__ = ["draw", "draw_overview", "draw_with_holds", "money_or_units", "page", "state_text"]

# Shown for what cannot be told without the team's policies.
UNKNOWN = "?"
_HINT = "? is told by the policies of the team that has it: name it with --team"

_STYLES = {
    "closed": "green",
    "open": "bold red",
    "half_open": "yellow",
    "forced_open": "bold red",
    "disabled": "magenta",
    "metrics_only": "magenta",
    "ready": "green",
    "busy": "cyan",
    "suspended": "bold red",
    "draining": "yellow",
    "lost": "red",
}
_SHOWN_TICKETS = 10
_WIDE = 2000


def page() -> Console:
    """Standard output; where it is no terminal, so wide that no line is folded."""
    console = output_console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    return console


def draw(snapshot: Snapshot) -> RenderableType:
    """The kinds that were asked for, in full."""
    tables = {"breakers": _breakers, "pools": _pools, "limits": _limits, "retries": _retries, "budgets": _budgets}
    drawn = [part for kind in snapshot.kinds for part in tables[kind](snapshot)]
    return Group(*(drawn or [_nothing(snapshot)]), *_notes(snapshot))


def draw_with_holds(snapshot: Snapshot) -> RenderableType:
    """Budgets, and all that is held of them, by the living too."""
    holds = [
        Text(
            f"{one.name}: {hold.hold_id} holds {money_or_units(hold.amount, one.unit)}, its owner has another "
            f"{span(hold.until_us - snapshot.head.clock_us)} to settle it"
        )
        for one in snapshot.budgets
        for hold in one.living
    ]
    return Group(draw(snapshot), *holds)


def draw_overview(snapshot: Snapshot) -> RenderableType:
    """What is out of the ordinary, and how much there is of the rest."""
    head = snapshot.head
    written = f"format {head.format}" if head.format is not None else "no format recorded yet"
    parts: list[RenderableType] = [
        _line("store", f"{head.url} ({_place(head)}, {written})"),
        _line("clock", clock_time(head.clock_us)),
        *_overview_of(snapshot, "breakers", "not closed", (one for one in snapshot.breakers if one.state != "closed")),
    ]
    parts += [_line("pools", f"{len(snapshot.pools):,}"), *(_indented(_pool_line(one)) for one in snapshot.pools)]
    unknown = sum(one.unknown for one in snapshot.limits)
    near_end = f"near the end, {unknown:,} not known" if unknown else "near the end"
    parts += _overview_of(snapshot, "limits", near_end, (one for one in snapshot.limits if one.near_end))
    parts += _overview_of(snapshot, "retries", "used up", (one for one in snapshot.retries if one.left == 0))
    parts += [_line("budgets", f"{len(snapshot.budgets):,}")]
    parts += [_indented(line) for line in _budget_lines(snapshot.budgets)]
    return Group(*parts, *_notes(snapshot))


def state_text(state: str) -> Text:
    """A state in its colour."""
    return Text(state, style=_STYLES.get(state, ""))


def money_or_units(amount: int | None, unit: Unit | None) -> str:
    """`1,200`, or `12.50` of money; `?` for what is not known."""
    if amount is None:
        return UNKNOWN
    return written(amount, unit)


def _overview_of(
    snapshot: Snapshot, kind: Kind, what: str, notable: Iterable[BreakerRow | LimitRow | RetryRow]
) -> Iterator[RenderableType]:
    every, found = len(snapshot.rows(kind)), list(notable)
    yield _line(kind, f"{every:,}, {len(found):,} {what}" if every else "0")
    for one in found:
        yield _indented(_notable_line(one, snapshot.head))


def _notable_line(one: BreakerRow | LimitRow | RetryRow, head: Head) -> Text:
    if isinstance(one, BreakerRow):
        return _breaker_line(one, head)
    if isinstance(one, RetryRow):
        return Text(f"{one.name}  no retry left", style="yellow")
    words = _limit_words(one, head)
    return Text(f"{one.name}  {words if one.paused_us is not None else f'next call {words}'}")


def _breaker_line(one: BreakerRow, head: Head) -> Text:
    since = _since(one, head)
    parts = [
        f"for {since}" if since else "",
        _until(one, head),
        f"opened {one.opened} in a row" if one.opened > 1 else "",
        f"after {one.error}" if one.error is not None else "",
    ]
    return Text.assemble(f"{one.name}  ", state_text(one.state), f"  {', '.join(filter(None, parts))}")


def _pool_line(pool: PoolRow) -> Text:
    conditions = Counter(agent.condition for agent in pool.agents)
    text = Text(
        f"{pool.agent_type}  {count_of(len(pool.agents), 'agent')}, {count_of(pool.in_use, 'slot')} in use, "
        f"{pool.free:,} free"
    )
    if pool.tickets:
        text.append(f", {len(pool.tickets):,} waiting", style="yellow")
    for condition in ("draining", "suspended", "lost"):
        if conditions[condition]:
            text.append(f", {conditions[condition]:,} {condition}", style=_STYLES[condition])
    return text


def _budget_lines(budgets: Sequence[BudgetRow]) -> Iterator[Text]:
    """Each budget; those of single runs together, as there may be thousands."""
    of_runs: dict[str, list[BudgetRow]] = {}
    for one in budgets:
        if one.of_run is None:
            yield _budget_line(one)
        else:
            of_runs.setdefault(one.of_run, []).append(one)
    for name, runs in of_runs.items():
        used_up, dead = sum(one.left == 0 for one in runs), sum(len(one.dead) for one in runs)
        text = Text(f"{name}  of {count_of(len(runs), 'single run')}")
        if used_up:
            text.append(f", {used_up:,} used up", style="bold red")
        if dead:
            text.append(f", {count_of(dead, 'hold')} of dead owners", style="yellow")
        yield text


def _budget_line(one: BudgetRow) -> Text:
    text = Text(f"{one.name}  {money_or_units(one.left, one.unit)} of {money_or_units(one.limit, one.unit)} left")
    text.append(f", {money_or_units(one.spent, one.unit)} spent, {money_or_units(one.held, one.unit)} held")
    if one.left == 0:
        text.stylize("bold red")
    if one.dead:
        text.append(f", {count_of(len(one.dead), 'hold')} of dead owners", style="yellow")
    return text


def _breakers(snapshot: Snapshot) -> Iterator[RenderableType]:
    if not snapshot.breakers:
        return
    table = _table("breaker", "state", "for", "until", "failures", "opened", "generation", right=("failures", "opened"))
    for one in snapshot.breakers:
        table.add_row(
            Text(one.name),
            state_text(one.state),
            _since(one, snapshot.head),
            _until(one, snapshot.head),
            _failures(one),
            str(one.opened),
            str(one.generation),
        )
    yield table
    for one in snapshot.breakers:
        if one.error is not None:
            yield Text(f"{one.name}: opened after {one.error}", style="yellow")


def _since(one: BreakerRow, head: Head) -> str:
    if one.since_us is not None:
        return span(head.clock_us - one.since_us)
    # One that never moved has no beginning.
    return UNKNOWN if one.generation else ""


def _until(one: BreakerRow, head: Head) -> str:
    if one.until_us is None:
        return ""
    left_us = one.until_us - head.clock_us
    if one.state == "half_open":
        return f"{one.probes_out} trying, {one.probes_settled} tried, {span(left_us)} left"
    return f"another {span(left_us)}" if left_us > 0 else "a trial is due"


def _failures(one: BreakerRow) -> str:
    if one.failures is None or one.calls is None:
        return UNKNOWN
    if one.failures == one.calls:
        # Where failures in a row are counted, nothing is known of other calls.
        return f"{one.failures:,} in a row" if one.calls else ""
    return f"{one.failures:,} of {one.calls:,}"


def _pools(snapshot: Snapshot) -> Iterator[RenderableType]:
    for pool in snapshot.pools:
        yield _pool_line(pool)
        if pool.agents:
            table = _table("  agent", "state", "in use", "heartbeat", "answers in", "tokens", right=("in use",))
            for agent in pool.agents:
                table.add_row(*_agent_cells(agent, snapshot.head))
            yield table
        yield from _queue(pool)


def _agent_cells(agent: AgentRow, head: Head) -> Iterator[Text | str]:
    yield Text(f"  {agent.agent_id}")
    condition = state_text(agent.condition)
    if agent.suspended_until_us is not None:
        # One that is drained besides, or lost, is of that condition.
        condition.append("" if agent.condition == "suspended" else ", suspended")
        condition.append(f" another {span(agent.suspended_until_us - head.clock_us)}")
    yield condition
    yield f"{agent.in_use:,}/{agent.slots:,}"
    left_us = agent.alive_until_us - head.clock_us
    alive = f"alive {span(left_us)} more" if left_us > 0 else f"lost {span(-left_us)} ago"
    age = UNKNOWN if agent.heartbeat_age_us is None else span(agent.heartbeat_age_us)
    yield f"left, {alive}" if agent.left else f"{age} ago, {alive}"
    yield "" if agent.latency_s is None else seconds(agent.latency_s)
    yield " ".join(map(str, agent.tokens))


def _queue(pool: PoolRow) -> Iterator[RenderableType]:
    if not pool.tickets:
        return
    table = _table("  place", "ticket", "stands as after", "")
    for place, ticket in enumerate(pool.tickets[:_SHOWN_TICKETS], 1):
        standing = span(abs(ticket.standing_us))
        table.add_row(
            f"  {place}",
            Text(ticket.ticket),
            standing if ticket.standing_us >= 0 else f"{standing} too early",
            "deferred" if ticket.deferred else "",
        )
    yield table
    if len(pool.tickets) > _SHOWN_TICKETS:
        yield Text(f"  and {len(pool.tickets) - _SHOWN_TICKETS:,} more", style="dim")
    worth = UNKNOWN if pool.ageing_s is None else seconds(pool.ageing_s)
    yield Text(f"  a level of priority is worth {worth} of waiting", style="dim")


def _limits(snapshot: Snapshot) -> Iterator[RenderableType]:
    if not snapshot.limits:
        return
    table = _table("limit", "dimension", "free now", "refilled in", "next call", right=("free now",))
    for one in snapshot.limits:
        for number, dimension in enumerate(one.dimensions):
            first = number == 0
            table.add_row(
                Text(one.name if first else ""),
                Text(dimension.name),
                _free(dimension),
                "" if dimension.refilled_us is None else span(dimension.refilled_us - snapshot.head.clock_us),
                _limit_words(one, snapshot.head) if first else "",
            )
    yield table


def _retries(snapshot: Snapshot) -> Iterator[RenderableType]:
    if not snapshot.retries:
        return
    table = _table("retries of", "left", "earned by a success", "and each second", right=("left",))
    for one in snapshot.retries:
        if one.allowance is None:
            table.add_row(Text(one.name), UNKNOWN, UNKNOWN, UNKNOWN)
        else:
            left = f"{one.left:,} of {one.allowance.cap:,}"
            table.add_row(Text(one.name), left, f"{one.allowance.share:g}", f"{one.allowance.floor_per_s:g}")
    yield table


def _free(one: DimensionRow) -> str:
    if one.free is None or one.quota is None:
        return UNKNOWN
    return f"{one.free:,} of {one.quota.burst:,}"


def _limit_words(one: LimitRow, head: Head) -> str:
    if one.paused_us is not None:
        return f"paused for another {span(one.paused_us - head.clock_us)}"
    if one.wait_us is not None:
        return f"in {span(one.wait_us)}" if one.wait_us else "now"
    if one.next_us is not None:
        return f"not before {span(one.next_us - head.clock_us)}"
    return UNKNOWN


def _budgets(snapshot: Snapshot) -> Iterator[RenderableType]:
    if not snapshot.budgets:
        return
    amounts = ("spent", "held", "limit", "left")
    table = _table("budget", *amounts, "window ends in", right=amounts)
    for one in snapshot.budgets:
        ends = (
            "" if not one.windowed else UNKNOWN if one.ends_us is None else span(one.ends_us - snapshot.head.clock_us)
        )
        cells = (money_or_units(amount, one.unit) for amount in (one.spent, one.held, one.limit, one.left))
        table.add_row(Text(one.name), *cells, ends)
    yield table
    for one in snapshot.budgets:
        for hold in one.dead:
            held = money_or_units(hold.amount, one.unit)
            dead_for = span(snapshot.head.clock_us - hold.until_us)
            yield Text(f"{one.name}: {hold.hold_id} holds {held}, its owner died {dead_for} ago", style="yellow")


def _table(*names: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def _nothing(snapshot: Snapshot) -> Text:
    where = f"{snapshot.head.url} ({_place(snapshot.head)})"
    if snapshot.kinds == ("breakers",):
        return Text(
            f"no breaker is stored yet in {where}: each is from its first failure on, or once it is forced; "
            "those of a team are shown with --team"
        )
    return Text(f"there are no {' or '.join(snapshot.kinds)} yet in {where}")


def _place(head: Head) -> str:
    return f"{head.scope}, namespace {head.namespace}"


def _notes(snapshot: Snapshot) -> Iterator[RenderableType]:
    if any(_has_unknown(snapshot)):
        yield Text(_HINT, style="dim")


def _has_unknown(snapshot: Snapshot) -> Iterator[bool]:
    tells: dict[Kind, Callable[[], bool]] = {
        "breakers": lambda: any(one.failures is None for one in snapshot.breakers),
        "pools": lambda: any(
            agent.heartbeat_age_us is None and not agent.left for pool in snapshot.pools for agent in pool.agents
        ),
        "limits": lambda: any(one.wait_us is None for one in snapshot.limits),
        "retries": lambda: any(one.left is None for one in snapshot.retries),
        "budgets": lambda: any(one.limit is None for one in snapshot.budgets),
    }
    return (tells[kind]() for kind in snapshot.kinds)


def _line(name: str, words: str) -> Text:
    return Text.assemble((f"{name:10}", "dim"), words)


def _indented(text: Text) -> Text:
    return Text("  ").append_text(text)
