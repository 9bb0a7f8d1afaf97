"""What keys do, and how they come from a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coterie.cli.top.keys import keys_in
from coterie.cli.top.snapshot import SECTIONS, Section
from coterie.cli.top.sorting import Sort
from coterie.cli.top.view import View, ordered, pressed
from tests.fleet.top.frames import NOW, a_run, a_snapshot

SNAPSHOT = a_snapshot()


def after(*keys: str, view: View | None = None, deepest: int = 0) -> View:
    found = view or View()
    for key in keys:
        found = pressed(found, key, SNAPSHOT, deepest=deepest)
    return found


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1b[B\x1bOA", ["up", "down", "up"]),
        (b"\x1b[5~\x1b[6~", ["pageup", "pagedown"]),
        (b"\x1b", ["escape"]),
        (b"\t\r\x7f ", ["tab", "enter", "backspace", "space"]),
        (b"\x1b[Z", ["backtab"]),
        (b"\x1b[1;5A\x1b[200~q", ["q"]),
        ("ä日q".encode(), ["q"]),
        (b"\x00\xff", []),
    ],
)
def test_bytes_of_a_terminal_are_keys(data, keys):
    assert list(keys_in(data)) == keys


def test_arrows_move_the_cursor_over_the_runs_in_their_order():
    names = [row.run for row in ordered(SNAPSHOT.runs.rows, Sort.STATE)]

    assert after("down").chosen == names[1]
    assert after("j", "j", "k").chosen == names[1]
    assert after("end").chosen == names[-1]
    assert after("end", "home").chosen == names[0]
    assert after("down", *["up"] * 5).chosen == names[0]


def test_the_cursor_stays_on_its_run_when_others_come_before_it():
    view = after("down")
    newer = Section((a_run("newest", begun_us=NOW), *SNAPSHOT.runs.rows))

    moved = pressed(view, "down", replace(SNAPSHOT, runs=newer))

    assert view.chosen == "hand-7"
    assert moved.chosen == "news-1"


def test_tab_goes_round_the_sections_and_numbers_choose_one():
    assert after("tab").focus == "agents"
    assert after("backtab").focus == "queues"
    assert after(*["tab"] * len(SECTIONS)).focus == "runs"
    assert after("5").focus == "budgets"


def test_the_number_of_the_chosen_section_shows_it_alone_and_again_all():
    assert not after("3").whole
    assert after("3", "3").whole
    assert not after("3", "3", "3").whole
    assert not after("3", "3", "escape").whole


def test_another_section_scrolls_by_itself():
    view = after("6", "down", "down", "down")

    assert view.places == {"queues": 1}
    assert view.chosen is None


def test_enter_opens_the_run_under_the_cursor_and_escape_closes_it():
    opened = after("down", "enter")

    assert opened.opened == "hand-7"
    assert after("down", "down", view=opened, deepest=9).scroll == 2
    assert after("end", view=opened, deepest=9).scroll == 9
    assert after("end", "up", view=opened, deepest=9).scroll == 8
    assert after("escape", view=opened).opened is None


def test_enter_on_no_run_does_nothing():
    empty = replace(SNAPSHOT, runs=Section())

    assert pressed(View(), "enter", empty) == View()


def test_sorting_goes_round():
    assert [after(*["s"] * n).sort for n in range(6)] == [*Sort, Sort.STATE]


@pytest.mark.parametrize(
    ("sort", "first"),
    [("state", "news-2"), ("age", "news-1"), ("cost", "news-2"), ("failed", "news-1"), ("name", "hand-7")],
)
def test_each_order_puts_what_it_is_about_first(sort, first):
    rows = [replace(row, failed=9) if row.run == "news-1" else row for row in SNAPSHOT.runs.rows]
    rows = [replace(row, begun_us=NOW) if row.run == "news-1" else row for row in rows]

    assert ordered(rows, Sort(sort))[0].run == first


def test_help_is_left_by_any_key_but_q_quits_everywhere():
    assert after("?").help
    assert after("?", "down") == View()
    assert after("?", "q").quits
    assert after("enter", "q").quits


@pytest.mark.parametrize("key", ["x", "9", "0", "right", "backspace"])
def test_a_key_that_means_nothing_changes_nothing(key):
    assert after(key) == View()
