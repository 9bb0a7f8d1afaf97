"""Each guarantee names a test that proves it, and that test is there."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.docs.environments import interpreter_path, variables
from tests.docs.markdown import REPOSITORY, pages

_TEST = re.compile(r"tests/(?:core|fleet|journal|airflow|prefect|docs|demo)/[\w/]+\.py(?:::\w+)*")


def guarantees() -> list[tuple[str, str]]:
    """(page, test) for each test that a table of guarantees names."""
    found = []
    for page in pages():
        for heading, *rows in page.tables():
            if "guarantee" in heading[0].lower():
                found += [(page.name, test) for row in rows for test in _tests_of(page.name, row)]
    return found


def _tests_of(page: str, row: list[str]) -> list[str]:
    named = [match[0] for match in _TEST.finditer(row[-1])]
    assert named, f"{page}: the guarantee {row[0]!r} names no test that proves it"
    return named


def test_the_readme_and_the_reference_hold_guarantees():
    assert {page for page, _ in guarantees()} >= {"README.md", "docs/reference/guarantees.md"}


@pytest.mark.parametrize("environment", ["core", "airflow", "prefect"])
def test_the_tests_behind_the_guarantees_can_be_collected(environment: str, tmp_path: Path):
    wanted = defaultdict(list)
    for _, test in guarantees():
        folder = test.split("/")[1]
        wanted[folder if folder in ("airflow", "prefect") else "core"].append(test)

    command = [str(interpreter_path(environment)), "-m", "pytest", "--collect-only", "-qq", "-o", "addopts="]
    done = subprocess.run(
        [*command, "--import-mode=importlib", *sorted(set(wanted[environment]))],
        cwd=REPOSITORY,
        env=variables(environment, tmp_path),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
