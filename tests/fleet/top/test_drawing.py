"""What a frame looks like, of a snapshot that is always the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from coterie.cli.top.drawing import Tree, deepest, frame
from coterie.cli.top.layout import PLAIN
from coterie.cli.top.snapshot import GroupRow, Head, Section, Snapshot, WorkerRow
from coterie.cli.top.view import View
from coterie.remote.registry import WorkerStatus
from tests.fleet.top.frames import NOW, a_run, a_snapshot, drawn, whole

NARROW = """\
coterie top  default  redis://fleet:6379/0  0.8 ms  2026-11-28 07:30:00 UTC
workers 1   calls 3.5/s   cost 4.20/h
▸1 RUNS  1 running, 1 failed, 1 waiting
RUN     STATE    ENDED  FAILED   ITEMS         AGE  COST  NOW
news-2  running    2/4       1  57/100  1 min 30 s  1.25  write 57/100
hand-7  waiting    1/2                   2 h 0 min        a person: sign
news-1  failed     3/4       1                30 s        check: TimeoutError: …
 2 AGENTS  4 of 4 slots in use; workers: 1 alive
OF          TYPE             STATE     IN USE              QUEUE  OLDEST
pool        writer           2 agents     4/4  ██████████      2   8.0 s
worker w-1  linter, scanner  alive        1/4  ██░░░░░░░░
 3 BREAKERS  1 open  1-1 of 2
BREAKER    STATE   SINCE  TRIES AGAIN         FAILED
checker-1  open     30 s      in 12 s  1 of 8 (12 %)
 4 LIMITS  1
LIMIT   LEFT           NEXT CALL  TAKEN
writer  requests 3/10  now        1,234
 5 BUDGETS  1
BUDGET  SPENT  HELD  LIMIT                      ENDS IN
money    1.90  0.05   2.00  █████████░  97 %  1 h 0 min
 6 QUEUES  12 tasks waiting, 2 given up  1-1 of 2
QUEUE            OF      WAITING     OLDEST  CLAIMED  BY  DEAD
linter           tasks        12       45 s        3   1
q quit  p pause  ↑↓ move  tab 1-6 section  ⏎ open  s sort: state  ? help"""

WIDE = """\
coterie top  default  redis://fleet:6379/0  0.8 ms  2026-11-28 07:30:00 UTC
workers 1   calls 3.5/s   cost 4.20/h
▸1 RUNS  1 running, 1 failed, 1 waiting
RUN     PLAN  STATE    ENDED  FAILED   ITEMS         AGE  COST  NOW
news-2  news  running    2/4       1  57/100  1 min 30 s  1.25  write 57/100
hand-7        waiting    1/2                   2 h 0 min        a person: sign
news-1  news  failed     3/4       1                30 s        check: TimeoutError: late
 2 AGENTS  4 of 4 slots in use; workers: 1 alive
OF          TYPE             STATE     IN USE              QUEUE  OLDEST
pool        writer           2 agents     4/4  ██████████      2   8.0 s
worker w-1  linter, scanner  alive        1/4  ██░░░░░░░░
 3 BREAKERS  1 open
BREAKER    STATE   SINCE  TRIES AGAIN         FAILED
checker-1  open     30 s      in 12 s  1 of 8 (12 %)
writer-1   closed   30 s               1 of 8 (12 %)
 4 LIMITS  1
LIMIT   LEFT           NEXT CALL  TAKEN
writer  requests 3/10  now        1,234
 5 BUDGETS  1
BUDGET  SPENT  HELD  LIMIT                      ENDS IN
money    1.90  0.05   2.00  █████████░  97 %  1 h 0 min
 6 QUEUES  12 tasks waiting, 2 given up
