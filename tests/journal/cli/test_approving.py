"""`coterie approvals`, `approve` and `reject`, beside the run that waits, or without it."""

from __future__ import annotations

import asyncio
import getpass
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from coterie import Orchestrator
from coterie.cli.app import app
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

SLOW = """
import asyncio
from coterie import Team

team = Team("press")


@team.agent("sleeper")
async def sleep(task_input):
    await asyncio.sleep(1000)
"""


@pytest.fixture(autouse=True)
def place(folder, monkeypatch):
    for name in ("COTERIE_NAMESPACE", "COTERIE_JOURNAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COTERIE_STORE", f"sqlite://{folder}/state.db")
    monkeypatch.setenv("COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S", "0")
    (folder / "paper.yaml").write_text(PAPER)
    (folder / "plain.yaml").write_text(PLAIN)
    (folder / "slow.yaml").write_text("{name: slow, tasks: [{id: wait, agent_type: sleeper}]}")
    (folder / "press_team.py").write_text(TEAM)
    # Another folder's, which a command in this process has loaded.
    monkeypatch.delitem(sys.modules, "press_team", raising=False)


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


def left(plan: str, run: str = "r1") -> None:
    """A run that asks, and nobody is at any more."""

    found, team = read_plan(plan), load_team("press_team:team")

    async def begun() -> None:
        asked = asyncio.Event()
        journal = Journal(open_journal_store(None, "default"))
        orchestrator = Orchestrator(
            team, journal=journal, on_event=lambda event: asked.set() if event.name == "approval.asked" else None
        )
        running = asyncio.create_task(orchestrator.execute_workflow(found, workflow_id=run))
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
    assert "sign-off: asks editor: Publish [bold]it[/bold]? (answer: coterie approve r1 sign-off --set copies=…)" in err
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


@pytest.mark.parametrize(("end", "state"), [(signal.SIGKILL, "waiting"), (signal.SIGTERM, "cancelled")])
def test_a_question_outlives_whoever_asked_and_nobody_cleans_it_away(begin, coterie, end, state):
    running = begin()

    running.send_signal(end)
    running.communicate(timeout=60)
    reaped = seen("reap", "--idle", "0s")["runs"]
    pruned = seen("runs", "prune", "--older-than", "0s")["runs"]

    assert (reaped, pruned) == ([], [])
    assert seen("runs")["runs"][0]["state"] == seen("runs", "show", "r1")["state"] == state
    assert seen("approve", "r1", "sign-off", "--by", "ann", "--set", "copies=5")["decision"]["by"] == "ann"
    assert coterie("runs", "resume", "r1").returncode == 0
    assert seen("runs", "erase", "r1")["erased"]


def test_whoever_waits_for_what_is_forgotten_ends_and_says_how_to_ask_again(begin):
    running = begin()

    invoke("runs", "forget", "r1", "sign-off")

    out, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "coterie runs resume r1" in out + err


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
    assert "to have it asked again: 'coterie runs forget r1 ask'" in done.stderr


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
        (("approve", "r1", "draft"), "the run asks: 'sign-off'"),
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


def test_where_no_task_waits_it_is_said_where_machines_are(folder):
    told = invoke("approvals", "list").stdout

    assert "no task waits for an approval in sqlite://" in told
    assert "(namespace 'default'); state machines that wait are in 'coterie runs'" in told


def test_without_a_journal_nobody_could_answer(coterie):
    done = coterie("run", "plain.yaml", "--team", "press_team:team", "--journal", "off")

    assert done.returncode == 2
    assert "asks a person, who answers in the journal" in done.stderr


def test_a_plan_is_valid_without_an_agent_for_the_role(folder):
    assert seen("validate", "plain.yaml", "--team", "press_team:team")["people"] == ["editor"]
    assert "people  editor" in invoke("validate", "plain.yaml").stdout


def test_what_has_not_asked_has_asked_nobody_or_is_to_ask_anew_is_told_apart(paper):
    unknown = invoke("approve", "r1", "nosuch", "--by", "ann")
    done = invoke("approve", "r1", "draft", "--by", "ann")
    invoke("runs", "forget", "r1", "sign-off")
    forgotten = invoke("approve", "r1", "sign-off", "--by", "ann")

    assert "has not asked anything so far, or there is none; the run asks: 'sign-off'" in unknown.stderr
    assert "has ended, and asked nobody; the run asks: 'sign-off'" in done.stderr
    assert "is to be asked anew; 'coterie runs resume r1' does so, unless a process is at the run" in forgotten.stderr
    assert "the run asks nothing now" in forgotten.stderr


def test_who_comes_second_is_told_the_whole_command_that_has_it_asked_again(plain):
    invoke("reject", "r1", "ask", "--by", "ann")

    done = invoke("approve", "r1", "ask", "--by", "bob")

    assert "'coterie runs resume r1' asks again, once the run has ended" in done.stderr
    assert "'coterie runs forget r1 ask'" in done.stderr


def test_a_run_that_is_quiet_still_says_what_it_asks_and_the_whole_line_that_answers(start):
    running = start("run", "paper.yaml", "--team", "press_team:team", "--run-id", "r1", "--quiet")
    try:
        line = running.stderr.readline()
    finally:
        running.kill()
        running.communicate()

    assert line.endswith("(answer: coterie approve r1 sign-off --set copies=…)\n")


def test_a_run_that_is_stopped_says_how_it_goes_on_and_that_its_question_stands(begin):
    running = begin()

    running.send_signal(signal.SIGINT)

    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped; what sign-off asks can still be answered; the run goes on with: coterie runs resume r1" in err
    answered = invoke("approve", "r1", "sign-off", "--by", "ann", "--set", "copies=1")
    assert "go on with it: coterie runs resume r1" in answered.stdout
    assert invoke("runs", "resume", "r1").exit_code == 0


def test_what_is_asked_can_be_copied_where_there_is_no_terminal(place, monkeypatch):
    long = f"airflow.{'x' * 110}"
    Path("plain.yaml").write_text(PLAIN.replace('"Go?"', f'"{"Go on? " * 60}"'), "utf-8")
    left("plain.yaml", long)
    monkeypatch.setenv("COLUMNS", "80")

    asked, runs, shown = (invoke(*argv).stdout for argv in (("approvals",), ("runs",), ("runs", "show", long)))

    assert f"{long}  ask " in asked
    assert f"{long}  " in runs
    assert long in shown


def test_a_run_that_is_stopped_between_its_agents_says_how_it_goes_on(start, folder):
    (folder / "press_team.py").write_text(SLOW)
    running = start("run", "slow.yaml", "--team", "press_team:team", "--run-id", "r1")
    while "started" not in running.stderr.readline():
        pass

    running.send_signal(signal.SIGINT)

    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped; the run goes on with: coterie runs resume r1" in err
