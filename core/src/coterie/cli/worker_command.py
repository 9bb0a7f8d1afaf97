"""The commands about workers: their arguments and help texts. What they do lies in `coterie.cli.worker`."""

from __future__ import annotations

from typing import Annotated

import typer

from coterie.cli.failure import json_wanted, told
from coterie.cli.fleet_commands import JsonOption, NamespaceOption, StoreOption
from coterie.cli.formats import Journalling, LogFormat
from coterie.cli.run_commands import ArtifactsOption, GracefulOption, LogFormatOption
from coterie.cli.usage import Command

__all__ = ["add_worker_commands"]


def add_worker_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    app.command(cls=Command)(worker)
    app.command(cls=Command)(workers)


@told
def worker(
    *,
    team: Annotated[
        str, typer.Option("--team", "-t", metavar="PATH", help="package.module:team, or a team's YAML file.")
    ],
    types: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TYPE,...", help="The agent types that it performs; all that the team has agents for by default."
        ),
    ] = None,
    capacity: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Tasks at a time, of all types; as many as the agents take by default."),
    ] = None,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    artifacts: ArtifactsOption = None,
    worker_id: Annotated[
        str | None, typer.Option("--id", metavar="NAME", help="Its name; one that no other worker has by default.")
    ] = None,
    health: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Answer GET /live and /ready there, for whoever restarts it."),
    ] = None,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Answer GET /metrics there too, as Prometheus reads it.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Work off what waits, then end.")] = False,
    journal: Annotated[
        Journalling,
        typer.Option(
            envvar="COTERIE_JOURNAL",
            help="How durable agents' steps are recorded, so that another worker need not do them again.",
        ),
    ] = Journalling.STRICT,
    lease: Annotated[
        float,
        typer.Option(min=1.0, metavar="SECONDS", help="Unheard of for so long, it is replaced by other workers."),
    ] = 15.0,
    graceful_shutdown_timeout: GracefulOption = None,
    log_format: LogFormatOption = LogFormat.CONSOLE,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
) -> int:
    """Perform tasks that are placed remotely, with the agents of a team, until SIGTERM or Ctrl-C.

    Then it takes no more, lets those at work finish for a while, and gives the rest back to other workers. A second
    signal gives them back at once.
    """
    from coterie.cli.worker.working import WorkerJob, address_of, types_of, worker_command

    job = WorkerJob(
        team=team,
        types=types_of(types or []),
        capacity=capacity,
        store=store,
        namespace=namespace,
        artifacts=artifacts,
        worker_id=worker_id,
        health=address_of(health),
        metrics=metrics,
        once=once,
        journal=journal.value,
        lease_s=lease,
        graceful_shutdown_timeout_s=graceful_shutdown_timeout,
        logs_json=json_wanted(log_format),
    )
    return worker_command(job, quiet=quiet)


@told
def workers(*, store: StoreOption = None, namespace: NamespaceOption = None, as_json: JsonOption = False) -> int:
    """List the workers that are alive, and those that were lost in the last day."""
    from coterie.cli.fleet.reach import Reach
    from coterie.cli.worker.listing import workers_command

    return workers_command(Reach(store, namespace), as_json=as_json)
