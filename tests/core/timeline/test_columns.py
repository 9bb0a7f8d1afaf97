"""The tree of `coterie trace show` on terminals of any width: notes give way, and nothing else is lost."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from coterie._rules.lap import Lap
from coterie.cli.trace.columns import Cells, lines_of_row, names_apart, widths_for
from tests.core.timeline.written import BEGUN_S, write
from tests.fleet.top.terminal import Terminal
from tests.support.command_line import coterie, folder

__all__ = ["coterie", "folder"]

ERROR = "the archive of the second department did not answer within the time that it was given, so nothing was kept"
SIZES = pytest.mark.parametrize("width", [60, 80, 100, 120, 150])
# Items in a fold, an error that is long, and a last task that begins when all others have ended.
FOLD = "5 succeeded; 8.0 s to 16 s, median 10 s"


@pytest.fixture(autouse=True)
def clean(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COTERIE_STORE", "COTERIE_NAMESPACE", "COTERIE_JOURNAL", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(folder: Path) -> Path:
    """A run of each kind of rows, in a journal of the folder."""
    items = {
        f"document-{n:02}": (n / 4, n / 4 + length) for n, length in enumerate([20, 21, 22, 25.25, 16, 8, 9, 10, 11])
    }
    items["document-09"] = (3.0, 5.0)
    write(
        {"collect": (0.0, 0.4), "each": (0.0, 0.0), "summarise": (24.0, 24.5), "publish": (24.5, 25.0)},
        items=items, failed={"each/document-09", "publish"}, error=ERROR,
    )  # fmt: skip
    return folder


def on_terminal(folder: Path, width: int, *options: str, **env: str) -> list[str]:
    """What the command shows there, line by line."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    known = {**kept, "TERM": "xterm-256color", "NO_COLOR": "1", "PYTHONUTF8": "1", **env}
    argv = [sys.executable, "-m", "coterie", "trace", "show", "big", *options]
    terminal = Terminal(argv, cwd=folder, env=known, size=(width, 24))
    try:
        assert terminal.ended() == 0
        return terminal.frame.splitlines()
    finally:
        terminal.close()


def tree_of(lines: list[str]) -> list[str]:
    return lines[lines.index("") + 1 :]


def row_of(lines: list[str], name: str) -> str:
    return next(line for line in lines if line[3:].startswith(name))


@SIZES
def test_a_terminal_shows_every_star_name_state_time_and_bar(run, width):
    lines = on_terminal(run, width)
    title, *rows = tree_of(lines)

    assert all(cell_len(line) <= width for line in lines)
    assert len(title[title.index("0") :].rstrip()) >= (20 if width > 60 else 18)
    for name in ("collect", "each", "summarise", "publish"):
        row = row_of(rows, f"{name} ")
        assert "✗ failed" in row if name == "publish" else "✓ succeeded" in row
        assert "█" in row
    assert row_of(rows, "collect").rpartition("succeeded")[2].split()[:2] == ["400", "ms"]
    assert row_of(rows, "each").startswith("*")
    assert len([row for row in rows if "document-" in row and "█" in row]) == 5
    # Whole, beside its row or below it.
    assert any(FOLD in row for row in rows)


