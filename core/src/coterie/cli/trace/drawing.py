"""A run's timeline on a terminal: what is to say about it, and below that the tree, with a bar a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from coterie.cli.runs.documents import run_state
from coterie.cli.trace.bars import ASCII, BLOCKS, Scale, Signs, bar
from coterie.cli.trace.columns import WIDEST_BAR, Cells, lines_of_row, names_apart, widths_for
from coterie.cli.trace.notes import note_of, note_of_several
from coterie.cli.trace.rows import Row
from coterie.cli.trace.telling import Told
from coterie.cli.trace.words import took
from coterie.cli.words import MARKS, STYLES, clipped
from coterie.timeline.span import Span, children_of
from coterie.timeline.tree import Timeline

__all__ = ["Canvas", "canvas_for", "draw_lines", "draw_tree", "title_of", "title_of_span"]

_NAME_CHARS = 200
_INDENT = 2
_UNITS = ("task", "item", "undo", "visit")
_MARKS = {**MARKS, "due": "▷", "asking": "?", "interrupted": "■", "open": "?", "refused": "↻"}


@dataclass(frozen=True, slots=True)
class Canvas:
    """What all rows share. width: of the terminal. spans: by id; within: by their parent's id."""

    now_us: int
    width: int
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
    begun_us = top.begun_us if since_us is None else max(top.begun_us, since_us)
    scale = Scale(begun_us, max(begun_us, top.until_us(timeline.now_us)), WIDEST_BAR)
    signs = BLOCKS if console.encoding.lower().startswith("utf") else ASCII
    spans = {span.id: span for span in timeline.spans}
    return Canvas(timeline.now_us, console.width, scale, signs, spans, children_of(timeline.spans))


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
    title = Cells(Text(), Text("task", "dim"), Text("state", "dim"), Text("took", "dim"), Text())
    cells = [title, *(_cells(canvas, row) for row in rows)]
    widths = widths_for(cells, canvas.width)
    canvas = replace(canvas, scale=replace(canvas.scale, width=widths.bar))
    bars = [_scale_title(canvas.scale), *(_bar(canvas, row) for row in rows)]
    lines = [
        line
        for row, name, drawn in zip(cells, names_apart(cells, widths.name), bars, strict=True)
        for line in lines_of_row(row, name, drawn, widths, canvas.width)
    ]
    for line in lines:
        line.no_wrap, line.overflow = True, "crop"
    return Group(*lines, Text("\n".join(_legend(canvas)), style="dim"))


def _scale_title(scale: Scale) -> Text:
    length = took(scale.ended_us - scale.begun_us)
    return Text(f"0{length.rjust(scale.width - 1)}" if len(length) < scale.width - 1 else "0", style="dim")


def _legend(canvas: Canvas) -> Iterator[str]:
    """What the signs mean, in as many lines as it takes."""
    signs = canvas.signs
    parts = [
        "* the end waited for it",
        f"{signs.work} at work",
        f"{signs.waiting} waiting",
        f"{signs.ready} could have begun",
        f"{signs.goes_on} goes on",
    ]
    if any(span.time == "open" for span in canvas.spans.values()):
        parts.append(f"{signs.open} waiting or at work")
    line = parts[0]
    for part in parts[1:]:
        longer = f"{line}   {part}"
        if len(longer) > canvas.width:
            yield line
        line = part if len(longer) > canvas.width else longer
    yield line


def _bar(canvas: Canvas, row: Row) -> Text:
    return Text(canvas.bar(row), style="dim" if row.is_folded else "cyan")


def _cells(canvas: Canvas, row: Row) -> Cells:
    span, style = row.span, "bold" if row.critical else ""
    took_us = sum(each.until_us(canvas.now_us) - each.begun_us for each in row.spans)
    return Cells(
        star=Text("*" if row.critical else "", style="bold"),
        name=Text(_said(_name(row), canvas.signs), style=style),
        state=_state(row, canvas.signs),
        # What went on side by side does not add up.
        took=Text("" if row.is_folded and row.span.kind in _UNITS else took(took_us)),
        note=Text(
            note_of_several(row.spans, canvas.now_us) if row.is_folded else note_of(span), style=_note_style(row)
        ),
        indent=_INDENT * row.level,
    )


def _name(row: Row) -> str:
    span = row.span
    if not row.is_folded:
        attempt = span.facts.get("attempt")
        name = f"{span.name} {attempt}" if span.kind in ("call", "backoff") and attempt is not None else span.name
        return clipped(name, _NAME_CHARS)
    names = {each.name for each in row.spans}
    what = clipped(span.name, _NAME_CHARS) if len(names) == 1 else "more"
    return f"{what} ({len(row.spans):,} times)" if len(names) == 1 else f"… {len(row.spans):,} {what}"


def _said(text: str, signs: Signs) -> str:
    """A text as the terminal says it: whatever is replaced there is a cell wide, as is what stands for a cut."""
    if signs is BLOCKS:
        return text
    return "…".join(part.encode("ascii", "replace").decode() for part in text.split("…"))


def _state(row: Row, signs: Signs) -> Text:
    state = row.span.state
    if row.is_folded or state is None:
        return Text("")
    mark = "" if signs is ASCII else _MARKS.get(state, "")
    return Text(f"{mark} {clipped(state, 20)}".strip(), style=STYLES.get(state, "cyan"))


def _note_style(row: Row) -> str:
    return "red" if row.span.state == "failed" and not row.is_folded else "dim"
