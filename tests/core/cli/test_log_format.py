"""`--log-format json`: whatever a run says to people, standard error holds one JSON object a line."""

from __future__ import annotations

import json
import signal

SLOW = """
import asyncio
import warnings
from coterie import Plan, Task, Team

team = Team("slow")

@team.agent("sleeps")
async def sleeps(task_input):
    await asyncio.Event().wait()

@team.agent("warns")
async def warns(task_input):
    warnings.warn("old ways", UserWarning)

plan = Plan("slow", [Task("s", "sleeps")])
warned = Plan("warned", [Task("w", "warns")])
"""


def test_a_run_that_is_stopped_says_so_in_json(start, folder):
    (folder / "slow.py").write_text(SLOW)
    with start("run", "slow:plan", "-t", "slow:team", "--run-id", "r1", "--log-format", "json") as process:
        assert process.stderr is not None
        seen = []
        while not seen or seen[-1].get("event") != "task.started":
            seen.append(json.loads(process.stderr.readline()))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    said = [json.loads(line)["message"] for line in err.splitlines()]
    assert any(line.startswith("cancelling: ") for line in said)
    assert said[-1].startswith("stopped; ")
    assert said[-1].endswith("coterie runs resume r1")
    assert process.returncode == 130


def test_a_warning_of_python_s_is_json_too(coterie, folder):
    (folder / "slow.py").write_text(SLOW)
    done = coterie("run", "slow:warned", "-t", "slow:team", "--log-format", "json", "-q")

    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["logger"], line["task"]) == ("py.warnings", "w")
    assert "old ways" in line["message"]


def test_the_variable_says_the_same(coterie, folder, monkeypatch):
    monkeypatch.setenv("COTERIE_LOG_FORMAT", "json")
    done = coterie("run", "work:failed", "-t", "work:team")

    events = [json.loads(line).get("event") for line in done.stderr.splitlines()]
    assert events[0] == "run.started"
    assert events[-1] == "run.finished"


def test_an_unknown_form_is_refused(coterie):
    done = coterie("run", "work:failed", "-t", "work:team", "--log-format", "xml")

    assert done.returncode == 2
    assert "xml" in done.stderr
