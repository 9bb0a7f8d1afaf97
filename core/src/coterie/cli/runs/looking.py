"""`coterie runs list` and `show`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from coterie._rules.timeline import SECOND
from coterie.approvals import Approvals, PendingApproval
from coterie.cli.approving import approval_document, asked_lines
from coterie.cli.fleet.times import span
from coterie.cli.runs.documents import run_document, run_state, spent, unit_document
from coterie.cli.runs.letters import leftovers_document, leftovers_lines, leftovers_of
from coterie.cli.runs.place import JournalPlace
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console, print_listing
from coterie.cli.words import count_of, seconds
from coterie.errors import CoterieError
from coterie.journal.listing import ListedItem, listed_items, plan_of
from coterie.journal.view import RunView, UnitView, list_runs, view_run
from coterie.saga import Leftovers

__all__ = ["MOST_LISTED", "list_command", "show_command"]

MOST_LISTED = 1000


def list_command(place: JournalPlace, *, limit: int, with_calls: bool, as_json: bool) -> int:
    """The runs that were begun last."""

    async def found() -> tuple[list[RunView], str | None, str]:
        async with place.opened() as journal:
            views, after = await list_runs(journal, limit=limit, with_calls=with_calls)
            while after is not None and len(views) < limit:
                # Calls have taken the room of runs.
                more, after = await list_runs(journal, limit=limit - len(views), after=after, with_calls=with_calls)
                views += more
            return views, after, journal.store.url

    views, after, url = asyncio.run(found())
    if as_json:
        write_json({"journal": url, "runs": [run_document(view) for view in views], "more": after is not None})
        return 0
    console = output_console()
    if not views:
        console.print(f"no runs in {url}", markup=False, soft_wrap=True)
        return 0
    table = Table(box=None, pad_edge=False)
    for title in ("run", "state", "plan", "begun", "by"):
        table.add_column(title, overflow="fold", no_wrap=title == "run")
    for view in views:
        table.add_row(
            Text(view.workflow_id),
            _run_state(view),
            Text(view.header.plan_name or ""),
            _ago(view.header.begun_at),
            Text(view.header.engine_run, style="dim"),
        )
    print_listing(console, table)
    if after is not None:
        told = f"--limit {min(2 * limit, MOST_LISTED)} shows them" if limit < MOST_LISTED else "these were begun last"
        console.print(f"and more; {told}", style="dim", markup=False)
    return 0


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
    console.print(Text.assemble((view.workflow_id, "bold"), "  ", _run_state(view)), soft_wrap=True)
    header = view.header
    if header.plan_name:
        console.print(f"  plan   {header.plan_name} ({str(header.plan_hash)[:12]})", markup=False, soft_wrap=True)
    if header.team:
        console.print(f"  team   {header.team}", markup=False, soft_wrap=True)
    console.print(f"  begun  {_ago(header.begun_at)} by {header.engine_run}", markup=False, soft_wrap=True)
    if view.claim is not None and view.claim.alive:
        console.print(f"  held   by {view.claim.owner}", markup=False, soft_wrap=True)
    ended = [unit for unit in view.units if unit.state is not None]
    work_s = sum(unit.work_s for unit in ended)
    console.print(f"  so far {count_of(len(ended), 'end')} recorded: {spent(view.usage, work_s)}", markup=False)
    print_listing(console, _table(view, items))


def _table(view: RunView, items: Mapping[str, ListedItem]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("task", "state", "took", "attempts", "agent", "by"):
        table.add_column(title, overflow="fold", no_wrap=title == "task")
    places = {name: (item.task_id, item.index) for name, item in items.items()}
    for unit in sorted(view.units, key=lambda unit: places.get(unit.name, (unit.name, 0))):
        item = items.get(unit.name)
        table.add_row(
            Text(item.shown if item is not None else unit.name),
            _state(unit),
            seconds(unit.duration_s) if unit.state is not None else "",
            str(unit.attempts or ""),
            Text(unit.agent_id or ""),
            Text(unit.by or "", style="dim"),
        )
        if unit.error is not None:
            table.add_row("", Text(str(unit.error), style="red"), "", "", "", "")
    return table


def _run_state(view: RunView) -> Text:
    """How a run stands, and how many of its steps its saga has left to people."""
    state = run_state(view.state)
    left = 0 if view.saga is None else view.saga.left
    return state.append(f", {left:,} not undone", style="bold red") if left else state


def _state(unit: UnitView) -> Text:
    if unit.claim is not None and unit.claim.alive:
        return Text(f"at work: {unit.claim.owner}", style="cyan")
    if unit.state is None and unit.claim is not None:
        return run_state("interrupted")
    state = run_state(unit.state)
    return state.append(f" (again: {unit.epoch})", style="dim") if unit.epoch else state


def _ago(at: float) -> str:
    return f"{span(round((time.time() - at) * SECOND))} ago" if at else "?"
