"""Find in the agents' metrics the numbers that are worth a picture.

Metrics are the agents' own business: a number that is absent, or not of the kind expected, simply gives no
picture. Nothing here raises for what an agent said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from coterie._json import JsonValue
from coterie.teams.code_review.report.shape import Report

__all__ = ["Docstrings", "TestSize", "Trial", "complexity", "docstrings", "lines", "maintainability", "tests", "trial"]

# Radon's ranks by cyclomatic complexity, and the least of each.
_RANKS = (("A", 0.0), ("B", 6.0), ("C", 11.0), ("D", 21.0), ("E", 31.0), ("F", 41.0))
# Radon ranks a maintainability index of at most 9 C, of at most 19 B; above, it makes no difference.
_INDICES = (("0 to 9", 0.0), ("to 19", 9.0), ("to 40", 19.0), ("to 60", 40.0), ("to 80", 60.0), ("to 100", 80.0))
_LINES = (
    ("code", "code_lines"),
    ("comments", "comment_lines"),
    ("docstrings", "docstring_lines"),
    ("blank", "blank_lines"),
)


class Docstrings(NamedTuple):
    """How many of the public definitions have a docstring."""

    documented: int
    public: int


class TestSize(NamedTuple):
    """Lines of tests beside lines of the rest, and the number of test functions."""

    test_lines: int
    source_lines: int
    functions: int


class Trial(NamedTuple):
    """How a run of the tests ended; `coverage` is the share of statements that ran, if known."""

    passed: int
    failed: int
    coverage: float | None


def complexity(report: Report) -> list[tuple[str, int]]:
    """Modules by the rank (A to F) of their most complex function; empty if nobody measured."""
    counts = dict.fromkeys((rank for rank, _ in _RANKS), 0)
    for value in _numbers(report, "analyzer", "complexity_max"):
        counts[next(rank for rank, least in reversed(_RANKS) if value >= least or least == 0)] += 1
    return list(counts.items()) if any(counts.values()) else []


def maintainability(report: Report) -> list[tuple[str, int]]:
    """Modules by maintainability index (0 to 100, more is better); empty if nobody measured."""
    counts = dict.fromkeys((name for name, _ in _INDICES), 0)
    for value in _numbers(report, "analyzer", "maintainability"):
        counts[next(name for name, above in reversed(_INDICES) if value > above or above == 0)] += 1
    return list(counts.items()) if any(counts.values()) else []


def lines(report: Report) -> list[tuple[str, int]]:
    """Lines of code, comments, docstrings and blank ones; empty if nobody counted."""
    totals = [(name, _total(report, "analyzer", metric)) for name, metric in _LINES]
    return [(name, int(total)) for name, total in totals if total] if totals[0][1] else []


def docstrings(report: Report) -> Docstrings | None:
    """Docstring coverage over all that the documenter looked at."""
    documented, public = _total(report, "documenter", "documented"), _total(report, "documenter", "public")
    if not public or documented is None or not 0 <= documented <= public:
        return None
    return Docstrings(int(documented), int(public))


def tests(report: Report) -> TestSize | None:
    """The size of the tests, as the tester found them."""
    test_lines, source_lines = (_total(report, "tester", name) for name in ("test_lines", "source_lines"))
    if test_lines is None or not source_lines or min(test_lines, source_lines) < 0:
        return None
    return TestSize(int(test_lines), int(source_lines), int(_total(report, "tester", "tests") or 0))


def trial(report: Report) -> Trial | None:
    """How the tests ended, if they were run."""
    for run in _all(report, "tester", "run"):
        if isinstance(run, dict):
            passed, failed, errors = (_number(run.get(name)) or 0 for name in ("passed", "failed", "error"))
            return Trial(int(passed), int(failed + errors), _number(run.get("coverage")))
    return None


def _numbers(report: Report, agent: str, name: str) -> list[float]:
    return [each for each in map(_number, _all(report, agent, name)) if each is not None]


def _total(report: Report, agent: str, name: str) -> float | None:
    numbers = _numbers(report, agent, name)
    return math.fsum(numbers) if numbers else None


def _all(report: Report, agent: str, name: str) -> Iterator[JsonValue]:
    """Each value called `name` in the metrics of the agent's tasks and of their items."""
    for values in report["metrics"].get(agent, {}).values():
        if not isinstance(values, dict):
            continue
        items = values.get("items")
        groups = [values, *(items.values() if isinstance(items, dict) else [])]
        yield from (group[name] for group in groups if isinstance(group, dict) and name in group)


def _number(value: JsonValue) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
