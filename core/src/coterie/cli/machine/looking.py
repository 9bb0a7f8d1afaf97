"""`coterie machine show`, `history` and `draw`."""

from __future__ import annotations

import asyncio
import sys

from rich.table import Table
from rich.text import Text

from coterie._rules.machine_record import Visit
from coterie._rules.timeline import SECOND
from coterie.cli.fleet.times import clock_time, span
from coterie.cli.machine.documents import status_document, visit_document
from coterie.cli.runs.documents import run_state
from coterie.cli.runs.place import JournalPlace
from coterie.cli.sources import load_machine
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console
from coterie.cli.words import clipped
from coterie.errors import Misuse
from coterie.journal import Journal
from coterie.journal.view import view_run
from coterie.machine import StateMachine
from coterie.machine_run import MachineStatus, StateMachineRun
from coterie.machine_run.file import MachineFile

__all__ = ["draw_command", "history_command", "is_left", "left_line", "print_status", "show_command"]

# Longer errors are in `--json`.
_ERROR_CHARS = 400


def show_command(place: JournalPlace, run: str, *, as_json: bool) -> int:
    """Where a machine is, and what it takes there."""

    async def found() -> tuple[MachineStatus, bool]:
        async with place.opened() as journal:
            status = await StateMachineRun(journal, run).status()
            return status, await is_left(journal, status)

    status, left = asyncio.run(found())
    if as_json:
        write_json(status_document(status))
    else:
        print_status(status, left=left)
    return 0


async def is_left(journal: Journal, status: MachineStatus) -> bool:
    """Whether there is something to do, and nobody is at it: whoever runs the machine will be within a second."""
    if status.phase != "acting" and not status.overdue_s:
        return False
    return (await view_run(journal, status.workflow_id)).state != "running"


def left_line(run: str) -> str:
    """What to do about a machine that nobody is at."""
    how = f"coterie machine run MACHINE --team TEAM --run-id {run}"
    return f"nobody is at it now; if no process runs the machine, go on with it: {how}"


def history_command(place: JournalPlace, run: str, *, after: int, limit: int, as_json: bool) -> int:
    """The visits that were left, in order."""

    async def found() -> tuple[Visit, ...]:
        async with place.opened() as journal:
            return await StateMachineRun(journal, run).history(after=after, limit=limit + 1)

    visits = asyncio.run(found())
    visits, more = visits[:limit], len(visits) > limit
    if as_json:
        write_json({"run": run, "visits": [visit_document(visit) for visit in visits], "more": more})
        return 0
    console = output_console()
    console.print(_table(visits))
    if more:
        console.print(f"and more; --after {visits[-1].number} shows them", style="dim", markup=False)
    return 0


def draw_command(place: JournalPlace, machine: str | None, run: str | None) -> int:
    """The machine as Mermaid; where its run is, is marked."""
    if run is None:
        if machine is None:
            raise Misuse("nothing is to be drawn; name a machine, or a run of one with --run")
        sys.stdout.write(load_machine(machine).to_mermaid())
        return 0

    async def found() -> tuple[StateMachine, str]:
        async with place.opened() as journal:
            file = MachineFile(journal, run)
            head, _ = await file.head()
            return (await file.definition(head.version)).machine, head.state

    known, state = asyncio.run(found())
    drawn = load_machine(machine) if machine is not None else known
    sys.stdout.write(drawn.to_mermaid(current=state))
    return 0


def print_status(status: MachineStatus, *, left: bool = False) -> None:
    """Where a machine is, for people. left: as `is_left` says."""
    console = output_console()
    state = run_state(status.status or ("waiting" if left or status.phase == "waiting" else "running"))
    console.print(Text.assemble((status.workflow_id, "bold"), "  ", state), soft_wrap=True)
    lines = [f"machine  {status.machine_name} ({status.machine_hash[:12]})"]
    since = clock_time(round(status.entered_at * SECOND))
    lines.append(f"state    {status.state} (visit {status.visit}), since {since}")
    if status.error is not None:
        lines.append(f"error    {status.error}")
    if status.events:
        lines.append(f"takes    {', '.join(status.events)}")
        lines.append(f"send     coterie machine send {status.workflow_id} EVENT --visit {status.visit}")
    if status.overdue_s:
        due = f"due {span(round(status.overdue_s * SECOND))} ago, taken by the next event or whoever runs the machine"
        lines.append(f"timeout  {due}")
    elif status.timeout_in_s is not None:
        lines.append(f"timeout  in {span(round(status.timeout_in_s * SECOND))}")
    if left and status.phase == "acting":
        lines.append(f"action   of {status.state!r} is due; {left_line(status.workflow_id)}")
    for line in lines:
        console.print(f"  {line}", markup=False, soft_wrap=True)


def _table(visits: tuple[Visit, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("visit", "state", "left by", "to", "who", "after", "at"):
        table.add_column(title, overflow="fold")
    for visit in visits:
        left = visit.left if visit.left is not None else visit.entered
        table.add_row(
            str(visit.number),
            Text(visit.state),
            Text(visit.trigger or ""),
            Text(visit.to or ""),
            Text(visit.who),
            span(left - visit.entered),
            Text(clock_time(left), style="dim"),
        )
        if visit.error is not None:
            table.add_row("", Text(clipped(str(visit.error), _ERROR_CHARS), style="red"), "", "", "", "", "")
    return table
