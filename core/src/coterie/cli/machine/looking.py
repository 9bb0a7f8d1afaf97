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
from coterie.errors import Misuse
from coterie.machine import StateMachine
from coterie.machine_run import MachineStatus, StateMachineRun
from coterie.machine_run.file import MachineFile

__all__ = ["draw_command", "history_command", "print_status", "show_command"]


def show_command(place: JournalPlace, run: str, *, as_json: bool) -> int:
    """Where a machine is, and what it takes there."""
    status = asyncio.run(_status(place, run))
    if as_json:
        write_json(status_document(status))
    else:
        print_status(status)
    return 0


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


def print_status(status: MachineStatus) -> None:
    """Where a machine is, for people."""
    console = output_console()
    state = run_state(status.status or ("waiting" if status.phase == "waiting" else "running"))
    console.print(Text.assemble((status.workflow_id, "bold"), "  ", state), soft_wrap=True)
    lines = [f"machine  {status.machine_name} ({status.machine_hash[:12]})"]
    since = clock_time(round(status.entered_at * SECOND))
    lines.append(f"state    {status.state} (visit {status.visit}), since {since}")
    if status.error is not None:
        lines.append(f"error    {status.error}")
    if status.events:
        lines.append(f"takes    {', '.join(status.events)}")
        lines.append(f"send     coterie machine send {status.workflow_id} EVENT --visit {status.visit}")
    if status.timeout_in_s is not None:
        lines.append(f"timeout  in {span(round(status.timeout_in_s * SECOND))}")
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
    return table


async def _status(place: JournalPlace, run: str) -> MachineStatus:
    async with place.opened() as journal:
        return await StateMachineRun(journal, run).status()
