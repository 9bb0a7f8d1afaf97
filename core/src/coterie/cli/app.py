"""The commands: their arguments and help texts. What they do lies in the modules beside this one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from coterie import __version__
from coterie.cli.approval_commands import add_approval_commands
from coterie.cli.doctor_command import add_doctor_command
from coterie.cli.event_commands import add_event_commands
from coterie.cli.failure import DEBUG, json_wanted, told
from coterie.cli.fleet_commands import add_fleet_commands
from coterie.cli.formats import Format, Journalling, LogFormat
from coterie.cli.machine_commands import add_machine_commands
from coterie.cli.run_commands import LogFormatOption, add_run_commands
from coterie.cli.streams import allow_any_text
from coterie.cli.top_command import add_top_command
from coterie.cli.trace_commands import add_trace_commands
from coterie.cli.usage import Command, Group
from coterie.cli.worker_command import add_worker_commands

__all__ = ["app", "run"]

app = typer.Typer(
    name="coterie",
    cls=Group,
    help="Coordinate a team of agents: run plans, look at them, review code, tend what a fleet shares.",
    epilog="Exit codes: 0 succeeded, 3 partial, 1 failed, 130 cancelled, 2 misuse.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

PlanArgument = Annotated[
    str,
    typer.Argument(
        metavar="PLAN",
        help="A YAML or JSON file, or package.module:plan (a Plan, or a function that returns one).",
    ),
]
TeamOption = Annotated[
    str, typer.Option("--team", "-t", metavar="PATH", help="package.module:team, or a team's YAML file.")
]
ParamOption = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="NAME=VALUE",
        help="A parameter of the plan; the value is JSON where it can be read so, else text. Repeatable.",
    ),
]
ArtifactsOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where outputs are kept: a folder or an fsspec URL. By default COTERIE_ARTIFACTS, a folder in "
        "COTERIE_HOME, or one in the user's cache.",
    ),
]
RunIdOption = Annotated[str | None, typer.Option(metavar="ID", help="The run's identity; a new one by default.")]
JournalOption = Annotated[
    Journalling,
    typer.Option(
        envvar="COTERIE_JOURNAL",
        help="How durable what is finished is recorded, so that `coterie runs resume` need not do it again: through a "
        "power cut (strict), or through the end of the process (relaxed).",
    ),
]
GracefulOption = Annotated[
    float | None,
    typer.Option(
        "--graceful-shutdown-timeout",
        metavar="SECONDS",
        envvar="COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S",
        help="How long agents that are at work may go on after SIGTERM; by default 10.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, and nothing else, to standard output.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    allow_any_text()
    try:
        app(args=list(argv), prog_name="coterie")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


def _known_formats(given: list[str] | None) -> list[str] | None:
    for each in given or ():
        if each not in set(Format):
            raise typer.BadParameter(f"{each!r} is not one of {', '.join(Format)}")
    return given


# typer calls it with the value alone.
def _show_version(wanted: bool) -> None:  # noqa: FBT001
    if wanted:
        typer.echo(f"coterie {__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="COTERIE_DEBUG", help="Show the traceback of an error too.")
    ] = False,
) -> None:
    """Hold what concerns every command."""
    DEBUG.set(debug)


@app.command("run", cls=Command)
@told
def run_plan(
    plan: PlanArgument,
    *,
    team: TeamOption,
    param: ParamOption = None,
    artifacts: ArtifactsOption = None,
    run_id: RunIdOption = None,
    journal: JournalOption = Journalling.STRICT,
    graceful_shutdown_timeout: GracefulOption = None,
    log_format: LogFormatOption = LogFormat.CONSOLE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Run a plan with a team, in this process.

    What a run of the same id has finished before is not done again.

    Progress goes to standard error, the result to standard output. Ctrl-C cancels the run, ends its agents
    and shows what was done; a second one ends at once. SIGTERM lets agents that are at work finish first.
    """
    from coterie.cli.running import run_command

    return run_command(
        plan,
        team,
        params=param or [],
        artifacts=artifacts,
        run_id=run_id,
        journal=journal.value,
        graceful_shutdown_timeout_s=graceful_shutdown_timeout,
        logs_json=json_wanted(log_format),
        as_json=as_json,
        quiet=quiet,
    )


@app.command(cls=Command)
@told
def validate(
    plan: PlanArgument,
    *,
    team: Annotated[
        str | None, typer.Option("--team", "-t", metavar="PATH", help="Also check that this team can run it.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Check a plan without running it: ids, dependencies, cycles, parameters, and a team's agent types."""
    from coterie.cli.looking import validate_command

    return validate_command(plan, team, as_json=as_json)


@app.command(cls=Command)
@told
def graph(
    plan: PlanArgument,
    *,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Write a Mermaid flow chart instead.")] = False,
    limit: Annotated[
        int, typer.Option(min=1, metavar="ROWS", help="Rows at most; equal neighbours share one above that.")
    ] = 100,
) -> int:
    """Draw a plan: one row a task, one line for each set of tasks that others wait for."""
    from coterie.cli.looking import graph_command

    return graph_command(plan, mermaid=mermaid, limit=limit)


@app.command(cls=Command)
@told
def review(
    source: Annotated[str, typer.Argument(metavar="PATH_OR_URL", help="A folder, or a git repository's URL.")],
    *,
    revision: Annotated[
        str | None, typer.Option(metavar="REV", help="Branch, tag or commit; the default branch if left out.")
    ] = None,
    run_tests: Annotated[
        bool,
        typer.Option("--run-tests", help="Run the project's tests too. This executes the reviewed code."),
    ] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The folder that the reports go to.")
    ] = Path("coterie-review"),
    formats: Annotated[
        # Not the enumeration: typer would tell of a wrong one in the words of the library that reads it.
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="|".join(Format),
            callback=_known_formats,
            help="Which reports to write; all by default. Repeatable.",
        ),
    ] = None,
    artifacts: ArtifactsOption = None,
    run_id: RunIdOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Review Python code with a team of agents: style, security, structure, tests, documentation.

    Writes report.json, report.md, report.html and report.sarif, or those that are chosen; of an earlier review no
    report stays beside them. Findings do not change the exit code.
    """
    from coterie.cli.review import Order, review_command

    order = Order(source, revision, run_tests, output, tuple(map(Format, formats or Format)))
    return review_command(order, artifacts=artifacts, run_id=run_id, as_json=as_json, quiet=quiet)


add_run_commands(app)
add_approval_commands(app)
add_machine_commands(app)
add_fleet_commands(app)
add_event_commands(app)
add_worker_commands(app)
add_trace_commands(app)
add_doctor_command(app)
add_top_command(app)
