"""A run begins on Airflow, loses its worker, and goes on on Prefect by its workflow id; then Airflow has it too."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from deploy.demo.airflow_server import AirflowServer
from deploy.demo.prefect_server import PrefectServer

from coterie import ArtifactStore, Orchestrator, Ref
from tests.support import hop

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


@pytest.mark.airflow
@pytest.mark.prefect
def test_a_run_hops_from_airflow_to_prefect_and_back_and_each_call_is_billed_once(
    airflow_python: Path, prefect_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ledger = tmp_path / "ledger"
    (tmp_path / "die").touch()
    env = {
        hop.FOLDER: str(tmp_path),
        "COTERIE_STORE": f"sqlite://{tmp_path}/state.db",
        "COTERIE_ARTIFACTS": f"file://{tmp_path}/artifacts",
        "PYTHONPATH": str(REPOSITORY),
    }
    with AirflowServer(HERE / "dags", python=airflow_python, home=tmp_path / "airflow", env=env) as airflow:
        dag_run = airflow.trigger("hop")
        assert airflow.wait("hop", dag_run)["state"] == "failed"
        run_id = f"airflow.hop.{dag_run}"
        assert counted(ledger)["weigh/"] == 1
        before = states(airflow, dag_run)

        there = on_prefect(prefect_python, tmp_path, env, run_id)
        after_hop = counted(ledger)
        clear_what_failed(airflow, dag_run)
        assert airflow.wait("hop", dag_run)["state"] == "success"

        assert before["weigh"] == "failed"
        assert before["report"] == "upstream_failed"
        assert counted(ledger) == after_hop, "Airflow did nothing anew: it was told what Prefect had finished"
        here = Ref.deserialize(airflow.xcom("hop", dag_run, "report")["__data__"])
        log = airflow.task_log("hop", dag_run, "weigh", attempt=2)

    assert there["status"] == "succeeded"
    assert "replayed 'weigh'" in log
    assert "prefect." in log
    # The task that died is called twice, under one key; each of its steps, and all else, once.
    assert Counter(after_hop.values()) == {1: len(after_hop) - 1, 2: 1}
    assert after_hop["weigh/"] == 2
    assert len({bill["key"] for bill in hop.bills(ledger) if bill["unit"] == "weigh/"}) == 1
    assert here.sha256 == there["sha256"] == uninterrupted(tmp_path, monkeypatch)


def counted(ledger: Path) -> Counter[str]:
    return Counter(bill["unit"] for bill in hop.bills(ledger))


def states(airflow: AirflowServer, dag_run: str) -> dict[str, str]:
    return {one["task_id"]: one["state"] for one in airflow.tasks("hop", dag_run)}


def clear_what_failed(airflow: AirflowServer, dag_run: str) -> None:
    """As a person does, who fixed what was wrong."""
    body = {"dry_run": False, "only_failed": True, "dag_run_id": dag_run, "include_downstream": True}
    airflow.call("POST", "/api/v2/dags/hop/clearTaskInstances", body)


def on_prefect(python: Path, folder: Path, env: dict[str, str], run_id: str) -> dict[str, str]:
    with PrefectServer(folder / "prefect", python=python) as server:
        flow = [str(python), str(HERE / "flows" / "hop.py"), run_id]
        done = subprocess.run(
            flow, env={**server.environment(), **env}, capture_output=True, text=True, timeout=300, check=False
        )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def uninterrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The digest of the report of a run that nothing happened to, in this process."""
    (folder / "alone").mkdir()
    monkeypatch.setenv(hop.FOLDER, str(folder / "alone"))
    store = ArtifactStore(f"file://{folder}/alone/artifacts")
    result = asyncio.run(Orchestrator(hop.team, artifacts=store).execute_workflow(hop.plan))
    output = result["report"].output
    assert isinstance(output, Ref)
    return output.sha256