QUEUE            OF      WAITING     OLDEST  CLAIMED  BY  DEAD
linter           tasks        12       45 s        3   1
events: billing  events        7  5 min 0 s            0     2
q quit  p pause  ↑↓ move  tab 1-6 section  ⏎ open  s sort: state  ? help"""


@pytest.mark.parametrize(("width", "height", "shown"), [(80, 24, NARROW), (140, 26, WIDE)])
def test_a_busy_team_at_two_sizes(width, height, shown):
    assert "\n".join(drawn(a_snapshot(), width=width, height=height)) == shown


def test_a_terminal_without_blocks_gets_letters():
    lines = drawn(a_snapshot(), width=140, signs=PLAIN)

    assert "\n".join(lines).isascii()
    assert lines[2].startswith(">1 RUNS")
    assert "##########" in lines[9]


@given(st.integers(1, 200), st.integers(1, 60), st.booleans(), st.sampled_from(["runs", "agents", "queues"]))
def test_a_frame_is_never_larger_than_the_terminal(width, height, is_whole, focus):
    rows = tuple(a_run(f"run-日本-{n}", now="x" * 300) for n in range(40))
    snapshot = a_snapshot(runs=Section(rows, error="gone", old_s=5, notes=("a note",)))

    lines = frame(snapshot, View(focus=focus, whole=is_whole), width, height)

    assert len(lines) == height
    assert all(line.cell_len <= width for line in lines)
    assert all("\n" not in line.plain for line in lines)


def test_what_does_not_fit_is_counted_and_the_cursor_stays_in_sight():
    rows = tuple(a_run(f"run-{n:02}", begun_us=NOW - n) for n in range(40))
    snapshot = a_snapshot(runs=Section(rows))

    lines = drawn(snapshot, View(chosen="run-30"))

    assert lines[2].endswith("of 40")
    assert any(line.startswith("run-30 ") for line in lines)
    assert not any(line.startswith("run-00 ") for line in lines)


def test_runs_that_differ_only_in_the_midst_of_their_names_are_told_apart():
    names = [f"airflow.press.scheduled__2026-11-{day}T00:00:00+00:00" for day in range(20, 26)]
    rows = tuple(a_run(name, plan="press", total=12, done=3, now="write 57/100 (6 in line)") for name in names)

    lines = drawn(a_snapshot(runs=Section(rows)), View(whole=True))

    shown = [line.split()[0] for line in lines if line.startswith("a")]
    assert len(set(shown)) == len(names)
    assert all(f"-{day}T00:00:00+00:00" in " ".join(shown) for day in range(20, 26))


def test_one_section_alone_has_the_whole_terminal():
    lines = drawn(a_snapshot(), View(focus="queues", whole=True))

    assert lines[2].startswith("▸6 QUEUES")
    assert not any("RUNS" in line for line in lines)
    assert any(line.startswith("events: billing") for line in lines)


def test_a_section_that_cannot_be_read_says_so_in_its_place_above_what_was():
    section = replace(a_snapshot().breakers, error="the store did not answer", old_s=12.0)

    lines = drawn(a_snapshot(breakers=section), width=140, height=30)

    place = next(n for n, line in enumerate(lines) if "3 BREAKERS" in line)
    assert lines[place + 1] == "the store did not answer; this was 12 s ago"
    assert lines[place + 3].startswith("checker-1  open")
    assert any(line.startswith("writer  requests") for line in lines)


def test_a_store_that_is_away_is_told_at_the_top_and_that_it_is_asked_again():
    head = Head("default", "redis://fleet:6379/0", error="connection refused", away_s=7.0)

    lines = drawn(a_snapshot(head=head))

    assert lines[1] == "the store is away, for 7.0 s, and asked again: connection refused"


def test_what_a_run_says_cannot_draw_on_the_terminal():
    runs = Section((a_run("evil", state="failed", ended_us=NOW, now="x"),), error="bad \x1b[2J\x07 thing\nline")

    text = "\n".join(drawn(a_snapshot(runs=runs)))

    assert "\x1b" not in text
    assert "\x07" not in text


def test_nothing_at_all_is_a_frame_too():
    lines = drawn(Snapshot(head=Head("default", "sqlite:///x")))

    assert lines[1] == "workers ?   calls ?/s   cost ?/h"
    titles = [line.split()[-2] for line in lines if line.endswith("none")]
    assert titles == ["RUNS", "AGENTS", "BREAKERS", "LIMITS", "BUDGETS", "QUEUES"]


def test_a_page_has_all_rows_and_no_marks():
    lines = whole(a_snapshot(runs=Section(tuple(a_run(f"run-{n:02}") for n in range(100)))))

    assert sum(line.startswith("run-") for line in lines) == 100
    assert "▸" not in "\n".join(lines)


def test_an_open_run_is_scrolled_and_no_further_than_its_end():
    tree = Tree(tuple(Text(f"line {n}") for n in range(50)))

    top = drawn(a_snapshot(), View(opened="news-1"), tree=tree)
    end = drawn(a_snapshot(), View(opened="news-1", scroll=deepest(tree, 24)), tree=tree)

    assert (top[2], top[22]) == ("line 0", "line 20")
    assert (end[2], end[22]) == ("line 29", "line 49")


def test_help_fits_a_small_terminal():
    lines = frame(a_snapshot(), View(help=True), 80, 24)

    assert not any(line.plain.endswith("…") for line in lines)
    assert any("by the policies of the team" in line.plain for line in lines)


def test_what_a_lost_worker_was_at_is_not_drawn_as_if_it_still_were():
    worker = WorkerStatus("w-2", "lost", ("linter",), 2, 2, "host 13", 60.0, 12.0)

    lines = drawn(a_snapshot(agents=Section((WorkerRow(worker),))), width=140)

    assert "worker w-2  linter  lost 12 s ago" in lines


def test_events_that_no_group_reads_wait_for_nobody():
    row = GroupRow(topic="events", group="", lag=216, claimed=0, dead=0, consumers=0)

    lines = drawn(a_snapshot(queues=Section((row,))), View(focus="queues", whole=True))

    assert lines[4] == "events  216 events kept, no group"


def test_pausing_is_seen():
    assert drawn(a_snapshot(), View(paused=True))[1].endswith("paused")
