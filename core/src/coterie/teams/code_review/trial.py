"""Run the reviewed tests, with coverage, in a process of their own.

This executes the reviewed code with the rights of the worker. It gets a fresh home and temporary folder and
none of the worker's environment variables, but it is not a sandbox: run it only on code that you would run.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coterie._json import JsonValue
from coterie.command import CommandOutput
from coterie.errors import StepFailed
from coterie.teams.code_review.finding import Finding, Severity
from coterie.teams.code_review.process import complaint, run_program

__all__ = ["Trial", "trial_findings", "try_tests"]

_OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")
_MAX_RESULT_BYTES = 64 * 2**20
_MAX_FILE_BYTES = 2**30
LOW_COVERAGE = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one test ended. `line` counts from 1."""

    id: str
    outcome: str
    path: str
    line: int | None


@dataclass(frozen=True, slots=True)
class Trial:
    """A run of the tests. `covered`: by path, executed and all statements. `failure`: why there is no result."""

    outcomes: tuple[Outcome, ...] = ()
    covered: Mapping[str, tuple[int, int]] | None = None
    failure: str | None = None

    def metrics(self) -> dict[str, JsonValue]:
        """Counts of outcomes, and the share of statements that ran (0 to 1; null if unknown)."""
        counts = Counter(outcome.outcome for outcome in self.outcomes)
        ran, every = (sum(column) for column in zip(*(self.covered or {"": (0, 0)}).values(), strict=True))
        share = ran / every if every else None
        return {**{name: counts[name] for name in _OUTCOMES}, "coverage": share, "finished": self.failure is None}


async def try_tests(root: Path, scratch: Path, *, timeout_s: float) -> Trial:
    """Run pytest below `root`, a folder of its own that the tests may change; `scratch` takes the rest."""
    for name in ("home", "tmp", "plugin"):
        (scratch / name).mkdir()
    shutil.copy(Path(__file__).with_name("outcomes.py"), scratch / "plugin" / "coterie_outcomes.py")
    settings = scratch / "coveragerc"
    settings.write_text(f"[run]\nsource = .\ndata_file = {scratch / 'coverage'}\nrelative_files = true\n")
    python = [sys.executable, "-m"]
    pytest = ["pytest", "-q", "--tb=no", "--no-header", "--capture=no", "-p", "no:cacheprovider"]
    pytest += ["-p", "coterie_outcomes", "-o", "addopts=", f"--rootdir={root}"]
    try:
        done = await _run([*python, "coverage", "run", f"--rcfile={settings}", "-m", *pytest], root, scratch, timeout_s)
        outcomes = _read_outcomes(scratch / "outcomes.json", done)
        report = scratch / "coverage.json"
        coverage = ["coverage", "json", "-q", "-i", f"--rcfile={settings}", "-o", str(report)]
        await _run([*python, *coverage], root, scratch, timeout_s)
    except StepFailed as error:
        # It belongs to the reviewed tests: a finding, beside what is known without running them.
        return Trial(failure=str(error).replace(str(root), ".").replace(str(scratch), "."))
    return Trial(outcomes, _read_coverage(report))


def trial_findings(trial: Trial, modules: Mapping[str, bytes]) -> Iterator[Finding]:
    """What the run shows: tests that failed, and modules of which less than half ran."""
    if trial.failure is not None:
        yield _finding("test-run-failed", "error", f"the tests could not be run to the end: {trial.failure}")
    for outcome in trial.outcomes:
        path = outcome.path if outcome.path in modules else None
        if outcome.outcome in ("failed", "error"):
            verb = "fails" if outcome.outcome == "failed" else "cannot be set up or imported"
            yield _finding(
                "failing-test", "error", f"{outcome.id!r} {verb}; run it alone to see why", path, outcome.line
            )
    for path, (ran, every) in (trial.covered or {}).items():
        if path in modules and every and ran / every < LOW_COVERAGE:
            message = f"the tests execute {ran} of its {every} statements; test what matters in it"
            yield _finding("low-coverage", "note", message, path, 1)


async def _run(argv: list[str], root: Path, scratch: Path, timeout_s: float) -> CommandOutput:
    paths = [scratch / "plugin", root, *([root / "src"] if (root / "src").is_dir() else [])]
    env = {
        "COTERIE_OUTCOMES": str(scratch / "outcomes.json"),
        "HOME": str(scratch / "home"),
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "TMPDIR": str(scratch / "tmp"),
        "TZ": "UTC",
    }
    return await run_program(argv, name=argv[2], cwd=root, env=env, timeout_s=timeout_s, max_file_bytes=_MAX_FILE_BYTES)


def _read_outcomes(path: Path, done: CommandOutput) -> tuple[Outcome, ...]:
    """The plugin's file; whatever the reviewed code may have made of it, only well-formed entries count."""
    try:
        entries: list[Any] = list(_read_json(path)["tests"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        said = complaint(done)
        raise StepFailed(f"pytest ended with exit code {done.exit_code} before any test: {said!r}") from error
    return tuple(outcome for entry in entries if (outcome := _read_outcome(entry)) is not None)


def _read_json(path: Path) -> Any:
    """What a process of the reviewed code wrote; it may have put anything there, also what never ends."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_RESULT_BYTES:
            raise ValueError("no file, or too long")
        return json.loads(file.read(_MAX_RESULT_BYTES))


def _read_outcome(entry: Any) -> Outcome | None:
    if not isinstance(entry, dict) or entry.get("outcome") not in _OUTCOMES:
        return None
    name, path, line = entry.get("id"), entry.get("path"), entry.get("line")
    if not isinstance(name, str) or not isinstance(path, str) or not isinstance(line, int | None):
        return None
    return Outcome(name[:500], entry["outcome"], path, line)


def _read_coverage(path: Path) -> dict[str, tuple[int, int]] | None:
    try:
        files: dict[str, Any] = _read_json(path)["files"]
        counts = {name: entry["summary"] for name, entry in sorted(files.items())}
        return {name: (int(each["covered_lines"]), int(each["num_statements"])) for name, each in counts.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # Nothing was executed, or the reviewed code spoiled the file: there is no coverage to tell of.
        return None


def _finding(rule: str, severity: Severity, message: str, path: str | None = None, line: int | None = None) -> Finding:
    return Finding(agent="tester", tool="pytest", rule=rule, severity=severity, message=message, path=path, line=line)
