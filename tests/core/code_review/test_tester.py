"""Judging tests, and running them when asked."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from coterie.teams.code_review.tester import judge_tests
from coterie.teams.code_review.trial import Trial, trial_findings, try_tests


def rules(modules: dict[str, str]) -> list[tuple[str, str | None]]:
    answer = judge_tests({path: text.encode() for path, text in modules.items()})
    return [(each["rule"], each["path"]) for each in answer["findings"]]


async def trial_of(tmp_path: Path, files: dict[str, str], timeout_s: float = 60) -> tuple[Trial, list[Any]]:
    scratch = tmp_path / "scratch"
    root = scratch / "tree"
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    trial = await try_tests(root, scratch, timeout_s=timeout_s)
    return trial, list(trial_findings(trial, dict.fromkeys(files, b"")))


def test_test_functions_methods_and_cases_are_counted():
    text = "def test_a(): assert 1\nclass TestB:\n    def test_b(self): assert 1\n    def help(self): ...\n"
    text += "class C(unittest.TestCase):\n    def test_c(self): self.fail()\nclass D:\n    def test_no(self): ...\n"

    assert judge_tests({"tests/test_x.py": text.encode()})["metrics"]["tests"] == 3


def test_a_source_without_tests_is_a_finding():
    assert rules({"a.py": "x = 1\n"}) == [("no-tests", None)]


def test_few_tests_for_much_code_are_a_finding():
    files = {"a.py": "def f():\n" + "    x = 1\n" * 200, "test_a.py": "import a\n\ndef test_a():\n    assert a.f\n"}

    assert rules(files) == [("few-tests", None)]


def test_a_test_that_does_nothing_is_a_finding():
    files = {"test_a.py": "def test_a():\n    '''Later.'''\n    ...\n    pass\n\ndef test_b():\n    f()\n"}

    assert rules(files) == [("empty-test", "test_a.py")]


def test_modules_that_no_test_reaches_are_findings():
    files = {"p/__init__.py": "", "p/a.py": "from p import b\ndef f(): ...\n", "p/b.py": "def g(): ...\n"}
    files |= {"p/lost.py": "def h(): ...\n", "p/__main__.py": "def m(): ...\n", "p/constants.py": "X = 1\n"}
    files |= {"tests/test_a.py": "import p.a\n\ndef test_a():\n    assert p.a.f() is None\n"}

    assert rules(files) == [("unreached-module", "p/lost.py")]


async def test_outcomes_are_counted_without_times(tmp_path: Path):
    text = """
import pytest

