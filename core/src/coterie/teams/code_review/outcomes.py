"""A pytest plugin that writes how every test ended, without times, to the file `COTERIE_OUTCOMES`.

Copied beside the reviewed tests and loaded there by name, so it imports nothing of coterie.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

_RANK = {"skipped": 0, "passed": 1, "xfailed": 2, "xpassed": 3, "failed": 4, "error": 5}
# By test id: outcome, path, line from 1.
_outcomes: dict[str, tuple[str, str, int | None]] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note one phase of a test; the worst phase counts."""
    outcome = _outcome(report)
    if outcome is not None:
        path, line, _ = report.location
        _note(report.nodeid, outcome, path, None if line is None else line + 1)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a module that could not be imported."""
    if report.failed:
        _note(report.nodeid, "error", report.nodeid.partition("::")[0], None)


def pytest_sessionfinish() -> None:
    """Write all outcomes, by test id."""
    tests = [{"id": name, "outcome": o, "path": p, "line": n} for name, (o, p, n) in sorted(_outcomes.items())]
    Path(os.environ["COTERIE_OUTCOMES"]).write_text(json.dumps({"tests": tests}))


def _outcome(report: pytest.TestReport) -> str | None:
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed" if report.passed else "failed"
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if report.skipped:
        return "skipped"
    return "passed" if report.when == "call" else None


def _note(name: str, outcome: str, path: str, line: int | None) -> None:
    before = _outcomes.get(name)
    if before is None or _RANK[outcome] > _RANK[before[0]]:
        _outcomes[name] = (outcome, path, line)
