"""With one agent failing, one hanging and one item failing, every engine gives the same report of the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from deploy.demo.in_process import review_in_process
from deploy.demo.on_airflow import review_on_airflow
from deploy.demo.on_prefect import review_on_prefect

from tests.support import faulty_review

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _tests_are_importable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE.parents[1]))


def test_a_report_of_what_succeeded_is_the_same_on_every_engine(
    airflow_python: Path, prefect_python: Path, seeded: Path, tmp_path: Path
):
    def ignore(text: str) -> None: ...

    here = review_in_process(
        str(seeded),
        state=tmp_path / "a",
        output=tmp_path / "out" / "a",
        say=ignore,
        plan=faulty_review.plan(),
        team=faulty_review.team,
    )
    airflow = review_on_airflow(
        str(seeded),
        python=airflow_python,
        dags=HERE / "dags",
        state=tmp_path / "b",
        output=tmp_path / "out" / "b",
        say=ignore,
        dag_id="faulty_review",
        env={"PYTHONPATH": os.environ["PYTHONPATH"]},
    )
    prefect = review_on_prefect(
        str(seeded),
        python=prefect_python,
        flows=HERE / "flows",
        state=tmp_path / "c",
        output=tmp_path / "out" / "c",
        say=ignore,
        flow="faulty_review",
    )

    assert here.digest == airflow.digest == prefect.digest
    assert here.status == "partial"
    assert here.status_document == airflow.status_document == prefect.status_document
    report = json.loads((tmp_path / "out" / "a" / "report.json").read_text())
    assert report["status"] == "partial"
    missing = {(one["task"], one.get("item")) for one in report["missing"]}
    assert missing == {("lint", None), ("docs", None), ("measure", faulty_review.BAD_MODULE)}
    states = {task["id"]: task for task in here.status_document["tasks"]}
    assert states["lint"]["error"]["type"] == "RuntimeError"
    assert states["docs"]["error"]["type"] == "TaskTimedOut"
    assert [item["key"] for item in states["measure"]["items"]["failed"]] == [faulty_review.BAD_MODULE]
    assert airflow.processes >= 2
