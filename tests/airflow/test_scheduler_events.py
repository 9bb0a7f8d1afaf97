"""Events that start DAGs, and that tasks wait for and publish, on a real scheduler."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from coterie.bus import EventBus
from tests.airflow.on_scheduler import Run
from tests.airflow.remote_agents import WORKERS_PATH
from tests.airflow.working import WorkerProcess

pytestmark = pytest.mark.airflow


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("events")


@pytest.fixture(scope="module", autouse=True)
def worker(server, server_artifacts, workers_store, scratch):
    """One of this module's own."""
    process = WorkerProcess(
        WORKERS_PATH, store=workers_store, artifacts=f"file://{server_artifacts}", log=scratch / "worker.log", name="ev"
    )
    with process as running:
        yield running


@pytest.fixture(scope="module")
def urls(state_server, workers_store):
    """Where the events of each connection lie."""
    return {"coterie_workers": workers_store, "coterie_default": state_server.url}


def on_bus(url, work):
    async def run():
        async with EventBus.open(url, namespace="default") as bus:
            return await work(bus)

    return asyncio.run(run())


def publish(url, *totals, notes=""):
    async def work(bus):
        events = [bus.event("com.example.order.placed", {"total": total, "notes": notes}) for total in totals]
        return [published.event.id for published in await bus.publish_all(events)]

    return on_bus(url, work)


def published_by_command(url, total, notes):
    """One event of `coterie events publish`, as a shell would."""
    command = [Path(sys.executable).parent / "coterie", "events", "publish", "com.example.order.placed"]
    command += [json.dumps({"total": total, "notes": str(notes)}), "--store", url, "--id", f"by-hand-{total}"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return f"by-hand-{total}"


def group_of(url):
    async def work(bus):
        return next((group for group in await bus.log.groups(bus.topic) if group.name.startswith("airflow-")), None)

    return on_bus(url, work)


def runs_of(server, dag_id):
    return [run["dag_run_id"] for run in server.call("GET", f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]]


def handled_by(server, artifacts, dag_id, run_id):
    """What a run has handled so far: event ids and totals."""
    run = Run(server, artifacts, dag_id, run_id)
    done = sorted(index for (name, index), state in run.states().items() if name == "handle" and state == "success")
    found = [run.xcom("handle", map_index=index) for index in done if index >= 0]
    return [(each["id"], each["total"]) for each in found if each]


def handled(server, artifacts, dag_id):
    return [each for run_id in runs_of(server, dag_id) for each in handled_by(server, artifacts, dag_id, run_id)]


@pytest.mark.parametrize("conn_id", ["coterie_workers", "coterie_default"], ids=["SQLite", "Valkey"])
def test_events_start_a_dag_and_none_of_a_burst_is_left_behind(server, server_artifacts, urls, conn_id, scratch):
    url, dag_id, notes = urls[conn_id], f"on_event_{conn_id}", scratch / f"{conn_id}-notes"
    server.wait_for("the DAG", lambda: server._known(dag_id))
    server.wait_for("a group of consumers", lambda: group_of(url))

    ids = [*publish(url, *range(10), notes=str(notes)), published_by_command(url, 10, notes)]

    # Of a burst, a later run may get some again; none of them is left behind.
    expected = sorted(zip(ids, range(11), strict=True))
    server.wait_for(
        "all handled", lambda: sorted(set(handled(server, server_artifacts, dag_id))) == expected, timeout_s=240
    )
    server.wait_for("all acknowledged", lambda: (group_of(url).held, group_of(url).unread) == (0, 0))
    for run_id in runs_of(server, dag_id):
        assert server.wait(dag_id, run_id)["state"] == "success"
        totals = [total for _, total in handled_by(server, server_artifacts, dag_id, run_id)]
        assert totals == sorted(set(totals)), "each once in a run, in order"


def test_a_task_publishes_and_others_have_waited_from_the_start_or_wait_behind_a_position(
    server, server_artifacts, workers_store
):
    run = Run(server, server_artifacts, "tells_and_waits", server.trigger("tells_and_waits", {"name": "weekly"}))
    server.wait_for("what waits", lambda: run.states().get(("behind", -1)) == "deferred", timeout_s=240)
    told = run.xcom("told")

    async def tell(bus):
        return await bus.publish("com.example.report.read", {"name": "weekly", "text": "t" * 2000})

    on_bus(workers_store, tell)

    assert run.wait()["state"] == "success"
    poked, behind = run.xcom("poked"), run.xcom("behind")
    assert poked["id"] == told["id"]
    assert (poked["data"], poked["correlationid"]) == (
        {"name": "weekly", "size": 3},
        f"airflow.tells_and_waits.{run.run_id}",
    )
    assert poked["source"] == "airflow/tells_and_waits/told"
    assert behind["type"] == "com.example.report.read"
    assert behind["data"]["__classname__"] == "coterie.ref.Ref", "too large for an XCom"
    assert max(run.xcom_sizes().values()) <= 1024
