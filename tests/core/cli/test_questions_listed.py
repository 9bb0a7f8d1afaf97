"""`coterie approvals`, drawn: whatever the terminal is like, the question can be read and the run be copied."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from coterie.approval import Approval
from coterie.approvals import PendingApproval
from coterie.cli.approving import approval_document, asked_lines, print_asked

NOW_S = 1_000_125.0
LONG_RUN = f"airflow.news_paper_{'x' * 20}.manual__2026-11-27T21:10"
QUESTION = "Shall the report of last night be published as it is, with the new title?"
SHORT = PendingApproval("paper-12", "sign-off", "editor", Approval("Publish?"), asked_at=1_000_000.0)
LONG = PendingApproval(
    LONG_RUN,
    "sign-off",
    "editor",
    Approval(QUESTION, assignees=("ann", "ben")),
    asked_at=1_000_000.0,
    until=1_003_845.0,
    place="airflow",
    where="news_paper/sign-off",
)


def printed(*pending: PendingApproval, width: int, terminal: bool = True) -> list[str]:
    """The lines, without the blanks at their ends."""
    console = Console(width=width, force_terminal=terminal, file=io.StringIO(), color_system=None)
    print_asked(console, pending, NOW_S)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_terminal_shows_a_table_of_what_is_known():
    assert printed(SHORT, width=80) == [
        "run       task      question              for     asked",
        "paper-12  sign-off  Publish?              editor  2 min 5 s ago",
    ]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_where_a_table_has_no_room_each_question_has_lines_of_its_own(width: int):
    lines = printed(SHORT, LONG, width=width)

    assert lines[:3] == [
        "paper-12  sign-off  for editor, asked 2 min 5 s ago",
        "  Publish?",
        f"{LONG_RUN}  sign-off  for ann, ben, asked 2 min 5 s ago, 1 h 2 min left, at airflow news_paper/sign-off",
    ]
    assert " ".join(line.strip() for line in lines[3:]) == QUESTION
    assert all(len(line) <= width for line in lines[3:])


def test_a_wide_terminal_wraps_the_question_and_never_the_run():
    heading, first, *_ = printed(LONG, width=160)

    assert heading.split() == ["run", "task", "question", "for", "asked", "left", "at"]
    assert first.startswith(f"{LONG_RUN}  sign-off  Shall the report")


@pytest.mark.parametrize("width", [40, 80])
def test_a_program_reads_a_line_for_each_with_every_column(width: int):
    heading, short, long = printed(SHORT, LONG, width=width, terminal=False)

    assert heading.split() == ["run", "task", "question", "for", "asked", "left", "at"]
    assert short.split() == ["paper-12", "sign-off", "Publish?", "editor", "2", "min", "5", "s", "ago"]
    assert f"  {QUESTION}  ann, ben  2 min 5 s ago  1 h 2 min  airflow news_paper/sign-off" in long


def test_a_question_that_waits_for_longer_than_calendars_reach_is_listed_like_others():
    patient = replace(LONG, until=1e12)

    assert approval_document(patient)["until"] == "9999-12-31T23:59:59.999999Z"
    assert printed(patient, width=160)
    assert asked_lines(patient)
