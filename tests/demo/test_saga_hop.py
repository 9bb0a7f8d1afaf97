"""A run fails on Airflow, and its worker is killed while it undoes it: Prefect finishes that, and Airflow is told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from deploy.demo.airflow_server import AirflowServer
from deploy.demo.prefect_server import PrefectServer

from coterie import ArtifactStore, Ref, SagaResult, sync
from tests.support.provisioning import keys, ledger, order

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
LAST = "workflow_result"


@pytest.mark.airflow
@pytest.mark.prefect
def test_a_run_that_airflow_began_to_undo_is_undone_by_prefect_and_each_step_once(
    airflow_python: Path, prefect_python: Path, tmp_path: Path
):
    folder = tmp_path / "provider"
    folder.mkdir()
    order(folder, "+app", "fail")
    order(folder, "-net", "die")
    env = {
        "COTERIE_STORE": f"sqlite://{tmp_path}/state.db",
        "COTERIE_ARTIFACTS": f"file://{tmp_path}/artifacts",
        "PYTHONPATH": str(REPOSITORY),
    }
    with AirflowServer(HERE / "dags", python=airflow_python, home=tmp_path / "airflow", env=env) as airflow:
        dag_run = airflow.trigger("saga_hop", {"folder": str(folder)})
        airflow.wait_for("the killed worker", lambda: state_of(airflow, dag_run, LAST) == "up_for_retry")

        there = on_prefect(prefect_python, tmp_path, env, f"airflow.saga_hop.{dag_run}", folder)
        undone = ledger(folder)
        go_on(airflow, dag_run)
        ended = airflow.wait("saga_hop", dag_run)
        ref = Ref.deserialize(airflow.xcom("saga_hop", dag_run, LAST)["__data__"])

    assert undone == ["+net", "+vm", "+app", "-vm", "-net", "-net"]
    assert keys(folder, "-net") == 1
    assert ledger(folder) == undone, "Airflow did nothing anew: it was told what Prefect had undone"
    here = SagaResult.from_dict(sync.ArtifactStore(ArtifactStore(f"file://{tmp_path}/artifacts")).load(ref))
    assert ended["state"] == "failed"
    assert here.status_document() == there
    assert there["saga"]["outcome"] == "compensated"


def state_of(airflow: AirflowServer, dag_run: str, task_id: str) -> str:
    return {one["task_id"]: one["state"] for one in airflow.tasks("saga_hop", dag_run)}[task_id]


def go_on(airflow: AirflowServer, dag_run: str) -> None:
    """As a person does, who does not want to wait for the retry."""
    body = {"dry_run": False, "only_failed": False, "dag_run_id": dag_run, "task_ids": [LAST]}
    airflow.call("POST", "/api/v2/dags/saga_hop/clearTaskInstances", body)


def on_prefect(python: Path, home: Path, env: dict[str, str], run_id: str, folder: Path) -> dict[str, object]:
    with PrefectServer(home / "prefect", python=python) as server:
        flow = [str(python), str(HERE / "flows" / "saga_hop.py"), run_id, str(folder)]
        done = subprocess.run(
            flow, env={**server.environment(), **env}, capture_output=True, text=True, timeout=300, check=False
        )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found
