"""The commands about where the time of runs went: arguments and help texts. What they do is in `coterie.cli.trace`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from coterie.cli.failure import told
from coterie.cli.usage import Command, Group
from coterie.errors import Misuse

__all__ = ["add_trace_commands"]

ArtifactsOption = Annotated[
    str | None, typer.Option(metavar="URL", help="Where its outputs are kept; as of `coterie run`.")
]
StoreOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Where the journal lies. By default COTERIE_STORE, else this machine's own file."),
]
NamespaceOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="By default COTERIE_NAMESPACE, else `default`.")
]

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGE = re.compile(r"([0-9]{1,9})([smhd])\Z")

trace = typer.Typer(
    name="trace",
    cls=Group,
    help="See where the time of a run went, while it goes on or after it.",
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def add_trace_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    app.add_typer(trace)


@trace.command(cls=Command)
@told
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    *,
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="Only a task, or TASK/ITEM, and what lies in it.")
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="LEVELS",
            help="So many levels below the run: tasks, items, laps. By default two, the second where it matters.",
        ),
    ] = None,
    slowest: Annotated[bool, typer.Option("--slowest", help="The longest first; else in the order of time.")] = False,
    limit: Annotated[
        int, typer.Option(min=10, max=100_000, metavar="ROWS", help="Rows at most; others are folded into one.")
    ] = 40,
    since: Annotated[
        str | None, typer.Option(metavar="AGE", help="Only what went on since then: 90s, 10m, 12h or 30d ago.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write the whole run as JSON, and nothing else, to standard output.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the whole run as a page to look at in a browser.")
    ] = None,
    artifacts: ArtifactsOption = None,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
) -> int:
    """Show how long a run took, what the time went to, what failed first and why, who is at what, and its tasks.

    Of many tasks those that failed, go on, or were waited for have a row each, then the longest. A star marks the
    critical path: what the end of the run had to wait for.
    """
    from coterie.cli.runs.place import JournalPlace
    from coterie.cli.trace.rows import Choice
    from coterie.cli.trace.showing import Asked, show_command

    choice = Choice(depth, limit, slowest=slowest)
    asked = Asked(run, artifacts, task, None if since is None else _micros(since), choice)
    return show_command(JournalPlace(store, namespace), asked, as_json=as_json, html=html)


@trace.command(cls=Command)
@told
def serve(
    *,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Where to listen. Nobody is asked who he is: beware of other hosts.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, metavar="PORT", help="0: one that is free.")] = 8787,
    artifacts: ArtifactsOption = None,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
) -> int:
    """Serve a list of the runs, and the timeline of each as a page and as JSON, to a browser, until Ctrl-C.

    Pages can only be read, and are made anew from the journal each time. COTERIE_TRACE_URL may lead here.
    """
    from coterie.cli.runs.place import JournalPlace
    from coterie.cli.trace.serving import serve_command

    return serve_command(JournalPlace(store, namespace), artifacts, host=host, port=port)


def _micros(age: str) -> int:
    found = _AGE.match(age)
    if found is None:
        raise Misuse(f"{age!r} is no age; write a whole number and s, m, h or d, as in 10m")
    return int(found[1]) * _UNITS_S[found[2]] * 1_000_000
