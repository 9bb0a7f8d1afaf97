"""The tree of a run as lines of a frame: what `coterie trace show` draws."""

from __future__ import annotations

import io

from rich.console import Console, Group
from rich.text import Text

from coterie.artifacts import ArtifactStore
from coterie.cli.top.drawing import Tree
from coterie.cli.trace.drawing import canvas_for, draw_lines, draw_tree, title_of
from coterie.cli.trace.rows import Choice, chosen_rows
from coterie.cli.trace.telling import lines_of
from coterie.errors import CoterieError
from coterie.journal import Journal
from coterie.timeline import Timeline, critical_path, timeline_of

__all__ = ["Reader", "drawn"]

# Folded are those that matter least.
_ROWS = 200


class Reader:
    """Reads the run that is open. One that ended is read once; all of a run is read, as only somebody asks for it."""

    def __init__(self, journal: Journal, artifacts: ArtifactStore | None) -> None:
        self._journal = journal
        self._artifacts = artifacts
        self._timeline: Timeline | None = None

    async def read(self, run: str) -> tuple[Timeline | None, str | None]:
        """The run's timeline, and why there is nothing newer."""
        known = self._timeline if self._timeline is not None and self._timeline.run == run else None
        if known is not None and known.is_over:
            return known, None
        try:
            self._timeline = await timeline_of(self._journal, run, artifacts=self._artifacts)
        except CoterieError as error:
            return known, str(error)
        return self._timeline, None


def drawn(timeline: Timeline | None, error: str | None, width: int, *, is_utf8: bool) -> Tree:
    """The lines of a timeline, none wider than `width`."""
    if timeline is None:
        return Tree(error=error)
    console = Console(file=_Screen(is_utf8=is_utf8), width=width, force_terminal=True, highlight=False)
    critical = critical_path(timeline.spans, timeline.now_us, rest=timeline.rest)
    rows = chosen_rows(
        timeline.spans, timeline.root.id, Choice(None, _ROWS), critical=frozenset(critical.spans),
        now_us=timeline.now_us,
    )  # fmt: skip
    parts = [draw_lines(title_of(timeline), lines_of(timeline, critical))]
    if rows:
        parts += [Text(), draw_tree(canvas_for(console, timeline, timeline.root, since_us=None), rows)]
    lines = console.render_lines(Group(*parts), pad=False)
    return Tree(tuple(Text.assemble(*((each.text, each.style or "") for each in line)) for line in lines), error)


class _Screen(io.StringIO):
    """Stands for a terminal, of which the console asks the encoding."""

    def __init__(self, *, is_utf8: bool) -> None:
        super().__init__()
        self._is_utf8 = is_utf8

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has it as an attribute
        """What it takes."""
        return "utf-8" if self._is_utf8 else "ascii"
