"""`coterie machine`: run, send, show, history, cancel and draw, and what they refuse."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from coterie import StateMachine
from coterie.cli.app import app
from coterie.journal import Intent, Journal
from coterie.journal.header import Header
from coterie.machine_run.file import Definition, MachineFile
from coterie.stores.opening import open_journal_store

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
    # Another folder's, which a command in this process has loaded.
    monkeypatch.delitem(sys.modules, "press_team", raising=False)


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


@pytest.mark.parametrize("command", [("send", "r1", "approve"), ("cancel", "r1")])
@pytest.mark.parametrize("who", ["", " "])
def test_whoever_gives_an_empty_name_is_refused_and_nothing_is_done(waiting, command, who):
    done = invoke(*command, "--who", who)

    assert done.exit_code == 2
    assert "--who is empty; name who does it" in done.stderr
    assert seen("show", "r1")["phase"] == "waiting"


def test_why_an_action_failed_is_told_as_it_goes_and_in_the_history(folder, coterie):
    (folder / "press_team.py").write_text(TEAM.replace('return {"comment"', 'raise ValueError("no ink") or {"comment"'))
    (folder / "machine.yaml").write_text(
        MACHINE.replace("{to: lost, trigger: exhausted}", "{to: lost, trigger: failed}")
    )

    ran = coterie("machine", "run", "machine.yaml", "--team", "press_team:team", "--run-id", "r1")
    past = " ".join(invoke("history", "r1").stdout.split())

    assert ran.returncode == 1
    assert "1. draft: failed -> lost: ValueError: no ink" in ran.stderr
    assert "ValueError: no ink" in past


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


IMPATIENT = """
name: ask
initial: ask
states:
  - name: ask
    timeout_s: 0.001
    transitions:
      - {to: done, trigger: approve, when: [{pointer: /level, op: ge, value: 2}]}
      - {to: late, trigger: timeout}
  - {name: done, final: succeeded}
  - {name: late, final: failed}
"""


def left(text):
    """The run r1 of a machine that nobody runs, or of a plan where there is no text."""

    async def begun():
        journal = Journal(open_journal_store(None, "default"))
        if not text:
            await journal.begin("r1", Header("hello", "0" * 64), Intent())
        else:
            await MachineFile(journal, "r1").begin(Definition(StateMachine.from_yaml(text), {}), Intent())
        await journal.aclose()

    asyncio.run(begun())


@pytest.mark.parametrize("command", ["show", "history", "cancel", "send", "draw"])
def test_a_run_of_a_plan_is_no_machine_and_is_shown_elsewhere(folder, command):
    left("")

    done = invoke(command, *{"draw": ["--run", "r1"], "send": ["r1", "approve"]}.get(command, ["r1"]))

    assert done.exit_code == 2
    assert "'r1' is a run of the plan 'hello', and no machine; see it with: coterie runs show r1" in done.stderr


@pytest.mark.parametrize("command", ["resume", "diff"])
def test_a_machine_is_gone_on_with_by_the_command_that_its_refusal_names(folder, command):
    left(MACHINE)

    done = CliRunner().invoke(app, ["runs", command, "r1"])

    assert done.exit_code == 2
    assert "'r1' is a run of the state machine 'review', and no plan's" in done.stderr
    assert "coterie machine run MACHINE --team TEAM --run-id r1" in done.stderr


def test_who_sends_an_event_that_nobody_acts_on_is_told_how_the_machine_goes_on(waiting):
    sent = invoke("send", "r1", "revise").stdout
    shown = invoke("show", "r1").stdout

    goes_on = (
        "nobody is at it now; if no process runs the machine, go on with it: coterie machine run MACHINE --team TEAM"
    )
    assert f"{goes_on} --run-id r1" in sent
    assert f"action   of 'draft' is due; {goes_on} --run-id r1" in shown
    assert "r1  waiting" in shown


def test_who_sends_an_event_that_leads_to_waiting_is_told_nothing_more(waiting):
    assert "nobody is at it" not in invoke("send", "r1", "approve").stdout


def test_a_time_out_that_nobody_took_is_said_to_be_due_and_an_event_that_comes_after_it_says_that_it_took_it(folder):
    left(IMPATIENT)
    while not seen("show", "r1")["overdue_s"]:
        time.sleep(0.01)
    shown = invoke("show", "r1").stdout

    sent = invoke("send", "r1", "approve")

    assert " ago, taken by the next event or whoever runs the machine" in shown
    assert sent.exit_code == 2
    assert "the time-out of 'ask' was due, and was taken first; then it has ended; it takes: nothing" in sent.stderr
    assert seen("show", "r1")["state"] == "late"


def test_a_guard_that_does_not_hold_is_named(folder):
    left(IMPATIENT.replace("0.001", "3600"))

    sent = invoke("send", "r1", "approve", "--payload", '{"level": 1}')

    assert sent.exit_code == 2
    assert "no guard of its transitions holds: to 'done' if /level ge 2; it takes: 'approve'" in sent.stderr


def test_of_a_machine_that_is_over_or_is_refused_nothing_is_said_as_if_it_ran(waiting):
    wrong = invoke(*RUN, "--param", "colour=red")
    Path("machine.yaml").write_text(MACHINE.replace("max_visits: 3", "max_visits: 4"))
    changed = invoke(*RUN)
    invoke("cancel", "r1")
    Path("machine.yaml").write_text(MACHINE)
    over = invoke(*RUN)

    assert wrong.stderr.splitlines()[0].startswith("error: the machine 'review' has no parameter 'colour'")
    assert changed.stderr.splitlines()[0].startswith("error: the run 'r1' began with 'review' (")
    assert "(workflow_id, --run-id)" in changed.stderr
    assert "'coterie machine run --allow-changes'" in changed.stderr
    assert over.exit_code == 130
    assert "waits in" not in over.stderr


def test_what_is_over_is_not_said_to_be_done_anew(waiting):
    invoke("cancel", "r1")

    done = CliRunner().invoke(app, ["runs", "forget", "r1"])

    assert done.exit_code == 2
    assert "the run 'r1' is a state machine that is over" in done.stderr


def test_a_machine_asks_nothing_that_is_approved(waiting):
    done = CliRunner().invoke(app, ["approve", "r1", "review", "--by", "ann"])

    assert done.exit_code == 2
    assert "the run 'r1' is a state machine, which takes events: 'coterie machine show r1' says which" in done.stderr
