"""The demo's own modules, the interpreters it needs, and a small repository with known faults."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.seeded_repository import write_seeded_repository


def _python(variable: str) -> Path:
    path = os.environ.get(variable)
    if not path:
        pytest.fail(f"{variable} names no interpreter; run these tests with `make test-demo`")
    return Path(path).absolute()


@pytest.fixture(scope="session")
def airflow_python() -> Path:
    return _python("COTERIE_AIRFLOW_PYTHON")


@pytest.fixture(scope="session")
def prefect_python() -> Path:
    return _python("COTERIE_PREFECT_PYTHON")


@pytest.fixture
def seeded(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    write_seeded_repository(folder)
    return folder
