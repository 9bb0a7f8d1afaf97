"""The review on a real Airflow, started for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploy.demo.airflow_server import AirflowServer
from deploy.demo.outcome import Outcome, read_outcome

from coterie import Ref, WorkflowResult, sync

__all__ = ["review_on_airflow"]

ENGINE = "Airflow"
EXAMPLE = "code_review"
POLL_S = 1.0
TIMEOUT_S = 900.0


def review_on_airflow(
    source: str,
    *,
    python: Path,
    dags: Path,
    state: Path,
    output: Path,
    say: Callable[[str], None],
    dag_id: str = EXAMPLE,
    env: Mapping[str, str] | None = None,
) -> Outcome:
    """Start Airflow with the DAGs of a folder, trigger the review over the REST API, wait, read, stop."""
    began = time.monotonic()
    artifacts = f"file://{state / 'artifacts'}"
    connection = json.dumps({"conn_type": "coterie", "extra": {"artifacts": artifacts}})
    say("starting Airflow: scheduler, DAG processor, triggerer, API server")
    with AirflowServer(
        dags,
        python=python.absolute(),
        home=state / "home",
        env={"AIRFLOW_CONN_COTERIE_DEFAULT": connection, **(env or {})},
    ) as airflow:
        say(f"healthy at {airflow.url}")
        run_id = airflow.trigger(dag_id, {"source": source})
        say(f"triggered {dag_id} as {run_id}")
        _follow(airflow, dag_id, run_id, say)
        instances = airflow.tasks(dag_id, run_id)
        ref = airflow.xcom(dag_id, run_id, "workflow_result")
        store = sync.ArtifactStore(artifacts)
        result: Any = store.load(
            Ref.deserialize(json.loads(ref)["__data__"] if isinstance(ref, str) else ref["__data__"])
        )
        return read_outcome(
            ENGINE,
            WorkflowResult.from_dict(result),
            store,
            folder=output,
            tasks=len(instances),
            processes=len({one["pid"] for one in instances if one["pid"] is not None}),
            wall_s=time.monotonic() - began,
        )


def _follow(airflow: AirflowServer, dag_id: str, run_id: str, say: Callable[[str], None]) -> None:
    """Say what ends, until the run has."""
    told: set[tuple[str, int]] = set()
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        run = airflow.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")
        for one in airflow.tasks(dag_id, run_id):
            key = (one["task_id"], one["map_index"])
            if key not in told and one["end_date"] is not None:
                told.add(key)
                part = f"[{one['rendered_map_index'] or one['map_index']}]" if one["map_index"] >= 0 else ""
                say(f"{one['task_id']}{part} {one['state']}")
        if run["state"] in ("success", "failed"):
            return
        time.sleep(POLL_S)
    raise RuntimeError(f"the review on Airflow did not end within {TIMEOUT_S:g} s; look at {airflow.log}")
