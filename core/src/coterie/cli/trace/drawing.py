"""A run's timeline on a terminal: what is to say about it, and below that the tree, with a bar a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from coterie.cli.runs.documents import run_state
from coterie.cli.trace.bars import ASCII, BLOCKS, Scale, Signs, bar
from coterie.cli.trace.notes import note_of, note_of_several
from coterie.cli.trace.rows import Row
from coterie.cli.trace.telling import Told
from coterie.cli.trace.words import took
from coterie.cli.words import MARKS, STYLES, clipped
from coterie.timeline.span import Span, children_of
from coterie.timeline.tree import Timeline

__all__ = ["Canvas", "canvas_for", "draw_lines", "draw_tree", "title_of", "title_of_span"]

_NAME_CHARS = 48
_NARROWEST, _WIDEST = 16, 48
# What the columns beside the bar take of a terminal, about.
_BESIDE = 84
_MARKS = {**MARKS, "due": "▷", "asking": "?", "interrupted": "■", "open": "?", "refused": "↻"}


@dataclass(frozen=True, slots=True)
class Canvas:
    """What all rows share. spans: by id; within: by their parent's id."""

    now_us: int
    scale: Scale
    signs: Signs
    spans: Mapping[str, Span]
    within: Mapping[str | None, Sequence[Span]]

    def bar(self, row: Row) -> str:
        """The bar of a row."""
        return bar(row.spans, self.within, self.scale, self.now_us, ready_us=self._ready_us(row), signs=self.signs)

    def _ready_us(self, row: Row) -> int | None:
        """Since when a single span could have begun, where it is known what it waited for."""
        before = [self.spans[link] for link in row.span.links if link in self.spans]
        if row.is_folded or not before or row.span.kind != "task":
            return None
        return max(span.until_us(self.now_us) for span in before)


def canvas_for(console: Console, timeline: Timeline, top: Span, *, since_us: int | None) -> Canvas:
    """A scale from the beginning of `top`, or from since_us, to its end."""
    width = _WIDEST if not console.is_terminal else max(_NARROWEST, min(_WIDEST, console.width - _BESIDE))
    begun_us = top.begun_us if since_us is None else max(top.begun_us, since_us)
    scale = Scale(begun_us, max(begun_us, top.until_us(timeline.now_us)), width)
    signs = BLOCKS if console.encoding.lower().startswith("utf") else ASCII
    spans = {span.id: span for span in timeline.spans}
    return Canvas(timeline.now_us, scale, signs, spans, children_of(timeline.spans))


def draw_lines(title: Text, lines: Sequence[Told]) -> RenderableType:
    """What is to say, a line each."""
    told = Table(box=None, pad_edge=False, show_header=False)
    told.add_column(no_wrap=True, style="dim")
    told.add_column(overflow="fold")
    for line in lines:
        told.add_row(f"  {line.about}", Text(clipped(line.text, 2_000), style="bold red" if line.bad else ""))
    return Group(title, told)


def title_of(timeline: Timeline) -> Text:
    """The run and how it stands."""
    title = Text.assemble((timeline.run, "bold"), "  ", run_state(timeline.state))
    return title.append(f"  {timeline.plan_name}", style="dim") if timeline.plan_name else title


def title_of_span(timeline: Timeline, span: Span) -> Text:
    """One task or item, how it stands, and whose it is."""
    of_run = f"  of {timeline.run}"
    return Text.assemble((clipped(span.name, 100), "bold"), "  ", run_state(span.state), (of_run, "dim"))


def draw_tree(canvas: Canvas, rows: Sequence[Row]) -> RenderableType:
    """The rows with their bars, and what the signs mean."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    table.add_column("task", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    length = took(canvas.scale.ended_us - canvas.scale.begun_us)
    table.add_column(f"0{length.rjust(canvas.scale.width - 1)}", no_wrap=True)
    table.add_column("", no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*_cells(canvas, row))
    signs = canvas.signs
    legend = (
        f"* the end waited for it   {signs.work} at work   {signs.waiting} waiting   "
        f"{signs.ready} could have begun   {signs.goes_on} goes on"
    )
    if any(span.time == "open" for span in canvas.spans.values()):
        legend += f"   {signs.open} waiting or at work"
    return Group(table, Text(legend, style="dim"))


def _cells(canvas: Canvas, row: Row) -> tuple[Text, ...]:
    span, style = row.span, "bold" if row.critical else ""
    took_us = sum(each.until_us(canvas.now_us) - each.begun_us for each in row.spans)
    return (
        Text("*" if row.critical else " ", style="bold"),
        Text("  " * row.level + _name(row), style=style),
        _state(row),
        # What went on side by side does not add up.
        Text("" if row.is_folded and row.span.kind in _UNITS else took(took_us)),
        Text(canvas.bar(row), style="cyan" if not row.is_folded else "dim"),
        Text(note_of_several(row.spans, canvas.now_us) if row.is_folded else note_of(span), style=_note_style(row)),
    )


_UNITS = ("task", "item", "undo", "visit")


def _name(row: Row) -> str:
    span = row.span
    if not row.is_folded:
        attempt = span.facts.get("attempt")
        name = f"{span.name} {attempt}" if span.kind in ("call", "backoff") and attempt is not None else span.name
        return clipped(name, _NAME_CHARS)
    names = {each.name for each in row.spans}
    what = clipped(span.name, _NAME_CHARS) if len(names) == 1 else "more"
    return f"{what} ({len(row.spans):,} times)" if len(names) == 1 else f"… {len(row.spans):,} {what}"


def _state(row: Row) -> Text:
    state = row.span.state
    if row.is_folded or state is None:
        return Text("")
    mark = _MARKS.get(state, "")
    return Text(f"{mark} {clipped(state, 20)}".strip(), style=STYLES.get(state, "cyan"))


def _note_style(row: Row) -> str:
    return "red" if row.span.state == "failed" and not row.is_folded else "dim"
