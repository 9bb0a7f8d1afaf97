"""The commands about runs in a journal: their arguments and help texts. What they do lies in `coterie.cli.runs`."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from coterie.cli.failure import json_wanted, told
from coterie.cli.formats import Journalling, LogFormat
from coterie.cli.runs.standing import Standing
from coterie.cli.usage import Command, Group
from coterie.errors import Misuse

if TYPE_CHECKING:
    from coterie.cli.runs.going_on import Continued
    from coterie.cli.runs.place import JournalPlace

__all__ = ["add_run_commands"]

StoreOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Where the journal lies. By default COTERIE_STORE, else this machine's own file."),
]
NamespaceOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="By default COTERIE_NAMESPACE, else `default`.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, and nothing else, to standard output.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]
StepArgument = Annotated[str, typer.Argument(metavar="TASK", help="The task that is undone.")]
UnitArgument = Annotated[
    str | None, typer.Argument(metavar="TASK", help="A task, with all items of its foreach; or TASK/ITEM.")
]
PlanOption = Annotated[
    str | None, typer.Option("--plan", metavar="PLAN", help="Another plan than the one that it was begun with.")
]
TeamOption = Annotated[
    str | None, typer.Option("--team", "-t", metavar="PATH", help="By default the one that the journal names.")
]
ArtifactsOption = Annotated[
    str | None, typer.Option(metavar="URL", help="Where its outputs are kept; as of `coterie run`.")
]
JournalOption = Annotated[
    Journalling, typer.Option(envvar="COTERIE_JOURNAL", help="How durable what is done is recorded.")
]
GracefulOption = Annotated[
    float | None,
    typer.Option(
        "--graceful-shutdown-timeout",
        metavar="SECONDS",
        envvar="COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S",
        help="As of `coterie run`.",
    ),
]
LogFormatOption = Annotated[
    LogFormat,
    typer.Option(
        "--log-format",
        envvar="COTERIE_LOG_FORMAT",
        help="Standard error for people (console), or as JSON, one object a line: logs, and what happens (json).",
    ),
]
LimitOption = Annotated[int, typer.Option(min=1, max=1000, help="So many at most.")]
AgeOption = Annotated[str, typer.Option(metavar="AGE", help="Such as 90m, 12h or 30d.")]
ForceOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Do everything anew, finished or not; the same name a second time is the same demand."
    ),
]

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGE = re.compile(r"([0-9]{1,9})([smhd])\Z")


class _Listing(Group):
    """A group whose command `list` may be left out."""

    def parse_args(self, ctx: object, args: list[str]) -> list[str]:
        bare = not args or (args[0].startswith("-") and args[0] not in ("-h", "--help"))
        return super().parse_args(ctx, ["list", *args] if bare else args)  # type: ignore[arg-type]  # click's own context


runs = typer.Typer(
    name="runs",
    cls=_Listing,
    help="Look at runs in the journal, go on with them, settle what they left, have work done anew, remove them.",
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def add_run_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    app.add_typer(runs)
    app.command(cls=Command)(reap)


@runs.command("list", cls=Command)
@told
def list_runs(
    *,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    limit: LimitOption = 20,
    calls: Annotated[
        bool, typer.Option("--calls", help="Also call.<id>: the steps that workers keep of tasks that are not over.")
    ] = False,
    state: Annotated[
        list[Standing] | None, typer.Option("--state", help="Only runs that stand so; may be given several times.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """List runs, the one begun last first."""
    from coterie.cli.runs.listing import Wanted, list_command

    wanted = Wanted(limit, [each.value for each in state or ()], with_calls=calls)
    return list_command(_place(store, namespace), wanted, as_json=as_json)


@runs.command(cls=Command)
@told
def show(
    run: RunArgument,
    *,
    artifacts: ArtifactsOption = None,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show one run: how each of its tasks and items ended, who is at work, and what could not be undone."""
    from coterie.cli.runs.looking import show_command

    return show_command(_place(store, namespace), run, artifacts=artifacts, as_json=as_json)


