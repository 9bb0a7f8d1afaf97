"""`coterie runs forget`, `erase` and `prune`, and `coterie reap`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from coterie.cli.runs.place import JournalPlace
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console
from coterie.cli.words import count_of
from coterie.journal import Journal
from coterie.journal.tending import erase_run, forget_run, prune_runs, reap_runs

__all__ = ["erase_command", "forget_command", "prune_command", "reap_command"]

T = TypeVar("T")


def forget_command(place: JournalPlace, run: str, unit: str | None, *, as_json: bool) -> int:
    """Have work done anew by whoever asks next."""
    names = asyncio.run(_with(place, lambda journal: forget_run(journal, run, unit)))
    if as_json:
        write_json({"run": run, "forgotten": names})
    else:
        more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
        _say(f"{run}: whoever asks next does anew: {', '.join(names[:20]) or 'nothing, as nothing was done'}{more}")
    return 0


def erase_command(place: JournalPlace, run: str, *, as_json: bool) -> int:
    """Remove a run."""
    asyncio.run(_with(place, lambda journal: erase_run(journal, run)))
    if as_json:
        write_json({"run": run, "erased": True})
    else:
        _say(f"{run}: erased; what only it referred to goes with the next garbage collection of the artifacts")
    return 0


def prune_command(place: JournalPlace, *, older_than_s: float, dry_run: bool, as_json: bool) -> int:
    """Remove old runs that ended."""
    runs = asyncio.run(_with(place, lambda journal: prune_runs(journal, older_than_s=older_than_s, dry_run=dry_run)))
    _tell_runs("pruned", "would be pruned", runs, dry_run=dry_run, as_json=as_json)
    return 0


def reap_command(place: JournalPlace, *, idle_s: float, dry_run: bool, as_json: bool) -> int:
    """End runs that nobody is at."""
    runs = asyncio.run(_with(place, lambda journal: reap_runs(journal, idle_s=idle_s, dry_run=dry_run)))
    _tell_runs("ended as lost", "would be ended as lost", runs, dry_run=dry_run, as_json=as_json)
    return 0


def _tell_runs(done: str, would: str, runs: list[str], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        write_json({"runs": runs, "dry_run": dry_run})
        return
    _say(f"{count_of(len(runs), 'run')} {would if dry_run else done}")
    for run in runs:
        _say(f"  {run}")


async def _with(place: JournalPlace, work: Callable[[Journal], Awaitable[T]]) -> T:
    async with place.opened() as journal:
        return await work(journal)


def _say(line: str) -> None:
    output_console().print(line, markup=False, soft_wrap=True)
