"""`coterie top`: its arguments and help text. What it does lies in `coterie.cli.top`."""

from __future__ import annotations

from typing import Annotated

import typer

from coterie.cli.failure import told
from coterie.cli.fleet_commands import JsonOption, NamespaceOption, StoreOption, TeamOption
from coterie.cli.run_commands import ArtifactsOption
from coterie.cli.top.sorting import Sort
from coterie.cli.usage import Command

__all__ = ["add_top_command"]


def add_top_command(app: typer.Typer) -> None:
    """Add it to the command line."""
    app.command(cls=Command)(top)


@told
def top(
    *,
    team: TeamOption = None,
    interval: Annotated[
        float, typer.Option("--interval", "-i", min=0.2, metavar="SECONDS", help="How often it looks.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show one frame as text; so does what is no terminal.")] = False,
    sort: Annotated[
        Sort, typer.Option(help="The runs: what goes on first, the newest, the dearest, with most failures, by name.")
    ] = Sort.STATE,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> int:
    """Watch the team at work: runs, agents, breakers, limits, budgets and queues, live in the terminal.

    `?` tells the keys, `q` quits. What cannot be read is said in its place, and asked for again.
    """
    from coterie.cli.top.place import TopPlace
    from coterie.cli.top.showing import show_live, show_once

    place = TopPlace(store, namespace, team, artifacts)
    if once or as_json:
        return show_once(place, sort, as_json=as_json)
    return show_live(place, sort, interval)