@runs.command(cls=Command)
@told
def diff(
    run: RunArgument,
    *,
    plan: PlanOption = None,
    team: TeamOption = None,
    artifacts: ArtifactsOption = None,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> int:
    """Say what would be done if the run went on now, and what that took the last time. Nothing is done."""
    from coterie.cli.runs.going_on import diff_command

    return diff_command(_continued(store, namespace, run, plan=plan, team=team, artifacts=artifacts), as_json=as_json)


@runs.command(cls=Command)
@told
def resume(
    run: RunArgument,
    *,
    plan: PlanOption = None,
    team: TeamOption = None,
    artifacts: ArtifactsOption = None,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    force: ForceOption = None,
    journal: JournalOption = Journalling.STRICT,
    graceful_shutdown_timeout: GracefulOption = None,
    log_format: LogFormatOption = LogFormat.CONSOLE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Go on with a run, whichever engine began it: what failed is tried again, what is finished is not."""
    from coterie.cli.running import run_job
    from coterie.cli.runs.going_on import resumed

    asked = _continued(store, namespace, run, plan=plan, team=team, artifacts=artifacts)
    job = resumed(asked, force=force, journal=journal.value)
    logs_json = json_wanted(log_format)
    job = replace(job, graceful_shutdown_timeout_s=graceful_shutdown_timeout, logs_json=logs_json)
    return run_job(job, as_json=as_json, quiet=quiet)


@runs.command("settle", cls=Command)
@told
def settle_step(
    run: RunArgument,
    task: StepArgument,
    *,
    note: Annotated[str, typer.Option(metavar="TEXT", help="How, or where; at most 2,000 characters.")] = "",
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who; by default the login name. It is taken on trust.")
    ] = None,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    journal: JournalOption = Journalling.STRICT,
    as_json: JsonOption = False,
) -> int:
    """Note that you have undone a task by hand that its run could not undo: nobody tries to any more."""
    from coterie.cli.runs.letters import Word, settle_command

    word = Word(note, by, journal.value)
    return settle_command(_place(store, namespace), run, task, word, as_json=as_json)


@runs.command(cls=Command)
@told
def forget(
    run: RunArgument,
    task: UnitArgument = None,
    *,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> int:
    """Have a task, an item or all of a run done anew by whoever asks next."""
    from coterie.cli.runs.tending import forget_command

    return forget_command(_place(store, namespace), run, task, as_json=as_json)


@runs.command(cls=Command)
@told
def erase(
    run: RunArgument, *, store: StoreOption = None, namespace: NamespaceOption = None, as_json: JsonOption = False
) -> int:
    """Remove all that the journal holds of a run."""
    from coterie.cli.runs.tending import erase_command

    return erase_command(_place(store, namespace), run, as_json=as_json)


@runs.command(cls=Command)
@told
def prune(
    *,
    older_than: AgeOption = "30d",
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> int:
    """Remove runs that ended and have not changed for so long."""
    from coterie.cli.runs.tending import prune_command

    place = _place(store, namespace)
    return prune_command(place, older_than_s=_seconds(older_than), dry_run=dry_run, as_json=as_json)


@told
def reap(
    *,
    idle: AgeOption = "1h",
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> int:
    """End runs that nobody has ended and nobody is at: no heartbeat, and no change for so long."""
    from coterie.cli.runs.tending import reap_command

    return reap_command(_place(store, namespace), idle_s=_seconds(idle), dry_run=dry_run, as_json=as_json)


def _place(store: str | None, namespace: str | None) -> JournalPlace:
    from coterie.cli.runs.place import JournalPlace

    return JournalPlace(store, namespace)


def _continued(
    store: str | None, namespace: str | None, run: str, *, plan: str | None, team: str | None, artifacts: str | None
) -> Continued:
    from coterie.cli.runs.going_on import Continued

    return Continued(_place(store, namespace), run, plan, team, artifacts)


def _seconds(age: str) -> float:
    found = _AGE.match(age)
    if found is None:
        raise Misuse(f"{age!r} is no age; write a whole number and s, m, h or d, as in 30d")
    return float(found[1]) * _UNITS_S[found[2]]
