"""A folder with a team and plans in it, and ways to run the command there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

WORK = """
import os
import subprocess
from coterie import ForEach, Plan, Retry, Task, Team

team = Team("work")

@team.agent("split")
def split(task_input):
    print("an agent prints")
    os.system("echo a program prints")
    return {"items": [1, 2, 3], "path": task_input.get("path")}

@team.agent("double", capacity=2)
async def double(task_input, ctx):
    if ctx.item == 2:
        raise ValueError("two is [bold]bad[/bold]")
    return task_input["item"] * 2

@team.agent("join")
async def join(task_input, ctx):
    ctx.logger.warning("a word of warning")
    return {"sum": sum(await ctx.output("double"))}

@team.agent("fail")
async def fail(task_input):
    raise RuntimeError("on purpose")

def three(**fields):
    path = {"path": {"$param": "path"}}
    return Plan("three", [
        Task("split", "split", input=path),
        Task("double", "double", foreach=ForEach(task="split", pointer="/items", **fields)),
        Task("join", "join", depends_on=["double"]),
    ], params={"path": "."})

good = three(tolerate_failures=1)
failed = Plan("failed", [Task("fail", "fail", retry=Retry(max_attempts=2, base_s=0.0))])
partial = Plan("partial", [Task("fail", "fail"), Task("after", "join", depends_on=["fail"]), Task("split", "split")])

def made(count: int, note: str = "") -> Plan:
    return Plan("made", [Task(f"t{n}", "split", input={"path": note}) for n in range(count)])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with `work.py` in it; nothing is kept outside of it."""
    (tmp_path / "work.py").write_text(WORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COTERIE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("COTERIE_ARTIFACTS", raising=False)
    monkeypatch.delenv("COTERIE_DEBUG", raising=False)
    # Whatever terminal the tests are run from.
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the real command, in the folder."""

    def started(*argv: str, **options: object) -> subprocess.Popen[str]:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        env = {**os.environ, "NO_COLOR": "1"}
        return subprocess.Popen([sys.executable, "-m", "coterie", *argv], text=True, cwd=folder, env=env, **streams)

    return started


@pytest.fixture
def coterie(start) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the real command to its end."""

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        with start(*argv) as process:
            stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)

    return run