@SIZES
def test_long_notes_leave_rows_below_rows_as_they_are(folder, width):
    claim = Lap("claim", round(BEGUN_S * 1e6), 1_000, {"after": "process 4711 on vm", "why": "changed"})
    call = Lap("call", round(BEGUN_S * 1e6), 900_000, {"error": ERROR})
    write({"collect": (0.0, 1.0)}, laps=(claim, call))

    lines = on_terminal(folder, width, "--depth", "3")
    rows = tree_of(lines)

    assert all(cell_len(line) <= width for line in lines)
    assert row_of(rows, "collect")[3:].split()[:5] == ["collect", "✓", "succeeded", "1.0", "s"]
    assert row_of(rows, "  call")[3:].split()[:5] == ["call", "✗", "failed", "900", "ms"]
    assert "█" in row_of(rows, "  call")
    assert any("taken over from process 4711 on vm" in line for line in rows)
    assert any("the archive of the second department" in line for line in rows)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_that_has_letters_alone_gets_the_same_columns(run, width):
    lines = on_terminal(run, width, PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    rows = tree_of(lines)

    assert "\n".join(lines).isascii()
    assert all(len(line) <= width for line in lines)
    assert row_of(rows, "collect")[3:].split()[:4] == ["collect", "succeeded", "400", "ms"]
    assert "#" in row_of(rows, "publish")


def test_what_is_no_terminal_is_as_wide_as_it_needs_to_be_or_as_it_is_told(run, coterie, monkeypatch):
    told = coterie("trace", "show", "big").stdout.splitlines()
    monkeypatch.setenv("COLUMNS", "80")
    narrow = coterie("trace", "show", "big").stdout.splitlines()

    assert row_of(told, "publish").endswith(f"E: {ERROR}"[:99] + "…")
    assert FOLD in row_of(told, "  … 5 more")
    assert "✓ succeeded  400 ms" in row_of(narrow, "collect")
    assert all(len(line.rstrip()) <= 80 for line in narrow)


# The shares, of anything.

texts = st.text("ab日🙂é ", max_size=60)
cells = st.builds(
    lambda star, name, state, took, note, level: Cells(
        Text("*" if star else ""), Text(name), Text(state), Text(took), Text(note), indent=2 * level
    ),
    st.booleans(), texts, st.sampled_from(["", "✓ succeeded", "■ interrupted"]),
    st.sampled_from(["", "8 ms", "59 min 59 s"]), texts, st.integers(0, 3),
)  # fmt: skip


@given(st.lists(cells, min_size=1, max_size=6), st.integers(60, 220))
def test_columns_share_any_width_from_sixty_on(rows, width):
    widths = widths_for(rows, width)
    names = names_apart(rows, widths.name)

    assert all(name.cell_len <= widths.name for name in names)
    assert widths.bar >= 8
    if width >= 80:
        assert widths.bar >= 20
        assert all(name.plain.startswith(" " * row.indent) for row, name in zip(rows, names, strict=True))
    for row, name in zip(rows, names, strict=True):
        first, *below = lines_of_row(row, name, Text("█" * widths.bar), widths, width)
        assert all(line.cell_len <= width for line in (first, *below))
        assert first.plain.startswith(f"{row.star.plain or ' '}  ")
        assert row.state.plain in first.plain
        assert row.took.plain in first.plain
        assert "█" * widths.bar in first.plain
        assert len(below) <= 1


@given(st.lists(cells, min_size=1, max_size=6), st.integers(1, 59))
def test_no_line_is_wider_than_the_smallest_terminal(rows, width):
    widths = widths_for(rows, width)

    for row, name in zip(rows, names_apart(rows, widths.name), strict=True):
        lines = lines_of_row(row, name, Text("█" * widths.bar), widths, width)
        assert all(line.cell_len <= width for line in lines)


def row(name: str, note: str = "", level: int = 0) -> Cells:
    return Cells(Text(), Text(name), Text("✓ succeeded"), Text("1.0 s"), Text(note), indent=2 * level)


def shown(rows: list[Cells], width: int) -> list[str]:
    widths = widths_for(rows, width)
    bars = [Text("█" * widths.bar) for _ in rows]
    named = zip(rows, names_apart(rows, widths.name), bars, strict=True)
    return [line.plain for each, name, bar in named for line in lines_of_row(each, name, bar, widths, width)]


def test_a_short_note_stands_beside_its_row_and_a_long_one_below_where_the_room_is_small():
    lines = shown([row("each", "12 items"), row("… 5 more", FOLD, level=1)], 80)

    assert lines[0].endswith("█  12 items")
    assert lines[1].endswith("█")
    assert lines[2].strip() == FOLD


def test_a_long_note_is_cut_where_much_of_it_has_room():
    (line,) = shown([row("publish", ERROR)], 120)

    assert line.endswith("…")
    assert "the archive of the second department did not" in line


def test_long_names_are_cut_in_the_middle_and_stay_apart():
    names = [f"summarise-the-report-of-the-department-number-{n}-of-2026" for n in (1, 2, 3)]

    lines = shown([row(name, level=1) for name in names], 80)

    assert [line.split()[0] for line in lines] == [f"summarise-the…-{n}-of-2026" for n in (1, 2, 3)]
