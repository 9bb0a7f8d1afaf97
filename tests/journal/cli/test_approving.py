"""`coterie approvals`, `approve` and `reject`, beside the run that waits, or without it."""

from __future__ import annotations

import asyncio
import getpass
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from coterie import Approval, Event, Orchestrator, Plan, Task
from coterie.cli.app import app
from coterie.cli.board import Board
from coterie.cli.progress import LineProgress, LiveProgress
from coterie.cli.sources import load_team, read_plan
from coterie.journal import Journal
from coterie.stores.opening import open_journal_store

PAPER = """
name: paper
tasks:
  - {id: draft, agent_type: writer}
  - id: sign-off
    agent_type: editor
    depends_on: [draft]
    input: {section: news}
    approval:
      question: "Publish [bold]it[/bold]?"
      choices: [approve, later, reject]
      rejects: [later, reject]
      fields:
        copies: {type: integer, title: How many, required: true}
        price: {type: number, default: 1.5}
        urgent: {type: boolean}
      assignees: [ann, bob]
  - {id: publish, agent_type: writer, depends_on: [sign-off]}
"""
PLAIN = """
name: plain
tasks: [{id: ask, agent_type: editor, approval: {question: "Go?"}}]
"""
TEAM = """
import os
from coterie import Team

team = Team("press")


@team.agent("writer")
async def write(task_input, ctx):
    return {"text": os.environ.get("TEXT", "hello"), "of": ctx.task_id}
"""


@pytest.fixture(autouse=True)
def place(folder, monkeypatch):
    for name in ("COTERIE_NAMESPACE", "COTERIE_JOURNAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COTERIE_STORE", f"sqlite://{folder}/state.db")
    monkeypatch.setenv("COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S", "0")
    (folder / "paper.yaml").write_text(PAPER)
    (folder / "plain.yaml").write_text(PLAIN)
    (folder / "press_team.py").write_text(TEAM)


def invoke(*argv: str):
    done = CliRunner().invoke(app, argv, prog_name="coterie")
    assert "Traceback" not in done.output
    assert "error: unexpected" not in done.stderr
    return done


def seen(*argv: str, code: int = 0) -> Any:
    done = invoke(*argv, "--json")
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


@pytest.fixture
def begin(start):
    """Start a run of a plan, and wait until it asks."""
    begun = []

    def run():
        process = start("run", "paper.yaml", "--team", "press_team:team", "--run-id", "r1")
        begun.append(process)
        deadline = time.monotonic() + 60.0
        while not seen("approvals")["approvals"]:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "nobody was asked"
            time.sleep(0.02)
        return process

    yield run
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


def left(plan: str) -> None:
    """A run that asks, and nobody is at any more."""

    found, team = read_plan(plan), load_team("press_team:team")

    async def begun() -> None:
        asked = asyncio.Event()
        journal = Journal(open_journal_store(None, "default"))
        orchestrator = Orchestrator(
            team, journal=journal, on_event=lambda event: asked.set() if event.name == "approval.asked" else None
        )
        running = asyncio.create_task(orchestrator.execute_workflow(found, workflow_id="r1"))
        async with asyncio.timeout(60):
            await asked.wait()
        running.cancel()
        await asyncio.wait([running])
        await journal.aclose()

    asyncio.run(begun())


@pytest.fixture
def paper(place):
    left("paper.yaml")


@pytest.fixture
def plain(place):
    left("plain.yaml")


def test_a_person_sees_the_line_to_type_and_the_run_goes_on_when_it_is_typed(begin):
    running = begin()

    (asked,) = seen("approvals")["approvals"]
    done = invoke("approve", "r1", "sign-off", "--by", "ann", "--note", "well done", "--set", "copies=5")

    out, err = running.communicate(timeout=60)
    assert (running.returncode, done.exit_code) == (0, 0), err + done.output
    assert (asked["run"], asked["task"], asked["role"], asked["place"]) == ("r1", "sign-off", "editor", "process")
    assert asked["choices"] == ["approve", "later", "reject"]
    assert "sign-off: asks editor: Publish [bold]it[/bold]? (answer: coterie approve r1 sign-off)" in err
    assert done.stdout == "r1: ann chose approve for sign-off\n"
    assert "succeeded" in out
    assert seen("approvals")["approvals"] == []
    shown = invoke("runs", "show", "r1").stdout
    assert "sign-off: Publish [bold]it[/bold]?" in shown
    assert "approve by ann at " in shown
    assert ", copies=5, price=1.5: well done" in shown
    (kept,) = seen("runs", "show", "r1")["approvals"]
    assert kept["decision"]["values"] == {"copies": 5, "price": 1.5}


def test_a_no_fails_the_run_and_says_whose_it_was(begin):
    running = begin()

    decision = seen("reject", "r1", "sign-off", "--by", "bob", "--note", "too long")["decision"]

    out, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert (decision["choice"], decision["by"]) == ("later", "bob")
    assert "was answered 'later' by 'bob' at " in out + err


def test_by_default_one_answers_under_the_login_name(plain):
    assert seen("approve", "r1", "ask")["decision"]["by"] == getpass.getuser()


