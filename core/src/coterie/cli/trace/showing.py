"""`coterie trace show`: one run's timeline as text, as JSON, or as a page."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from coterie.cli.fleet.drawing import page
from coterie.cli.runs.place import JournalPlace
from coterie.cli.trace.drawing import canvas_for, draw_lines, draw_tree, title_of, title_of_span
from coterie.cli.trace.holding import timeline_with_holds
from coterie.cli.trace.rows import Choice, chosen_rows
from coterie.cli.trace.telling import lines_of, lines_of_span
from coterie.errors import Misuse
from coterie.timeline import Span, Timeline, document_of
from coterie.timeline.sums import task_of

__all__ = ["Asked", "show_command"]

_NAMED = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a run is to be shown. artifacts: the store's URL. task: one task alone. since_us: how long ago."""

    run: str
    artifacts: str | None = None
    task: str | None = None
    since_us: int | None = None
    choice: Choice = field(default_factory=Choice)


def show_command(place: JournalPlace, asked: Asked, *, as_json: bool, html: Path | None) -> int:
    """Show it; `html`: the file that the page is written to."""
    # Tens of thousands of small objects, none of them in a cycle, in a process that ends soon.
    gc.disable()
    try:
        return _shown(asyncio.run(_found(place, asked)), asked, as_json=as_json, html=html)
    finally:
        gc.enable()


def _shown(timeline: Timeline, asked: Asked, *, as_json: bool, html: Path | None) -> int:
    if as_json or html is not None:
        document = document_of(timeline)
        if html is not None:
            _write_page(document, html)
        if as_json:
            _write_lines(document)
        return 0
    _show(page(), timeline, asked)
    return 0


async def _found(place: JournalPlace, asked: Asked) -> Timeline:
    async with place.opened() as journal:
        return await timeline_with_holds(place, journal, asked.run, place.artifacts_if_any(asked.artifacts))


def _show(console: Console, timeline: Timeline, asked: Asked) -> None:
    critical = timeline.critical_path()
    top = timeline.root if asked.task is None else _task(timeline, asked.task)
    if top is timeline.root:
        title, lines = title_of(timeline), lines_of(timeline, critical)
    else:
        title, lines = title_of_span(timeline, top), lines_of_span(timeline, critical, top)
    console.print(draw_lines(title, lines))
    choice = _choice(asked, timeline, top)
    rows = chosen_rows(timeline.spans, top.id, choice, critical=frozenset(critical.spans), now_us=timeline.now_us)
    if rows:
        console.print()
        console.print(draw_tree(canvas_for(console, timeline, top, since_us=choice.since_us), rows))


def _choice(asked: Asked, timeline: Timeline, top: Span) -> Choice:
    choice = asked.choice
    if choice.depth is None and top is not timeline.root:
        # Somebody who asks for one task wants to see into it.
        choice = replace(choice, depth=2)
    return choice if asked.since_us is None else replace(choice, since_us=timeline.now_us - asked.since_us)


def _task(timeline: Timeline, name: str) -> Span:
    """The span of a task, or of TASK/ITEM.

    Raises:
        Misuse: nothing of that name has begun; says what has, or what it waits for.
    """
    units = [span for span in timeline.spans if span.kind in ("task", "item", "undo", "visit")]
    # What is no item first: an item's key may be any task's name.
    for span in sorted(units, key=lambda span: span.kind == "item"):
        if name in (span.id, span.id.partition("/")[2], span.name, f"{task_of(span)}/{span.name}"):
            return span
    ahead = next((one for one in timeline.ahead if one.task_id == name), None)
    if ahead is not None:
        waits = f": it waits for {', '.join(ahead.waits_for[:_NAMED])}" if ahead.waits_for else ""
        raise Misuse(f"{name!r} of the run {timeline.run!r} has not begun{waits}; look at the run without --task")
    known = ", ".join([span.name for span in units if span.kind != "item"][:_NAMED])
    raise Misuse(f"the run {timeline.run!r} has no {name!r}; what has begun: {known or 'nothing'}")


def _write_page(document: Mapping[str, Any], file: Path) -> None:
    from coterie.timeline.page import page_of

    try:
        file.write_text(page_of(document), "utf-8")
    except OSError as error:
        raise Misuse(f"the page cannot be written to {str(file)!r}: {error.strerror}; name another file") from error
    sys.stderr.write(f"wrote {file}\n")


def _write_lines(document: Mapping[str, Any]) -> None:
    """One span a line: quick to write, and found by programs that read lines."""
    parts = [f"{json.dumps(name)}: {_lines(value)}" for name, value in document.items()]
    sys.stdout.write("{\n" + ",\n".join(parts) + "\n}\n")


def _lines(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(map(json.dumps, value)) + "\n]"
    return json.dumps(value)
