"""`coterie top` where nothing is live: one frame as text, or one JSON document."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

from rich.console import Console

from coterie.cli.streams import write_json
from coterie.cli.top.drawing import page
from coterie.cli.top.layout import BLOCKS, PLAIN, Signs
from coterie.cli.top.place import TopPlace
from coterie.cli.top.snapshot import Snapshot
from coterie.cli.top.sorting import Sort
from coterie.cli.top.view import View

__all__ = ["is_read", "show_live", "show_once", "signs_of"]


# So many runs the only frame looks at: no next one goes on from there.
_PAGE = 200


def show_once(place: TopPlace, sort: Sort, *, as_json: bool) -> int:
    """Read everything once, show it, and return the exit code: 1 where the store, or a section, could not be read.

    The frame says which, and shows the rest.

    Raises:
        Misuse: there is no such store or team.
    """
    snapshot = asyncio.run(_taken(replace(place, page=_PAGE)))
    code = 0 if is_read(snapshot) else 1
    if as_json:
        write_json(snapshot.document())
        return code
    console = Console(highlight=False)
    wide = not console.is_terminal and "COLUMNS" not in os.environ
    for line in page(snapshot, View(sort=sort), None if wide else console.width, signs_of(console)):
        console.print(line, soft_wrap=True)
    return code


def is_read(snapshot: Snapshot) -> bool:
    """Whether the store and every section answered; a single state that is damaged is a note, and counts for none."""
    return snapshot.head.error is None and all(section.error is None for section in snapshot.sections.values())


def show_live(place: TopPlace, sort: Sort, every_s: float) -> int:
    """Show it until somebody has seen enough; one frame where there is no terminal to show it on."""
    from coterie.cli.top.live import is_possible, live

    console = Console(highlight=False)
    if not is_possible(console):
        return show_once(place, sort, as_json=False)
    return asyncio.run(live(place, View(sort=sort), every_s, console))


def signs_of(console: Console) -> Signs:
    """What the terminal can show."""
    return BLOCKS if console.encoding.lower().startswith("utf") else PLAIN


async def _taken(place: TopPlace) -> Snapshot:
    async with place.opened() as seat:
        return await (await seat.watch()).take()
