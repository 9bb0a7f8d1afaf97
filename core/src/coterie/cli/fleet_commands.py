"""The commands about what a fleet shares: their arguments and help texts. What they do lies in `coterie.cli.fleet`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from coterie.cli.failure import told
from coterie.cli.fleet_usage import EVERY_S, Listing, OfAgent, Watching
from coterie.cli.usage import Command

if TYPE_CHECKING:
    from coterie.cli.fleet.breaker_acts import Demand
    from coterie.cli.fleet.reach import Reach
    from coterie.cli.fleet.showing import Looked

__all__ = ["add_fleet_commands"]

StoreOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The fleet's state store. By default COTERIE_STORE, else this machine's own file.",
    ),
]
NamespaceOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="By default COTERIE_NAMESPACE, else `default`.")
]
TeamOption = Annotated[
    str | None,
    typer.Option(
        "--team",
        "-t",
        metavar="PATH",
        help="package.module:team, or a team's YAML file: its policies tell what is shown as `?` otherwise.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, and nothing else, to standard output.")]
WatchOption = Annotated[
    float | None,
    typer.Option(
        "--watch",
        "-w",
        metavar="[SECONDS]",
        min=0.1,
        help=f"Show it again when it changes, and every so often besides ({EVERY_S} s), until Ctrl-C. "
        "With --json, one document a change, each in a line.",
    ),
]
BreakerArgument = Annotated[str, typer.Argument(metavar="NAME", help="The circuit breaker: an agent's id, or a type.")]
NewOption = Annotated[
    bool,
    typer.Option("--new", help="Also a breaker that is not stored: without a failure so far, or a name nobody uses."),
]
RunOption = Annotated[str | None, typer.Option("--run", metavar="RUN_ID", help="The budgets of a single run alone.")]
HoldsOption = Annotated[bool, typer.Option("--holds", help="All that is held, also by owners that live.")]
AgentArgument = Annotated[
    list[str], typer.Argument(metavar="[TYPE] AGENT", help="The agent; its type too where several have such an agent.")
]


def _group(name: str, help_text: str) -> typer.Typer:
    text = f"{help_text} Without a command: `list`."
    return typer.Typer(name=name, cls=Listing, help=text, rich_markup_mode="markdown", pretty_exceptions_enable=False)


breakers = _group("breakers", "List circuit breakers, and force them by hand, for the whole fleet.")
pool = _group("pool", "List pools, and drain their agents, for the whole fleet.")
limits = _group("limits", "List rate limits, and the retries that are left.")
budgets = _group("budgets", "List budgets, and settle what dead owners hold.")


def add_fleet_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    app.command(cls=Watching)(status)
    app.add_typer(breakers)
    app.add_typer(pool)
    app.add_typer(limits)
    app.add_typer(budgets)
    app.command(cls=Command)(migrate)


@told
def status(
    *,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    team: TeamOption = None,
    as_json: JsonOption = False,
    watch: WatchOption = None,
) -> int:
    """Show the fleet at a glance: what is open, waits, or is near its end."""
    from coterie.cli.fleet.drawing import draw_overview
    from coterie.cli.fleet.showing import show
    from coterie.cli.fleet.snapshot import ALL_KINDS

    return show(_looked(store, namespace, team, as_json=as_json, watch=watch), ALL_KINDS, draw_overview)


@breakers.command("list", cls=Watching)
@told
def list_breakers(
    *,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    team: TeamOption = None,
    as_json: JsonOption = False,
    watch: WatchOption = None,
) -> int:
    """Show every circuit breaker: its state, since and until when, what it counts."""
    from coterie.cli.fleet.drawing import draw
    from coterie.cli.fleet.showing import show

    return show(_looked(store, namespace, team, as_json=as_json, watch=watch), ["breakers"], draw)


@breakers.command("open", cls=Command)
@told
def open_breaker(
    name: BreakerArgument,
    *,
    new: NewOption = False,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    team: TeamOption = None,
    as_json: JsonOption = False,
) -> int:
    """Refuse all calls, until `close`, `reset` or `auto`: the state `forced_open`."""
    return _turn(_reach(store, namespace, team), name, "forced_open", new=new, as_json=as_json)


@breakers.command("close", cls=Command)
@told
def close_breaker(
    name: BreakerArgument,
    *,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    team: TeamOption = None,
    as_json: JsonOption = False,
) -> int:
    """Let calls through, and count them; one that is closed already goes on as it is."""
    return _turn(_reach(store, namespace, team), name, "closed", as_json=as_json)


@breakers.command("reset", cls=Command)
@told
def reset_breaker(
    name: BreakerArgument,
    *,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    team: TeamOption = None,
    as_json: JsonOption = False,
) -> int:
    """Close it, and forget what was counted, whatever its state."""
    return _turn(_reach(store, namespace, team), name, "reset", as_json=as_json)


@breakers.command("disable", cls=Command)
@told
def disable_breaker(
    name: BreakerArgument,
    *,
    new: NewOption = False,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    team: TeamOption = None,
    as_json: JsonOption = False,
) -> int:
    """Let all calls through, and count nothing, until `close`, `reset` or `auto`."""
    return _turn(_reach(store, namespace, team), name, "disabled", new=new, as_json=as_json)


@breakers.command("metrics-only", cls=Command)
@told
def only_count(
    name: BreakerArgument,
    *,
    new: NewOption = False,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    team: TeamOption = None,
    as_json: JsonOption = False,
) -> int:
    """Let all calls through, and count them, until `close`, `reset` or `auto`."""
    return _turn(_reach(store, namespace, team), name, "metrics_only", new=new, as_json=as_json)


@breakers.command("auto", cls=Command)
@told
def release_breaker(
    name: BreakerArgument,
    *,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    team: TeamOption = None,
    as_json: JsonOption = False,
) -> int:
    """End a state that was forced: it is closed then. One that opened by itself stays open."""
    return _turn(_reach(store, namespace, team), name, "auto", as_json=as_json)


@breakers.command("forget", cls=Command)
@told
def forget_breaker(
    name: BreakerArgument,
    *,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    team: TeamOption = None,
    as_json: JsonOption = False,
) -> int:
    """Remove what is stored of it, such as a name given by mistake; whoever uses it begins anew, closed."""
    return _turn(_reach(store, namespace, team), name, "forget", as_json=as_json)


@pool.command("list", cls=Watching)
@told
def list_pools(
    *,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    team: TeamOption = None,
    as_json: JsonOption = False,
    watch: WatchOption = None,
) -> int:
    """Show every pool: its agents, the slots in use, who waits."""
    from coterie.cli.fleet.drawing import draw
    from coterie.cli.fleet.showing import show

    return show(_looked(store, namespace, team, as_json=as_json, watch=watch), ["pools"], draw)


@pool.command("drain", cls=OfAgent)
@told
def drain(
    agent: AgentArgument,
    *,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    team: TeamOption = None,
    as_json: JsonOption = False,
) -> int:
    """Give an agent no new leases; those it has run on."""
    return _change_agent(_reach(store, namespace, team), agent, drains=True, as_json=as_json)


@pool.command("resume", cls=OfAgent)
@told
def resume(
    agent: AgentArgument,
    *,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    team: TeamOption = None,
    as_json: JsonOption = False,
) -> int:
    """Let an agent be picked again: ends draining, and suspension."""
    return _change_agent(_reach(store, namespace, team), agent, drains=False, as_json=as_json)


@limits.command("list", cls=Watching)
@told
def list_limits(
    *,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    team: TeamOption = None,
    as_json: JsonOption = False,
    watch: WatchOption = None,
) -> int:
    """Show every rate limit: what is free, when the next call may go, pauses; and how many retries are left."""
    from coterie.cli.fleet.drawing import draw
    from coterie.cli.fleet.showing import show

    return show(_looked(store, namespace, team, as_json=as_json, watch=watch), ["limits", "retries"], draw)


@budgets.command("list", cls=Watching)
@told
def list_budgets(
    *,
    run: RunOption = None,
    holds: HoldsOption = False,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    team: TeamOption = None,
    as_json: JsonOption = False,
    watch: WatchOption = None,
) -> int:
    """Show every budget: spent, held, left, and what dead owners hold."""
    from coterie.cli.fleet.drawing import draw, draw_with_holds
    from coterie.cli.fleet.showing import show

    looked = _looked(store, namespace, team, as_json=as_json, watch=watch, run=run)
    return show(looked, ["budgets"], draw_with_holds if holds else draw)


@budgets.command("settle", cls=Command)
@told
def settle(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The budget.")],
    hold_id: Annotated[str, typer.Argument(metavar="ID", help="Of the reservation, as `coterie budgets` shows it.")],
    amount: Annotated[
        str, typer.Argument(metavar="AMOUNT", help="What it came to: whole units, or money with its point: 12.50.")
    ],
    *,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    team: TeamOption = None,
    as_json: JsonOption = False,
) -> int:
    """Book what a reservation came to, for an owner that died; the rest is given back."""
    from coterie.cli.fleet.budget_acts import settle_hold

    return settle_hold(_reach(store, namespace, team), name, hold_id, amount, as_json=as_json)


@told
def migrate(
    *,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> int:
    """Have the fleet write this coterie's state format, once every process is updated. Safe to repeat."""
    from coterie.cli.fleet.acting import migrate_fleet

    return migrate_fleet(_reach(store, namespace, None), as_json=as_json)


def _reach(store: str | None, namespace: str | None, team: str | None) -> Reach:
    from coterie.cli.fleet.reach import Reach

    return Reach(store, namespace, team)


def _looked(
    store: str | None,
    namespace: str | None,
    team: str | None,
    *,
    as_json: bool,
    watch: float | None,
    run: str | None = None,
) -> Looked:
    from coterie.cli.fleet.showing import Looked

    return Looked(_reach(store, namespace, team), as_json, watch, run)


def _turn(reach: Reach, name: str, demand: Demand, *, new: bool = False, as_json: bool) -> int:
    from coterie.cli.fleet.breaker_acts import turn_breaker

    return turn_breaker(reach, name, demand, new=new, as_json=as_json)


def _change_agent(reach: Reach, agent: list[str], *, drains: bool, as_json: bool) -> int:
    from coterie.cli.fleet.pool_acts import change_agent
    from coterie.errors import Misuse

    if len(agent) > 2:
        raise Misuse(f"{' '.join(agent)!r} is more than an agent and its type; give one agent at a time")
    agent_type = agent[0] if len(agent) == 2 else None
    return change_agent(reach, agent_type, agent[-1], "drain" if drains else "resume", as_json=as_json)
