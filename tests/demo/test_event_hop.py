"""An event leads from Prefect to Airflow and back: a flow places an order, a DAG packs it, a flow ships it."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from deploy.demo.airflow_server import AirflowServer
from deploy.demo.prefect_server import PrefectServer

from coterie.bus import CloudEvent, EventBus
from tests.support.redis_servers import valkey
from tests.support.running import process

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
# Runs that an asset begins are made by whoever makes those that are due.
BY_ASSETS = {"AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True"}
PLACED, PACKED = "com.example.order.placed", "com.example.order.packed"


@pytest.mark.airflow
@pytest.mark.prefect
def test_an_event_hops_from_a_flow_to_a_dag_to_a_flow_under_one_correlation_id(
    airflow_python: Path, prefect_python: Path, tmp_path: Path
):
    shipped = tmp_path / "shipped.json"
    flow = [str(prefect_python), str(HERE / "flows" / "event_hop.py")]
    bridge = [str(prefect_python), "-m", "prefect_coterie.bridge", "--to-prefect", PACKED, "--begin", "begin"]
    with valkey() as redis:
        env = {
            "COTERIE_STORE": redis.url,
            "COTERIE_ARTIFACTS": f"file://{tmp_path}/artifacts",
            "PYTHONPATH": str(REPOSITORY),
        }
        with (
            PrefectServer(tmp_path / "prefect", python=prefect_python) as server,
            process([*flow, "ship", str(shipped)], {**server.environment(), **env}, tmp_path / "ship.log"),
            process(bridge, {**server.environment(), **env}, tmp_path / "bridge.log"),
            AirflowServer(
                alone(HERE / "dags" / "event_hop.py", tmp_path / "dags"),
                python=airflow_python,
                home=tmp_path / "airflow",
                env={**env, **BY_ASSETS},
            ) as airflow,
        ):
            done = subprocess.run(
                [*flow, "place"],
                env={**server.environment(), **env},
                capture_output=True,
                text=True,
                timeout=300,
                check=True,
            )
            airflow.wait_for("the order to be shipped", lambda: shipped.exists() or None, timeout_s=300)
            runs = airflow.call("GET", "/api/v2/dags/event_hop/dagRuns")["dag_runs"]

        order = json.loads(done.stdout.splitlines()[-1])
        kept = asyncio.run(everything(redis.url))

    assert [event.type for event in kept] == [PLACED, PACKED]
    assert {event.correlation_id for event in kept} == {order["correlationid"]}
    assert order["correlationid"].startswith("prefect.")
    assert kept[1].causation_id == kept[0].id == order["id"]
    assert [run["run_type"] for run in runs] == ["asset_triggered"]
    assert json.loads(shipped.read_text()) == {"order": "A-7", "correlation_id": order["correlationid"]}


def alone(dag: Path, folder: Path) -> Path:
    """A folder of DAGs that holds nothing else, so that nothing else is due."""
    folder.mkdir()
    shutil.copy(dag, folder)
    return folder


async def everything(url: str) -> list[CloudEvent]:
    async with EventBus.open(url) as bus:
        return [recorded.event async for recorded in bus.replay(PLACED, PACKED)]
