"""`coterie runs list`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from coterie._rules.timeline import SECOND
from coterie.cli.fleet.times import span
from coterie.cli.runs.documents import run_document, run_state
from coterie.cli.runs.place import JournalPlace
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console, print_listing
from coterie.journal import Journal
from coterie.journal.view import RunView, list_runs

__all__ = ["MOST_LISTED", "MOST_LOOKED_AT", "Wanted", "ago", "list_command", "listed", "listed_state", "runs_table"]

MOST_LISTED = 1000
# So many runs are looked at for those that stand as is asked for.
MOST_LOOKED_AT = 10_000
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs. states: how they stand; none: however. with_calls: also those with the steps of workers' calls."""

    limit: int
    states: Collection[str] = ()
    with_calls: bool = False


def list_command(place: JournalPlace, wanted: Wanted, *, as_json: bool) -> int:
    """The runs that were begun last."""

    async def found() -> tuple[list[RunView], bool, str]:
        async with place.opened() as journal:
            views, is_more = await listed(journal, wanted)
            return views, is_more, journal.store.url

    views, is_more, url = asyncio.run(found())
    if as_json:
        write_json({"journal": url, "runs": [run_document(view) for view in views], "more": is_more})
        return 0
    console = output_console()
    if not views:
        which = f"{' or '.join(wanted.states)} " if wanted.states else ""
        console.print(f"no {which}runs in {url}", markup=False, soft_wrap=True)
    else:
        print_listing(console, runs_table(views))
    if is_more:
        console.print(f"and more; {_told(wanted, len(views))}", style="dim", markup=False)
    return 0


async def listed(journal: Journal, wanted: Wanted) -> tuple[list[RunView], bool]:
    """The runs, the one begun last first, and whether there are more, or may be.

    Raises:
        Unavailable, StateFormatError: as the journal's store.
    """
    found: list[RunView] = []
    after, looked = None, 0
    while True:
        # Calls take the room of runs; and of those that are asked for, one more tells that there are more.
        limit = _PAGE if wanted.states else wanted.limit - len(found)
        views, after = await list_runs(journal, limit=limit, after=after, with_calls=wanted.with_calls)
        found += [view for view in views if not wanted.states or view.state in wanted.states]
        looked += limit
        enough = wanted.limit + 1 if wanted.states else wanted.limit
        if after is None or len(found) >= enough or looked >= MOST_LOOKED_AT:
            return found[: wanted.limit], after is not None or len(found) > wanted.limit


def runs_table(views: Sequence[RunView]) -> Table:
    """A line a run; on a narrow terminal the plan's name, and by whom it was begun, are cut."""
    table = Table(box=None, pad_edge=False)
    for title in ("run", "state", "plan", "begun", "by"):
        is_cut = title in ("plan", "by")
        table.add_column(title, overflow="ellipsis" if is_cut else "fold", no_wrap=not is_cut)
    for view in views:
        run, by = view.workflow_id, view.header.engine_run
        table.add_row(
            Text(run),
            listed_state(view),
            Text(view.header.plan_name or ""),
            ago(view.header.begun_at),
            # A run that is called after the scheduler's says enough.
            Text(by.partition(".")[0] if by == run else by, style="dim"),
        )
    return table


def listed_state(view: RunView) -> Text:
    """How a run stands, and how many of its steps its saga has left to people."""
    state = run_state(view.state)
    left = 0 if view.saga is None else view.saga.left
    return state.append(f", {left:,} not undone", style="bold red") if left else state


def ago(at: float) -> str:
    """`12 s ago`; at: seconds since the epoch, 0: not known."""
    return f"{span(round((time.time() - at) * SECOND))} ago" if at else "?"


def _told(wanted: Wanted, shown: int) -> str:
    if shown < wanted.limit:
        return f"older ones than the last {MOST_LOOKED_AT:,} were not looked at"
    if wanted.limit < MOST_LISTED:
        return f"--limit {min(2 * wanted.limit, MOST_LISTED)} shows them"
    return "these were begun last"
