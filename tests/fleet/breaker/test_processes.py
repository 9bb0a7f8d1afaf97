"""Real processes that share a breaker on one machine, one of them killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
MEMBER = Path(__file__).with_name("member.py")


class Member:
    def __init__(self, path: Path, residence: str, **policy: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(MEMBER), str(path), residence, json.dumps(policy)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        heard = self.process.stdout.readline().strip()
        assert heard, f"the process ended with {self.process.wait()}"
        return heard

    def ask(self, line: str) -> str:
        self.tell(line)
        return self.hear()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            self.tell("end")
            assert self.process.wait(20) == 0
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def join(tmp_path: Path) -> Iterator[Callable[..., Member]]:
    members: list[Member] = []

    def joined(residence: str = "resident", **policy: object) -> Member:
        members.append(Member(tmp_path / "state.db", residence, **policy))
        return members[-1]

    yield joined
    for member in members:
        member.end()


@pytest.mark.parametrize("residence", ["resident", pytest.param("transient", marks=pytest.mark.full)])
def test_four_processes_with_a_quarter_of_the_threshold_each_trip_it(join, residence: str):
    members = [join(residence, failure_threshold=8) for _ in range(4)]
    for member in members:
        assert member.hear() == "ready"

    for member in members:
        member.tell("fail 2")
    assert [member.hear() for member in members] == ["failed"] * 4

    if residence == "resident":
        assert [member.ask("state open") for member in members] == ["open"] * 4
    assert all(member.ask("work").startswith("refused") for member in members)


def test_the_permit_of_a_killed_process_expires(join):
    # Short, and on the store's own clock: two permits long the trial lasts.
    policy = {
        "jitter": 0.0, "timeout_s": 0.05, "max_timeout_s": 0.05, "half_open_max_calls": 1, "success_threshold": 1,
        "probe_timeout_s": 1.0, "round_timeout_s": 60.0,
    }  # fmt: skip
    victim, survivor = join(**policy), join(**policy)
    assert (victim.hear(), survivor.hear()) == ("ready", "ready")
    victim.ask("fail 5")
    assert survivor.ask("state open") == "open"
    assert victim.ask("hold") == "held"

    victim.kill()

    answers = []
    while not answers or answers[-1].startswith("refused"):
        answers.append(survivor.ask("work"))
    assert answers[-1] == "done"
    assert survivor.ask("state closed") == "closed"
