"""Where a run stands, from its events."""

from __future__ import annotations

from coterie import Event, ForEach, Plan, Task
from coterie.cli.board import Board

PLAN = Plan("plan", [Task("a", "x"), Task("b", "y", foreach=ForEach(items=[1, 2])), Task("c", "z", depends_on=["b"])])


def board_after(*events: tuple[str, str, dict], plan: Plan = PLAN) -> Board:
    board = Board(plan)
    for name, task_id, fields in events:
        board.apply(Event(name, "run", task_id, fields))
    return board


def test_nothing_has_begun_at_first():
    board = Board(PLAN)

    assert board.done == 0
    assert board.counts["waiting"] == 3


def test_a_task_runs_and_ends():
    board = board_after(
        ("task.started", "a", {}), ("task.finished", "a", {"state": "failed", "duration_s": 2.0, "error": "E: no"})
    )

    assert (board.rows["a"].state, board.rows["a"].duration_s, board.rows["a"].error) == ("failed", 2.0, "E: no")
    assert board.done == 1


def test_a_retry_is_counted():
    board = board_after(("task.started", "a", {}), ("task.retrying", "a", {"attempt": 1}))

    assert (board.rows["a"].state, board.rows["a"].attempt) == ("retrying", 2)
    assert board.done == 0


def test_items_are_counted_and_their_retries_are_not_the_tasks():
    board = board_after(
        ("task.started", "b", {}),
        ("task.retrying", "b", {"attempt": 1}),
        ("item.finished", "b", {"total": 2, "state": "failed"}),
        ("item.finished", "b", {"total": 2, "state": "succeeded"}),
    )

    row = board.rows["b"]
    assert (row.state, row.attempt, row.items_done, row.items_failed, row.items_total) == ("running", 1, 2, 1, 2)


def test_a_task_that_never_ran_ends_too():
    board = board_after(("task.finished", "c", {"state": "upstream_failed"}))

    assert board.done == 1


def test_of_a_large_plan_what_runs_is_shown_before_what_ended_last():
    plan = Plan("many", [Task(f"t{n}", "x") for n in range(1000)])
    ended = [(name, f"t{n}", {"state": "succeeded"}) for n in range(500) for name in ("task.started", "task.finished")]

    board = board_after(*ended, ("task.started", "t900", {}), plan=plan)

    assert [row.task_id for row in board.shown(3)] == ["t900", "t499", "t498"]
    assert len(Board(PLAN).shown(3)) == 3
