"""Ctrl-C and SIGTERM without a grace: agents end with their children, and what was done is told.

Each child holds the write end of a pipe: its end of file is the proof that all of them are gone.
"""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest

WAIT_S = 60

TEAM = """
name: stubborn
agents:
  - agent_type: quick
    command: [echo, '{}']
  - agent_type: polite
    command: [sh, -c, 'exec 9>pipe; echo started >&9; sleep 1000 & wait']
  - agent_type: deaf
    command: [sh, -c, 'trap "" TERM INT; exec 9>pipe; echo started >&9; sleep 1000 & wait; wait']
"""
PLAN = """
name: long
tasks:
  - {id: first, agent_type: quick}
  - {id: long, agent_type: %s, depends_on: [first]}
  - {id: never, agent_type: quick, depends_on: [long]}
"""


class Pipe:
    """The read end: `started` when a child wrote to it, `gone` when nobody can any more."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def _read(self) -> bytes:
        ready, _, _ = select.select([self._descriptor], [], [], WAIT_S)
        assert ready, "no child wrote or ended in time"
        return os.read(self._descriptor, 100)

    def await_started(self) -> None:
        assert self._read() == b"started\n"

    def await_gone(self) -> None:
        assert self._read() == b""

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def pipe(folder):
    pipe = Pipe(folder / "pipe")
    yield pipe
    pipe.close()


@pytest.fixture
def start_long(start, folder, pipe):
    (folder / "team.yaml").write_text(TEAM)

    def started(agent_type: str, *options: str):
        (folder / "plan.yaml").write_text(PLAN % agent_type)
        process = start("run", "plan.yaml", "--team", "team.yaml", *options)
        pipe.await_started()
        return process

    return started


AT_ONCE = ("--graceful-shutdown-timeout", "0")


@pytest.mark.parametrize(("number", "options"), [(signal.SIGINT, ()), (signal.SIGTERM, AT_ONCE)])
def test_a_signal_cancels_the_run_and_leaves_no_child(start_long, pipe, number, options):
    with start_long("polite", *options) as process:
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=WAIT_S)

    pipe.await_gone()
    assert process.returncode == 130
    assert "cancelled: 1 of 3 tasks succeeded" in stdout
    assert "cancelling" in stderr
    assert "Traceback" not in stderr


def test_cancelled_json_is_still_json(start_long, pipe):
    import json

    with start_long("polite", "--json") as process:
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=WAIT_S)

    document = json.loads(stdout)
    assert document["status"] == "cancelled"
    assert document["exit_code"] == process.returncode == 130
    assert [task["state"] for task in document["tasks"]] == ["succeeded", "cancelled", "cancelled"]
    pipe.await_gone()


def test_a_second_signal_ends_at_once_and_leaves_no_child(start_long, pipe):
    with start_long("deaf") as process:
        process.send_signal(signal.SIGINT)
        while "cancelling" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=WAIT_S)

    pipe.await_gone()
    assert process.returncode == 130
    assert stdout == ""
    assert "Traceback" not in stderr