def test_what_is_asked_is_shown_with_what_it_is_about_and_how_to_answer(paper):
    table, whole = invoke("approvals").stdout, invoke("approvals", "--run", "r1").stdout

    assert all(part in table for part in ("r1", "sign-off", "ann, bob", "ago"))
    assert '"section": "news"' in whole
    assert "hello" in whole
    assert "--set copies=… (How many): integer, required" in whole
    assert "--set price=…: number, else 1.5" in whole
    assert "choices: approve, later, reject" in whole
    assert "answer: coterie approve r1 sign-off --set copies=…" in whole


def test_an_answer_that_comes_while_nobody_is_there_is_taken_when_the_run_goes_on(plain, coterie):
    done = invoke("approve", "r1", "ask", "--by", "ann")

    assert "nobody is at the run now; go on with it: coterie runs resume r1" in done.stdout
    assert [task["would"] for task in seen("runs", "diff", "r1")["tasks"]] == ["runs"]
    resumed = coterie("runs", "resume", "r1")
    assert resumed.returncode == 0, resumed.stderr
    assert [task["would"] for task in seen("runs", "diff", "r1")["tasks"]] == ["replays"]
    again = invoke("approve", "r1", "ask", "--by", "ann")
    assert again.stdout == "r1: ann chose approve for ask\n"


def test_an_answer_needs_a_journal(plain):
    done = invoke("approve", "r1", "ask", "--journal", "off")

    assert done.exit_code == 2
    assert "use --journal strict, or relaxed" in done.stderr


def test_the_second_answer_is_refused_with_whose_the_first_was(plain):
    invoke("approve", "r1", "ask", "--by", "ann")

    done = invoke("reject", "r1", "ask", "--by", "bob")

    assert done.exit_code == 2
    assert "'ann' chose 'approve' at " in done.stderr


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("approve", "r1", "sign-off", "--by", "ann"), "the field 'copies' is required"),
        (("approve", "r1", "sign-off", "--by", "eve", "--set", "copies=1"), "one of 'ann', 'bob' may"),
        (("approve", "r1", "sign-off", "--set", "copies=many"), "give a value of the type integer"),
        (("approve", "r1", "sign-off", "--set", "urgent=maybe"), "give true or false"),
        (("approve", "r1", "sign-off", "--set", "copies"), "write --set field=value"),
        (("approve", "r1", "sign-off", "--set", "copies=1", "--set", "copies=2"), "twice"),
        (("approve", "r1", "sign-off", "--by", "ann", "--set", "colour=red"), "has no field 'colour'"),
        (("approve", "r1", "sign-off", "--choice", "later"), "give it with 'coterie reject'"),
        (("reject", "r1", "sign-off", "--choice", "approve"), "give it with 'coterie approve'"),
        (("reject", "r1", "sign-off", "--choice", "never", "--by", "ann"), "one of 'approve', 'later', 'reject'"),
        (("approve", "r1", "draft"), "it asks: 'sign-off'"),
        (("approve", "r2", "sign-off"), "there is no run 'r2'"),
        (("approvals", "--run", "r2"), "there is no run 'r2'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_answer_that_cannot_be_given_is_refused_with_what_can(paper, argv, told):
    done = invoke(*argv)

    assert done.exit_code == 2
    assert told in done.stderr
    (asked,) = seen("approvals")["approvals"]
    assert asked["decision"] is None


def test_a_choice_that_is_not_there_is_said(place):
    plan = PLAIN.replace('"Go?"', '"Go?", choices: [go], rejects: []')
    Path("plain.yaml").write_text(plan, "utf-8")
    left("plain.yaml")

    done = invoke("reject", "r1", "ask")

    assert done.exit_code == 2
    assert "has no choice that rejects; its choices are go" in done.stderr


def test_nobody_is_asked_anything(folder):
    assert "nobody is asked anything in sqlite://" in invoke("approvals", "list").stdout


def test_without_a_journal_nobody_could_answer(coterie):
    done = coterie("run", "plain.yaml", "--team", "press_team:team", "--journal", "off")

    assert done.returncode == 2
    assert "asks a person, who answers in the journal" in done.stderr


def test_a_plan_is_valid_without_an_agent_for_the_role(folder):
    assert seen("validate", "plain.yaml", "--team", "press_team:team")["people"] == ["editor"]
    assert "people  editor" in invoke("validate", "plain.yaml").stdout


PLAN = Plan("p", [Task("ask", "editor", approval=Approval("[bold]Go?"))])
ASKED = Event("approval.asked", "r1", "ask", {"question": "[bold]Go?", "place": "process"})


def test_on_the_board_a_task_that_asks_is_neither_waiting_nor_done():
    board = Board(PLAN)
    board.apply(Event("task.started", "r1", "ask", {"agent_type": "editor"}))

    board.apply(ASKED)

    row = board.rows["ask"]
    assert (row.state, row.question, row.how) == ("asking", "[bold]Go?", "coterie approve r1 ask")
    assert board.done == 0
    board.apply(Event("task.finished", "r1", "ask", {"state": "succeeded", "duration_s": 1.0}))
    assert (row.state, board.done) == ("succeeded", 1)


async def test_on_a_terminal_and_in_lines_the_line_to_type_is_shown():
    for kind, terminal in ((LiveProgress, True), (LineProgress, False)):
        screen = io.StringIO()
        progress = kind(PLAN, Console(file=screen, force_terminal=terminal, width=120))

        async with progress.showing():
            progress.on_event(Event("task.started", "r1", "ask", {"agent_type": "editor"}))
            progress.on_event(ASKED)

        assert "[bold]Go? (answer: coterie approve r1 ask)" in screen.getvalue()