def test_passes(): assert True
def test_fails(): assert False
@pytest.mark.skip(reason="later")
def test_skipped(): ...
@pytest.mark.xfail
def test_known(): assert False
@pytest.fixture
def broken(): raise OSError
def test_without_fixture(broken): ...
"""
    trial, findings = await trial_of(tmp_path, {"test_a.py": text})

    counts = trial.metrics()
    assert {name: counts[name] for name in ("passed", "failed", "error", "skipped", "xfailed")} == {
        "passed": 1,
        "failed": 1,
        "error": 1,
        "skipped": 1,
        "xfailed": 1,
    }
    assert [(each.rule, each.path, each.line) for each in findings] == [
        ("failing-test", "test_a.py", 5),
        ("failing-test", "test_a.py", 12),
    ]


async def test_coverage_is_counted_by_file(tmp_path: Path):
    code = "def f():\n    return 1\n\ndef g():\n    a = 1\n    b = 2\n    c = 3\n    return a + b + c\n"
    test = "from pkg import a\n\ndef test_f():\n    assert a.f() == 1\n"

    trial, findings = await trial_of(
        tmp_path, {"src/pkg/__init__.py": "", "src/pkg/a.py": code, "tests/test_a.py": test}
    )

    assert trial.covered is not None
    assert trial.covered["src/pkg/a.py"] == (3, 7)
    assert [(each.rule, each.path) for each in findings] == [("low-coverage", "src/pkg/a.py")]


async def test_a_module_that_cannot_be_imported_is_an_error_beside_the_others(tmp_path: Path):
    files = {"test_a.py": "import nothing_like_it\n", "test_b.py": "def test_b(): assert True\n"}

    trial, findings = await trial_of(tmp_path, files)

    assert trial.metrics()["error"] == 1
    assert [(each.rule, each.path) for each in findings] == [("failing-test", "test_a.py")]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import time; time.sleep(600)", "did not end within 1.5 s"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "exit code -9"),
        ("import os; os._exit(3)", "exit code 3"),
        ("while True: print('x' * 2**20)", "wrote more than"),
    ],
)
async def test_tests_that_hang_die_or_flood_are_a_finding(tmp_path: Path, body: str, reason: str):
    timeout_s = 1.5 if "did not end" in reason else 60

    trial, findings = await trial_of(tmp_path, {"test_a.py": f"def test_a():\n    {body}\n"}, timeout_s)

    assert [each.rule for each in findings] == ["test-run-failed"]
    assert reason in (trial.failure or "")
    assert str(tmp_path) not in (trial.failure or "")


async def test_the_workers_secrets_stay_with_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    text = "import os\n\ndef test_a():\n    assert 'AWS_SECRET_ACCESS_KEY' not in os.environ\n"
    text += f"    assert os.environ['HOME'] != {os.environ['HOME']!r}\n"

    trial, findings = await trial_of(tmp_path, {"test_a.py": text})

    assert trial.metrics()["passed"] == 1
    assert findings == []


async def test_options_that_the_repository_adds_are_not_needed(tmp_path: Path):
    files = {"pytest.ini": "[pytest]\naddopts = --no-such-option\n", "test_a.py": "def test_a(): assert True\n"}

    trial, _ = await trial_of(tmp_path, files)

    assert trial.metrics()["passed"] == 1


async def test_outcomes_that_the_reviewed_code_forges_cannot_break_the_review(tmp_path: Path):
    conftest = """
import os, atexit
def pytest_unconfigure():
    with open(os.environ["COTERIE_OUTCOMES"], "w") as file:
        file.write('{"tests": [7, {"outcome": "failed"}, {"id": "x", "outcome": "odd", "path": "p", "line": 1}]}')
"""
    trial, findings = await trial_of(tmp_path, {"conftest.py": conftest, "test_a.py": "def test_a(): ...\n"})

    assert trial.outcomes == ()
    assert findings == []


@pytest.mark.parametrize(
    "left",
    [
        "os.mkfifo(path)",
        "os.symlink('/dev/zero', path)",
        "os.mkdir(path)",
        """open(path, 'w').write('[' * 100_000)""",
        """open(path, 'w').write('{"tests": 5}')""",
    ],
)
async def test_whatever_lies_where_the_outcomes_should_be_is_a_finding(tmp_path: Path, left: str):
    conftest = f"""
import os
def pytest_unconfigure():
    path = os.environ["COTERIE_OUTCOMES"]
    os.unlink(path)
    {left}
"""
    async with asyncio.timeout(30):
        trial, findings = await trial_of(tmp_path, {"conftest.py": conftest, "test_a.py": "def test_a(): ...\n"})

    assert trial.failure is not None
    assert [finding.rule for finding in findings] == ["test-run-failed"]


async def test_cancelling_kills_the_tests_and_their_children(tmp_path: Path):
    os.mkfifo(tmp_path / "pids")
    text = f"""
import os, subprocess, time

def test_a():
    child = subprocess.Popen(["sleep", "600"])
    with open({str(tmp_path / "pids")!r}, "w") as pipe:
        pipe.write(f"{{os.getpid()}} {{child.pid}}")
    time.sleep(600)
"""
    running = asyncio.ensure_future(trial_of(tmp_path, {"test_a.py": text}))
    pids = await asyncio.to_thread((tmp_path / "pids").read_text)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert [is_gone(int(pid)) for pid in pids.split()] == [True, True]


def is_gone(pid: int) -> bool:
    """Ended: no such process, or one that only waits to be reaped by whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
