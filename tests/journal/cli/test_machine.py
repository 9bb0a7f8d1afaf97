"""`coterie machine`: run, send, show, history, cancel and draw, and what they refuse."""

from __future__ import annotations

import json
import time

import pytest
from typer.testing import CliRunner

from coterie.cli.app import app

MACHINE = """
name: review
initial: draft
states:
  - name: draft
    action: {agent_type: writer, input: {comment: {$data: /event/payload/comment, default: none}}}
    max_visits: 3
    transitions: [{to: review}, {to: lost, trigger: exhausted}]
  - {name: review, transitions: [{to: done, trigger: approve}, {to: draft, trigger: revise}]}
  - {name: done, final: succeeded}
  - {name: lost, final: failed}
"""
TEAM = """
from coterie import Team

team = Team("press")


@team.agent("writer")
async def write(task_input):
    return {"comment": task_input["comment"]}
"""


@pytest.fixture(autouse=True)
def place(folder, monkeypatch):
    for name in ("COTERIE_NAMESPACE", "COTERIE_JOURNAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COTERIE_STORE", f"sqlite://{folder}/state.db")
    monkeypatch.syspath_prepend(str(folder))
    (folder / "machine.yaml").write_text(MACHINE)
    (folder / "press_team.py").write_text(TEAM)


def invoke(*argv):
    done = CliRunner().invoke(app, ["machine", *argv], prog_name="coterie")
    assert "Traceback" not in done.output
    assert "error: unexpected" not in done.stderr
    return done


def seen(*argv, code=0):
    done = invoke(*argv, "--json")
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def until(visit):
    """Wait until the machine is there."""
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        done = invoke("show", "r1", "--json")
        if done.exit_code == 0:
            status = json.loads(done.stdout)
            if status["visit"] >= visit and status["phase"] != "acting":
                return status
        time.sleep(0.05)
    raise TimeoutError(f"the machine never came to visit {visit}")


@pytest.fixture
def program(folder):
    """Runs commands as programs: signals and terminals are theirs."""
    import subprocess
    import sys

    begun = []

    def run(*argv):
        command = [sys.executable, "-m", "coterie", "machine", *argv]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=folder, **pipes)
        begun.append(process)
        return process

    yield run
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


RUN = ("run", "machine.yaml", "--team", "press_team:team", "--run-id", "r1")


def test_a_machine_runs_here_and_is_told_what_to_do_from_elsewhere(program):
    running = program(*RUN, "--json")
    status = until(2)
    assert status["events"] == ["approve", "revise"]

    receipt = seen("send", "r1", "revise", "--payload", '{"comment": "shorter"}', "--who", "ann", "--visit", "2")
    until(4)
    seen("send", "r1", "approve", "--who", "ben")

    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert json.loads(out)["state"] == "done"
    assert (receipt["state"], receipt["to"], receipt["who"]) == ("review", "draft", "ann")
    assert "waits in 'review' for approve, revise: coterie machine send r1 EVENT --visit 2" in err
    visits = seen("history", "r1")["visits"]
    assert [(visit["trigger"], visit["to"], visit["who"]) for visit in visits] == [
        ("succeeded", "review", None),
        ("revise", "draft", "ann"),
        ("succeeded", "review", None),
        ("approve", "done", "ben"),
    ]
    assert visits[1]["payload"] == {"comment": "shorter"}


@pytest.fixture
def waiting(program):
    """A machine that waits in its first review, and nobody runs any more."""
    running = program(*RUN)
    until(2)
    running.terminate()
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped; the machine stays where it is: --run-id r1 goes on with it" in err


def test_a_stopped_machine_stays_where_it_is_and_takes_events_there(waiting):
    assert seen("show", "r1")["phase"] == "waiting"

    done = invoke("send", "r1", "approve", "--visit", "2")

    assert done.stdout == "r1: 'approve' was taken: from 'review' (visit 2) to 'done'\n"
    assert seen("show", "r1")["status"] == "succeeded"


def test_who_goes_on_with_a_machine_is_told_where_it_is_and_not_how_it_came_there(waiting, program):
    running = program(*RUN)
    seen("send", "r1", "approve", "--who", "ben")

    _, err = running.communicate(timeout=60)

    assert running.returncode == 0
    assert "1. draft" not in err


def test_an_event_that_is_not_taken_is_refused_with_those_that_are(waiting):
    unknown = invoke("send", "r1", "publish")
    stale = invoke("send", "r1", "approve", "--visit", "1")
    no_json = invoke("send", "r1", "approve", "--payload", "{comment}")

    assert [done.exit_code for done in (unknown, stale, no_json)] == [2, 2, 2]
    assert "does not take the event 'publish': no transition is on it; it takes: 'approve', 'revise'" in unknown.stderr
    assert "(visit 2)" in stale.stderr
    assert "the payload is not JSON" in no_json.stderr
    assert seen("show", "r1")["visit"] == 2


def test_a_machine_is_cancelled_once(waiting):
    assert seen("cancel", "r1")["cancelled"] is True

    assert seen("cancel", "r1")["cancelled"] is False
    assert seen("show", "r1")["status"] == "cancelled"


def test_people_are_shown_what_a_machine_takes_and_how_it_came_there(waiting):
    shown, past = invoke("show", "r1").stdout, invoke("history", "r1").stdout

    assert "r1  waiting" in shown
    assert "state    review (visit 2), since " in shown
    assert "takes    approve, revise" in shown
    assert past.splitlines()[1].split()[:4] == ["1", "draft", "succeeded", "review"]


def test_a_long_history_is_read_in_pieces(waiting):
    seen("send", "r1", "approve")

    first = seen("history", "r1", "--limit", "1")
    second = seen("history", "r1", "--after", "1")

    assert ([visit["visit"] for visit in first["visits"]], first["more"]) == ([1], True)
    assert ([visit["visit"] for visit in second["visits"]], second["more"]) == ([2], False)


def test_a_machine_is_drawn_with_the_place_of_its_run(waiting):
    plain, marked = invoke("draw", "machine.yaml").stdout, invoke("draw", "--run", "r1").stdout

    assert plain.startswith("stateDiagram-v2\n")
    assert "class s1 current" not in plain
    assert marked == plain + marked.removeprefix(plain)
    assert marked.endswith("class s1 current\n")


def test_what_is_not_there_is_said(folder):
    assert "the journal" in invoke("show", "nobody").stderr
    assert invoke("show", "nobody").exit_code == 2
    assert "name a machine, or a run of one with --run" in invoke("draw").stderr
    assert "there is no machine file 'nothing'; check the path, or write package.module:machine" in (
        invoke("draw", "nothing").stderr
    )
    assert "is a Team, not a StateMachine" in invoke("draw", "press_team:team").stderr


def test_without_a_journal_a_machine_does_not_run():
    done = invoke(*RUN, "--journal", "off")

    assert done.exit_code == 2
    assert "a machine keeps its state in the journal, which is off; use --journal strict, or relaxed" in done.stderr
