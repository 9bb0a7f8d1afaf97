"""`coterie workers`: who works, and since when."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from rich.table import Table

from coterie.cli.fleet.reach import Reach
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console
from coterie.errors.root import in_words
from coterie.remote.clock import is_off, off_in_words
from coterie.remote.registry import WorkerStatus, list_workers

__all__ = ["workers_command"]


def workers_command(reach: Reach, *, as_json: bool) -> int:
    """List the workers, and return the exit code."""
    found = asyncio.run(_listed(reach))
    if as_json:
        write_json({"workers": [asdict(each) for each in found]})
        return 0
    console = output_console()
    if not found:
        console.print("no worker is there; start one: coterie worker --team package.module:team", markup=False)
        return 0
    table = Table(box=None, pad_edge=False)
    clocks = [_clock(each) for each in found]
    # Of all of them right, nobody wants to know.
    more = ("CLOCK",) if any(clocks) else ()
    for name in ("WORKER", "STATE", "TYPES", "BUSY WHEN HEARD", "PROCESS", "SINCE", "HEARD OF", *more):
        table.add_column(name, overflow="fold")
    for each, clock in zip(found, clocks, strict=True):
        table.add_row(*_row(each), *((clock,) if more else ()))
    console.print(table, markup=False)
    return 0


async def _listed(reach: Reach) -> list[WorkerStatus]:
    async with reach.opened() as store:
        return await list_workers(store)


def _row(worker: WorkerStatus) -> tuple[str, ...]:
    return (
        worker.id,
        worker.state,
        ", ".join(worker.types),
        f"{worker.in_use}/{worker.capacity}",
        worker.process,
        in_words(worker.since_s),
        f"{in_words(worker.seen_s)} ago",
    )


def _clock(worker: WorkerStatus) -> str:
    """How far it is off, where that is worth a word."""
    return off_in_words(worker.clock_off_s) if is_off(worker.clock_off_s) else ""
