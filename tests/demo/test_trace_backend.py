"""What a real trace backend has of a run that Airflow, workers and Prefect share, when all of them sent it spans."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.otlp import Trace
from tests.support.trace_backend import backend
from tests.support.traced_run import Parts
from tests.support.traced_tree import TREE, difference, drawn, unlinked

pytestmark = [pytest.mark.system, pytest.mark.airflow, pytest.mark.prefect]


@pytest.fixture
def backend_python() -> Path:
    path = os.environ.get("COTERIE_BACKEND_PYTHON")
    if not path:
        pytest.fail("COTERIE_BACKEND_PYTHON names no interpreter; run these tests with `make test-system`")
    return Path(path).absolute()


def test_the_backend_shows_the_run_as_one_tree(
    airflow_python: Path, prefect_python: Path, backend_python: Path, tmp_path: Path
):
    home, folder = tmp_path / "backend", tmp_path / "run"
    home.mkdir()
    folder.mkdir()
    with backend(backend_python, home) as phoenix:
        parts = Parts(folder, phoenix.url, airflow_python, prefect_python)
        ended = parts.perform()
        trace_id = json.loads(parts.shown(ended.run_id))["run"]["trace_id"]
        known = {spans["call"]: f"lost call of {task}" for task, spans in ended.lost.items()}

        def tree(trace: Trace) -> str:
            return drawn(trace, library={"glass", "balance"}, known=known, linked=False)

        found = phoenix.trace_once(trace_id, lambda trace: tree(trace) == unlinked(TREE))

    assert tree(found) == unlinked(TREE), difference(tree(found), unlinked(TREE))
    attempt = next(span for span in found.spans if span.name == "invoke_agent looker" and span.status == "error")
    assert [event.attributes["exception.message"] for event in attempt.events] == ["the glass is fogged"]
