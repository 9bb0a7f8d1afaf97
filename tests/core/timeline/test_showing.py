"""`coterie trace show`: what a person reads of a run, while it goes on and after it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from coterie import ForEach, Orchestrator, Plan, Retry, Task, TaskContext, Team
from coterie._rules.lap import Lap
from coterie.cli.app import app
from coterie.timeline import document_of, timeline_of
from tests.core.timeline.written import BEGUN_S, opened, write

Shown = Callable[..., Any]
PLAN = Plan(
    "crew",
    [
        Task("a", "work"),
        Task("flaky", "work", depends_on=["a"], retry=Retry(base_s=0.01)),
        Task("bad", "work", depends_on=["a"]),
        Task("end", "work", depends_on=["bad"]),
    ],
)


@pytest.fixture(autouse=True)
def clean(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COTERIE_STORE", "COTERIE_NAMESPACE", "COTERIE_JOURNAL", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def show() -> Shown:
    """Run `coterie trace show` in this process."""

    def run(*argv: str, code: int = 0) -> Any:
        done = CliRunner().invoke(app, ["trace", "show", *argv], prog_name="coterie")
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done

    return run


@pytest.fixture
def ran(folder: Path) -> None:
    """A run of the crew."""
    team = Team("crew")
    left = iter(range(2))

    @team.agent("work", capacity=2)
    async def work(task_input: Any, ctx: TaskContext) -> None:
        if ctx.task_id == "bad":
            raise RuntimeError("the disk is \x1b[31mfull")
        if ctx.task_id == "flaky":
            for n in left:
                raise ValueError(f"not yet {n}")

    async def run() -> None:
        journal = opened()
        await Orchestrator(team, journal=journal).execute_workflow(PLAN, workflow_id="r1")
        await journal.aclose()

    asyncio.run(run())


def line_of(text: str, about: str) -> str:
    """The line above the tree that is about that."""
    return next(line for line in text.splitlines() if line.strip().startswith(about))


def rows_of(text: str) -> list[str]:
    """The rows of the tree, without its header and its legend."""
    return text.split("\n\n", 1)[1].splitlines()[1:-1]


def test_the_first_lines_say_how_long_where_the_time_went_and_what_failed_first(ran, show: Shown):
    lines = show("r1").stdout.splitlines()

    assert [line.split()[0] for line in lines[:4]] == ["r1", "took", "time", "failed"]
    assert "3 of 4 tasks ended, 1 failed" in lines[1]
    assert "%" in lines[2]
    assert "bad first, after" in lines[3]
    assert "RuntimeError: the disk is" in lines[3]
    assert "1 task never began because of it" in lines[3]


def test_nothing_of_a_run_acts_on_the_terminal(ran, show: Shown):
    assert "\x1b" not in show("r1").stdout


def test_each_task_has_a_row_and_the_critical_path_is_marked_without_colour(ran, show: Shown):
    rows = rows_of(show("r1").stdout)

    tasks = [row for row in rows if not row[3:].startswith("  ")]
    assert sorted(row[3:].split()[0] for row in tasks) == ["a", "bad", "flaky"]
    assert next(row for row in rows if row[3:].startswith("a ")).startswith("*")
    assert any("█" in row for row in tasks)


def test_one_task_is_shown_with_its_attempts(ran, show: Shown):
    text = show("r1", "--task", "flaky").stdout

    assert "3 attempts" in line_of(text, "took")
    assert "for a;" in line_of(text, "waited")
    assert [row[3:].split("  ")[0].strip() for row in rows_of(text) if "call" in row] == ["call 1", "call 2", "call 3"]
    assert "not yet" in text


def test_a_task_is_itself_though_an_item_before_it_has_its_name(show: Shown, folder: Path):
    team = Team("desk")

    @team.agent("writer")
    async def write(task_input: Any, ctx: TaskContext) -> str:
        if ctx.task_id == "report":
            raise ValueError("no paper")
        return "done"

    scan = Task("scan", "writer", foreach=ForEach(items=["a", "report"], key=""))

    async def run() -> None:
        journal = opened()
        plan = Plan("p", [scan, Task("report", "writer", depends_on=["scan"])])
        await Orchestrator(team, journal=journal).execute_workflow(plan, workflow_id="r2")
        await journal.aclose()

    asyncio.run(run())

    assert "ValueError: no paper" in show("r2", "--task", "report").stdout
    assert "succeeded" in show("r2", "--task", "scan/report").stdout


@pytest.mark.parametrize(("task", "said"), [("end", "has not begun: it waits for bad"), ("nobody", "has no 'nobody'")])
def test_a_task_that_is_not_there_is_explained(ran, show: Shown, task: str, said: str):
    assert said in show("r1", "--task", task, code=2).stderr


def test_an_unknown_run_and_a_wrong_age_are_misuse(ran, show: Shown):
    assert "no run 'nothing'" in show("nothing", code=2).stderr
    assert "is no age" in show("r1", "--since", "soon", code=2).stderr


def test_json_is_the_document_one_span_a_line(ran, show: Shown, folder: Path):
    text = show("r1", "--json").stdout

    document = json.loads(text)
    # The clock goes on between the two.
    assert document == {**in_journal("r1"), "run": document["run"]}
    assert document["schema"] == 1
    assert sum(line.startswith('{"id": ') for line in text.splitlines()) == len(document["spans"])


def test_html_is_a_page_in_a_file(ran, show: Shown, folder: Path):
    done = show("r1", "--html", "trace.html")

    assert done.stdout == ""
    assert "wrote trace.html" in done.stderr
    assert (folder / "trace.html").read_text().lstrip().lower().startswith("<!doctype html>")


def test_a_page_that_cannot_be_written_is_misuse(ran, show: Shown):
    assert "name another file" in show("r1", "--html", "missing/trace.html", code=2).stderr


def test_the_slowest_come_first_on_demand(show: Shown, folder: Path):
    write({"short": (0, 1), "long": (1, 9), "middle": (2, 5)})

    in_time, by_length = (rows_of(show("big", *more).stdout) for more in ((), ("--slowest",)))

    assert [row[3:].split()[0] for row in in_time] == ["short", "long", "middle"]
    assert [row[3:].split()[0] for row in by_length] == ["long", "middle", "short"]


def test_since_shows_what_went_on_in_the_last_time(show: Shown, folder: Path):
    write({"old": (0, 10), "new": (0, 1000)})
    age_s = round(now_s() - BEGUN_S - 500)

    rows = rows_of(show("big", "--since", f"{age_s}s").stdout)

    assert [row[3:].split()[0] for row in rows] == ["new"]


def test_four_hundred_tasks_with_five_thousand_laps_fit_on_a_screen(show: Shown, folder: Path):
    laps = tuple(Lap("call", round((BEGUN_S + n) * 1e6), 500_000, {"attempt": n + 1}) for n in range(13))
    times = {f"t{n:03}": (float(n), n + 20.0) for n in range(400)}
    write(times, laps=laps, failed={"t123"})

    lines = show("big").stdout.splitlines()

    assert len(lines) <= 50
    assert any("t123" in line and "failed" in line for line in lines)
    assert any("… 37" in line and "more" in line for line in lines)
    assert any("call (13 times)" in line for line in lines)


def test_every_row_is_shown_if_there_is_room_for_all(show: Shown, folder: Path):
    write({f"t{n:03}": (float(n), n + 20.0) for n in range(60)})

    assert len(rows_of(show("big", "--limit", "60").stdout)) == 60


def test_many_items_are_folded_and_what_failed_is_not(show: Shown, folder: Path):
    items = {f"{n:03}": (float(n), n + 1.0) for n in range(200)}
    write({"each": (0, 0)}, items=items, failed={"each/150"})

    text = show("big").stdout

    assert any("150" in row and "failed" in row for row in rows_of(text))
    assert "195 more" in text
    assert len(rows_of(text)) < 12


def test_depth_one_shows_tasks_alone_and_three_all(show: Shown, folder: Path):
    laps = (Lap("call", round(BEGUN_S * 1e6), 900_000), Lap("step", round(BEGUN_S * 1e6), 100_000, {"name": "look"}))
    write({"a": (0, 1)}, laps=laps)

    assert len(rows_of(show("big", "--depth", "1").stdout)) == 1
    assert [row.split()[1] for row in rows_of(show("big", "--depth", "3").stdout)] == ["a", "call", "look"]


def test_while_a_worker_is_at_it_he_is_named_and_what_waits_too(show: Shown, folder: Path):
    write({"a": (0, 1)}, claimed="b", ahead=("c",), is_over=False)

    text = show("big").stdout

    assert "so far" in line_of(text, "took")
    assert "b (at most" in line_of(text, "now")
    assert "somebody" in line_of(text, "now")
    assert line_of(text, "ahead").rstrip().endswith("1 task not begun: c waits for b")
    assert "▶" in next(row for row in rows_of(text) if " b " in row)


def test_of_a_run_that_nobody_is_at_it_is_said_how_it_goes_on(show: Shown, folder: Path):
    write({"a": (0, 1), "b": (0, 2)}, ahead=("c",), waits_for="a", is_over=False)

    text = show("big").stdout

    assert "coterie runs resume big" in line_of(text, "left")
    assert line_of(text, "no record").split()[2].startswith("c")
    assert "nobody at it" in line_of(text, "time")


@pytest.mark.parametrize(
    ("tasks", "said"),
    [("a", "1 attempt lost with its worker (w-1)"), ("ab", "2 attempts lost with their worker (w-1)")],
)
def test_attempts_that_were_lost_are_told_with_whose_they_were(show: Shown, folder: Path, tasks: str, said: str):
    lost = Lap("lost", round(BEGUN_S * 1e6), 500_000, {"worker": "w-1", "why": "lost"})
    write(dict.fromkeys(tasks, (0.0, 1.0)), laps=(lost,))

    assert line_of(show("big").stdout, "tried").rstrip().endswith(said)


def now_s() -> float:
    return time.time()


def in_journal(run: str) -> dict[str, Any]:
    """The document that the journal in the folder gives."""

    async def read() -> dict[str, Any]:
        journal = opened()
        try:
            return document_of(await timeline_of(journal, run))
        finally:
            await journal.aclose()

    return asyncio.run(read())
