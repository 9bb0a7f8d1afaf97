"""`coterie runs show`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from coterie.approvals import Approvals, PendingApproval
from coterie.cli.approving import approval_document, asked_lines
from coterie.cli.runs.documents import WORTH_TELLING_S, run_document, run_state, spent, unit_document, worker_of
from coterie.cli.runs.letters import leftovers_document, leftovers_lines, leftovers_of
from coterie.cli.runs.listing import ago, listed_state
from coterie.cli.runs.place import JournalPlace
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console, print_listing
from coterie.cli.words import count_of, seconds
from coterie.errors import CoterieError
from coterie.journal.listing import ListedItem, listed_items, plan_of
from coterie.journal.view import RunView, UnitView, view_run
from coterie.saga import Leftovers

__all__ = ["show_command"]


def show_command(place: JournalPlace, run: str, *, artifacts: str | None, as_json: bool) -> int:
    """One run: how each of its tasks and items stands, what people are asked, and what could not be undone."""

    async def found() -> tuple[RunView, Mapping[str, ListedItem], list[PendingApproval], Leftovers]:
        async with place.opened() as journal:
            view = await view_run(journal, run)
            asked = await Approvals(journal).of_run(run)
            left = await leftovers_of(journal, view)
        return view, await _listed(view, place, artifacts), asked, left

    view, items, asked, left = asyncio.run(found())
    if as_json:
        units = [unit_document(unit, items.get(unit.name)) for unit in view.units]
        approvals = [approval_document(one) for one in asked]
        write_json({**run_document(view), "units": units, "approvals": approvals, **leftovers_document(left)})
        return 0
    _show(view, items)
    for line in [*(line for one in asked for line in asked_lines(one)), *leftovers_lines(view, left)]:
        output_console().print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


async def _listed(view: RunView, place: JournalPlace, artifacts: str | None) -> Mapping[str, ListedItem]:
    """What the items are called; nothing where that cannot be told from here: they have names of their own."""
    if all("/" not in unit.name for unit in view.units):
        return {}
    try:
        store = place.artifacts(artifacts)
        plan = await plan_of(view.header, store)
        return {} if plan is None else await listed_items(view, plan, store)
    except CoterieError:
        return {}


def _show(view: RunView, items: Mapping[str, ListedItem]) -> None:
    console = output_console()
    console.print(Text.assemble((view.workflow_id, "bold"), "  ", listed_state(view)), soft_wrap=True)
    header = view.header
    if header.plan_name:
        console.print(f"  plan   {header.plan_name} ({str(header.plan_hash)[:12]})", markup=False, soft_wrap=True)
    if header.team:
        console.print(f"  team   {header.team}", markup=False, soft_wrap=True)
    console.print(f"  begun  {ago(header.begun_at)} by {header.engine_run}", markup=False, soft_wrap=True)
    if view.claim is not None and view.claim.alive:
        console.print(f"  held   by {view.claim.owner}", markup=False, soft_wrap=True)
    ended = [unit for unit in view.units if unit.state is not None]
    work_s, waited_s = sum(unit.work_s for unit in ended), sum(unit.waited_s for unit in ended)
    told = spent(view.usage, work_s, waited_s)
    console.print(f"  so far {count_of(len(ended), 'end')} recorded: {told}", markup=False, soft_wrap=True)
    print_listing(console, _table(view, items))


def _table(view: RunView, items: Mapping[str, ListedItem]) -> Table:
    table = Table(box=None, pad_edge=False)
    waited = any(unit.waited_s >= WORTH_TELLING_S for unit in view.units)
    for title in ("task", "state", "took", *(["waited"] if waited else []), "attempts", "agent", "by"):
        table.add_column(title, overflow="fold", no_wrap=title == "task")
    places = {name: (item.task_id, item.index) for name, item in items.items()}
    for unit in sorted(view.units, key=lambda unit: places.get(unit.name, (unit.name, 0))):
        item = items.get(unit.name)
        table.add_row(
            Text(item.shown if item is not None else unit.name),
            _state(unit),
            seconds(unit.duration_s) if unit.state is not None else "",
            *([seconds(unit.waited_s) if unit.waited_s >= WORTH_TELLING_S else ""] if waited else []),
            str(unit.attempts or ""),
            _agent(unit),
            Text(unit.by or "", style="dim"),
        )
        if unit.error is not None:
            table.add_row("", Text(str(unit.error), style="red"))
    return table


def _agent(unit: UnitView) -> Text:
    worker = worker_of(unit)
    agent = Text(unit.agent_id or "")
    return agent if worker is None else agent.append(f" at {worker}", style="dim")


def _state(unit: UnitView) -> Text:
    if unit.claim is not None and unit.claim.alive:
        return Text(f"at work: {unit.claim.owner}", style="cyan")
    if unit.state is None and unit.claim is not None:
        return run_state("interrupted")
    state = run_state(unit.state or (None if unit.refused is None else "refused"))
    return state.append(f" (again: {unit.epoch})", style="dim") if unit.epoch else state
