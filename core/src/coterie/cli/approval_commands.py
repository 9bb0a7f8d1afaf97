"""The commands about what people are asked: their arguments and help texts. `coterie.cli.approving` does it."""

from __future__ import annotations

from typing import Annotated

import typer

from coterie.cli.failure import told
from coterie.cli.fleet_usage import Listing
from coterie.cli.formats import Journalling
from coterie.cli.run_commands import (
    JournalOption,
    JsonOption,
    LimitOption,
    NamespaceOption,
    RunArgument,
    StoreOption,
)
from coterie.cli.usage import Command

__all__ = ["add_approval_commands"]

TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="The task that asks.")]
NoteOption = Annotated[str, typer.Option(metavar="TEXT", help="Kept with the answer; at most 2,000 characters.")]
ByOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="In whose name; by default the login name. It is taken on trust."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="What is filled in beside the choice. Repeatable."),
]
AnywayOption = Annotated[
    bool, typer.Option("--anyway", help="Also where Airflow asks: the task takes it when it is looked at next.")
]

approvals = typer.Typer(
    name="approvals",
    cls=Listing,
    help="Look at what people are asked: tasks that wait for an approval.",
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def add_approval_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    app.add_typer(approvals)
    app.command(cls=Command)(approve)
    app.command(cls=Command)(reject)


@approvals.command("list", cls=Command)
@told
def list_approvals(
    *,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="Of this run alone, with what each is about.")
    ] = None,
    limit: LimitOption = 100,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> int:
    """List what is asked and not answered."""
    from coterie.cli.approving import approvals_command
    from coterie.cli.runs.place import JournalPlace

    return approvals_command(JournalPlace(store, namespace), run=run, limit=limit, as_json=as_json)


@told
def approve(
    run: RunArgument,
    task: TaskArgument,
    *,
    choice: Annotated[
        str | None, typer.Option(metavar="CHOICE", help="By default the first that does not reject.")
    ] = None,
    note: NoteOption = "",
    by: ByOption = None,
    values: SetOption = None,
    anyway: AnywayOption = False,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    journal: JournalOption = Journalling.STRICT,
    as_json: JsonOption = False,
) -> int:
    """Answer a task that waits for an approval: it goes on. The first answer stands."""
    from coterie.cli.approving import Reply, answer_command
    from coterie.cli.runs.place import JournalPlace

    reply = Reply("approve", choice, note, by, tuple(values or ()), anyway, journal.value)
    return answer_command(JournalPlace(store, namespace), run, task, reply, as_json=as_json)


@told
def reject(
    run: RunArgument,
    task: TaskArgument,
    *,
    choice: Annotated[str | None, typer.Option(metavar="CHOICE", help="By default the first that rejects.")] = None,
    note: NoteOption = "",
    by: ByOption = None,
    values: SetOption = None,
    anyway: AnywayOption = False,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    journal: JournalOption = Journalling.STRICT,
    as_json: JsonOption = False,
) -> int:
    """Answer a task that waits for an approval: it fails for good. The first answer stands."""
    from coterie.cli.approving import Reply, answer_command
    from coterie.cli.runs.place import JournalPlace

    reply = Reply("reject", choice, note, by, tuple(values or ()), anyway, journal.value)
    return answer_command(JournalPlace(store, namespace), run, task, reply, as_json=as_json)
