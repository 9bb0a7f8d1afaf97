"""Columns that fit a width, rows that fit a height."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from coterie.cli.top.layout import BLOCKS, PLAIN, Column, allotted, bar, laid_out, told_apart

COLUMNS = (
    Column("NAME", least=6),
    Column("STATE", drop=1),
    Column("COUNT", right=True),
    Column("NOTE", least=6, drop=2),
)


def rows(*cells: tuple[str, ...]) -> list[list[Text]]:
    return [[Text(cell) for cell in row] for row in cells]


def plain(columns, cells, width) -> list[str]:
    laid = laid_out(columns, cells, width)
    return [line.plain for line in (laid.head, *laid.lines)]


def test_columns_are_as_wide_as_what_is_in_them():
    cells = rows(("a", "open", "1", "note"), ("longer", "closed", "1,000", ""))

    assert plain(COLUMNS, cells, None) == [
        "NAME    STATE   COUNT  NOTE",
        "a       open        1  note",
        "longer  closed  1,000",
    ]


def test_what_can_be_cut_is_cut_before_a_column_goes():
    cells = rows(("a-name-that-is-long", "open", "1", "a note that is long"))

    assert plain(COLUMNS, cells, 36) == ["NAME        STATE  COUNT  NOTE", "a-name-th…  open       1  a note th…"]


def test_the_column_that_matters_least_goes_first():
    cells = rows(("a-name-that-is-long", "open", "1", "a note that is long"))

    assert plain(COLUMNS, cells, 24) == ["NAME        STATE  COUNT", "a-name-th…  open       1"]


def test_a_column_that_may_go_and_is_empty_takes_no_room():
    assert plain(COLUMNS, rows(("a", "", "1", "")), None) == ["NAME  COUNT", "a         1"]


@given(
    st.lists(st.tuples(*[st.text("aé日🙂 ", max_size=30)] * 4), max_size=5),
    st.integers(1, 120),
)
def test_no_line_is_wider_than_the_terminal(cells, width):
    laid = laid_out(COLUMNS, rows(*cells), width)

    assert all(line.cell_len <= width for line in (laid.head, *laid.lines))


@given(st.lists(st.text("aé日🙂 ", max_size=30), max_size=5), st.integers(1, 40))
def test_what_is_cut_in_the_middle_has_the_width_and_both_ends(names, width):
    for name, cut in zip(names, told_apart([Text(name) for name in names], width), strict=True):
        assert cut.cell_len <= width
        assert cut.plain == name or "…" in cut.plain
        if width >= 3 and name.isascii():
            assert (name[:1], name[-1:]) == (cut.plain[:1], cut.plain[-1:])


def test_names_are_cut_where_they_stay_different():
    days = [Text(f"scheduled__2026-11-{day}T00:00:00+00:00", "bold") for day in (27, 28)]

    cut = told_apart([*days, Text("by hand")], 20)

    assert [each.plain for each in cut] == ["s…-27T00:00:00+00:00", "s…-28T00:00:00+00:00", "by hand"]
    assert cut[0].style == "bold" or cut[0].spans


def test_names_that_stay_different_anywhere_are_cut_at_their_halves():
    assert [cut.plain for cut in told_apart([Text("abcdefgh-1-hgfedcba")], 9)] == ["abcd…dcba"]


@pytest.mark.parametrize(
    ("used", "shown"),
    [
        (0, "----------"),
        (0.001, "#---------"),
        (0.5, "#####-----"),
        (0.999, "#########-"),
        (1, "##########"),
        (7, "##########"),
    ],
)
def test_a_bar_shows_anything_and_is_full_only_when_all_is_used(used, shown):
    assert bar(used, 10, PLAIN).plain == shown
    assert bar(used, 10, BLOCKS).plain == shown.replace("#", "█").replace("-", "░")


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=6),
    st.lists(st.integers(1, 9), min_size=6, max_size=6),
    st.integers(-3, 60),
)
def test_lines_are_shared_out_and_none_is_wasted(wanted, weights, room):
    wants = {str(i): lines for i, lines in enumerate(wanted)}

    given_out = allotted(wants, {str(i): weight for i, weight in enumerate(weights)}, room)

    assert all(0 <= given_out[name] <= wants[name] for name in wants)
    assert all(given_out[name] != 1 or wants[name] == 1 for name in wants)
    assert sum(given_out.values()) <= max(room, 0)
    left = max(room, 0) - sum(given_out.values())
    assert left == 0 or all(given_out[n] == wants[n] or (given_out[n] == 0 and left < 2) for n in wants)
