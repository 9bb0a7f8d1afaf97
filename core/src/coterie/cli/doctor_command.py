"""`coterie doctor`: its arguments and help text. What it does lies in `coterie.cli.doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from coterie.cli.failure import told
from coterie.cli.fleet_commands import JsonOption, NamespaceOption, StoreOption
from coterie.cli.run_commands import ArtifactsOption
from coterie.cli.usage import Command

__all__ = ["add_doctor_command"]


def add_doctor_command(app: typer.Typer) -> None:
    """Add it to the command line."""
    app.command(cls=Command)(doctor)


@told
def doctor(
    *,
    team: Annotated[
        str | None,
        typer.Option(
            "--team", "-t", metavar="PATH", help="package.module:team, or a team's YAML file: see whether it is sound."
        ),
    ] = None,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    artifacts: ArtifactsOption = None,
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan", metavar="PATH", help="A plan's file, or module:plan: see whether workers perform what it asks."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Find what is wrong with this deployment, and say what to do about it.

    Changes nothing but probes of its own, which it removes. Exits with 1 if anything is at fault, else with 0.
    """
    from coterie.cli.doctor.place import Place
    from coterie.cli.doctor.telling import doctor_command

    return doctor_command(Place(store, namespace, team, artifacts, plan), as_json=as_json)
