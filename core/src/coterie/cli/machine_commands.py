"""The commands about state machines: their arguments and help texts. What they do lies in `coterie.cli.machine`."""

from __future__ import annotations

from typing import Annotated

import typer

from coterie.cli.failure import told
from coterie.cli.formats import Journalling
from coterie.cli.run_commands import (
    ArtifactsOption,
    GracefulOption,
    JournalOption,
    JsonOption,
    NamespaceOption,
    QuietOption,
    RunArgument,
    StoreOption,
)
from coterie.cli.usage import Command, Group

__all__ = ["add_machine_commands"]

MachineArgument = Annotated[
    str, typer.Argument(metavar="MACHINE", help="A YAML or JSON file, or package.module:machine.")
]
WhoOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Who does it, for the history; by default the login name. It proves nothing."),
]

machine = typer.Typer(
    name="machine",
    cls=Group,
    help="Run state machines, send them events, see where they are and were.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def add_machine_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    app.add_typer(machine)


@machine.command("run", cls=Command)
@told
def run_machine(
    machine: MachineArgument,
    *,
    team: Annotated[str, typer.Option("--team", "-t", metavar="PATH", help="package.module:team, or a YAML file.")],
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            metavar="NAME=VALUE",
            help="A parameter of the machine; the value is JSON where it can be read so, else text. Repeatable.",
        ),
    ] = None,
    run_id: Annotated[
        str | None, typer.Option(metavar="ID", help="The run to go on with, or the identity of a new one.")
    ] = None,
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="Go on though the machine is not the one that the run began with.")
    ] = False,
    artifacts: ArtifactsOption = None,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    journal: JournalOption = Journalling.STRICT,
    graceful_shutdown_timeout: GracefulOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Run a machine in this process, from wherever it is, until it is over.

    It waits here for events, which come from elsewhere: `coterie machine send`. Ctrl-C ends the action that runs, and
    leaves the machine where it is; with the same run id it goes on. SIGTERM lets the action finish first.
    """
    from coterie.cli.machine.running import MachineJob, run_command
    from coterie.cli.runs.place import JournalPlace
    from coterie.cli.sources import load_machine, load_team, parse_params

    job = MachineJob(
        JournalPlace(store, namespace),
        load_machine(machine),
        load_team(team),
        parse_params(param or []),
        run_id,
        artifacts,
        journal.value,
        allow_changes,
        graceful_shutdown_timeout,
    )
    return run_command(job, as_json=as_json, quiet=quiet)


@machine.command(cls=Command)
@told
def send(
    run: RunArgument,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Such as approve.")],
    *,
    payload: Annotated[str | None, typer.Option(metavar="JSON", help="What goes with it.")] = None,
    who: WhoOption = None,
    visit: Annotated[
        int | None,
        typer.Option(min=1, metavar="NUMBER", help="The visit that it is meant for, as `show` says: else none is."),
    ] = None,
    event_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Names this sending: sent again, it does nothing more.")
    ] = None,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    journal: JournalOption = Journalling.STRICT,
    as_json: JsonOption = False,
) -> int:
    """Send an event to a machine; it is taken when this says so, also where nobody runs the machine."""
    from coterie.cli.machine.telling import Sending, send_command
    from coterie.cli.runs.place import JournalPlace

    sending = Sending(event, payload, who, visit, event_id)
    return send_command(JournalPlace(store, namespace), run, sending, journal=journal.value, as_json=as_json)


@machine.command(cls=Command)
@told
def show(
    run: RunArgument, *, store: StoreOption = None, namespace: NamespaceOption = None, as_json: JsonOption = False
) -> int:
    """Show where a machine is, since when, and which events it takes there."""
    from coterie.cli.machine.looking import show_command
    from coterie.cli.runs.place import JournalPlace

    return show_command(JournalPlace(store, namespace), run, as_json=as_json)


@machine.command(cls=Command)
@told
def history(
    run: RunArgument,
    *,
    after: Annotated[int, typer.Option(min=0, metavar="VISIT", help="Begin behind this visit.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many at most.")] = 100,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> int:
    """List the visits that a machine has left: by what, for where, and who sent it."""
    from coterie.cli.machine.looking import history_command
    from coterie.cli.runs.place import JournalPlace

    return history_command(JournalPlace(store, namespace), run, after=after, limit=limit, as_json=as_json)


@machine.command(cls=Command)
@told
def cancel(
    run: RunArgument,
    *,
    who: WhoOption = None,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    journal: JournalOption = Journalling.STRICT,
    as_json: JsonOption = False,
) -> int:
    """End a machine where it is, and the action that runs."""
    from coterie.cli.machine.telling import cancel_command
    from coterie.cli.runs.place import JournalPlace

    place = JournalPlace(store, namespace)
    return cancel_command(place, run, who=who, journal=journal.value, as_json=as_json)


@machine.command(cls=Command)
@told
def draw(
    machine: Annotated[
        str | None, typer.Argument(metavar="MACHINE", help="By default the one that the run goes by.")
    ] = None,
    *,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Mark where this run is.")] = None,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
) -> int:
    """Write a machine as a Mermaid state diagram."""
    from coterie.cli.machine.looking import draw_command
    from coterie.cli.runs.place import JournalPlace

    return draw_command(JournalPlace(store, namespace), machine, run)
