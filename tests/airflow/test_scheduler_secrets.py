"""On a real scheduler: no task's log, no XCom and no note has one of the secrets that agents know, and tell."""

from __future__ import annotations

import json

import pytest

from tests.airflow.on_scheduler import Run
from tests.fleet.planted.secrets import KEY, leaks

pytestmark = pytest.mark.airflow


@pytest.fixture(scope="module")
def run(server, server_artifacts) -> Run:
    """Over."""
    found = Run(server, server_artifacts, "loose", server.trigger("loose", {"api_key": KEY}))
    found.wait()
    return found


def test_no_task_s_log_tells_one(run):
    logs = {
        f"{task} {attempt}": run.log(task, attempt=attempt)
        for (task, _), tries in run.tries().items()
        for attempt in range(1, tries + 1)
    }

    assert len(logs) >= 5
    assert "401: the key *** is revoked" in logs["leak 1"]
    assert "no entry for *** at the gate" in logs["fetch 1"]
    assert leaks(logs) == []


def test_no_xcom_and_no_note_has_one(run, server):
    xcoms, note = json.dumps(server.xcoms("loose", run.run_id)), run.wait()["note"]

    assert "leak" in note
    assert leaks({"XComs": xcoms, "the note": note}) == []


def test_no_component_has_logged_one(run, server):
    written = {str(path): path.read_text("utf-8", "replace") for path in server.home.rglob("*.log")}

    assert len(written) >= 3
    assert leaks(written) == []
