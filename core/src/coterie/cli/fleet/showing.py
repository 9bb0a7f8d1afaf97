"""Show what the store holds: once, or again whenever it changes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rich.console import RenderableType

from coterie.cli.fleet.drawing import page
from coterie.cli.fleet.reach import Reach
from coterie.cli.fleet.snapshot import Kind, Snapshot, take
from coterie.cli.fleet.watching import watch
from coterie.cli.streams import write_json
from coterie.ids import WorkflowId

__all__ = ["Looked", "show"]


@dataclass(frozen=True, slots=True)
class Looked:
    """How to look. every_s: None to look once. run: of budgets, those of this run alone."""

    reach: Reach
    as_json: bool = False
    every_s: float | None = None
    run: WorkflowId | None = None


def show(looked: Looked, kinds: Sequence[Kind], draw: Callable[[Snapshot], RenderableType]) -> int:
    """Show the states of these kinds, and return the exit code: 1 where some could not be read.

    Raises:
        Misuse: there is no such store or team. Unavailable, StateFormatError: nothing can be read.
    """
    known = looked.reach.known()
    looking = partial(take, known=known, kinds=kinds, run=looked.run)
    if looked.every_s is not None:
        return asyncio.run(watch(looked.reach, looking, draw, as_json=looked.as_json, every_s=looked.every_s))

    async def once() -> Snapshot:
        async with looked.reach.opened() as store:
            return await looking(store)

    snapshot = asyncio.run(once())
    if looked.as_json:
        write_json(snapshot.document())
    else:
        page().print(draw(snapshot))
    sys.stdout.flush()
    for problem in snapshot.problems:
        sys.stderr.write(f"error: {problem.key}: {problem.error}\n")
    return 1 if snapshot.problems else 0
