"""The link "Trace" on a real scheduler, as its API server gives it to its pages; and what lies behind it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from coterie.telemetry.links import run_trace_id_text
from tests.airflow.on_scheduler import Run

pytestmark = pytest.mark.airflow

JAEGER = "http://jaeger.example/trace/{trace_id}?uiFind={task_id}"
PLAN_TASKS = {("list", -1), ("broken", -1), ("work.parts", -1), ("work.each", 0), ("work.each", 1), ("work.gather", -1)}


@pytest.fixture(scope="module")
def store(state_server):
    return f"redis://{state_server.user}@127.0.0.1:{state_server.port}/0"


@pytest.fixture(scope="module")
def pages(state_server, store):
    """Where `coterie trace serve` shows the server's runs."""
    whole = store.replace("@", f":{state_server.password}@", 1)
    command = [str(Path(sys.executable).parent / "coterie"), "trace", "serve", "--port", "0"]
    env = {**os.environ, "COTERIE_STORE": whole}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        found = re.search(r"http://\S+/", line)
        assert found, line
        assert state_server.password not in line
        yield found[0]
        process.terminate()


@pytest.fixture(scope="module")
def connected(server, server_artifacts, state_server, store, pages):
    """The server, with connections that name templates."""
    for name, template in {"coterie_traced": JAEGER, "coterie_served": f"{pages}runs/{{run_id}}"}.items():
        extra = {"artifacts": f"file://{server_artifacts}", "store": store, "trace_url": template}
        body = {"connection_id": name, "conn_type": "coterie", "password": state_server.password}
        server.call("POST", "/api/v2/connections", {**body, "extra": json.dumps(extra)})
    return server


@pytest.fixture(scope="module")
def runs(connected, server_artifacts, tmp_path_factory):
    """Every run, begun at once."""
    gate = tmp_path_factory.mktemp("links") / "gate"
    given = {"traced": {"coterie_run_id": "nightly+7"}, "led_to_pages": {"gate": str(gate)}, "led_nowhere": {}}
    return {
        name: Run(connected, server_artifacts, name, connected.trigger(name, conf)) for name, conf in given.items()
    }, gate


def links(run, task_id, map_index=-1):
    path = f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/links?map_index={map_index}"
    return run.server.call("GET", path)["extra_links"]


def opened(url):
    """The page; None where there is none, or not yet: a task has its link before anybody has begun with the run."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None


def test_a_task_that_still_works_leads_to_its_run(runs, server):
    run, gate = runs[0]["led_to_pages"], runs[1]

    try:
        link = server.wait_for("the link", lambda: links(run, "waiting")["Trace"], timeout_s=600)
        page = server.wait_for("the page behind it", lambda: opened(link))
        state = run.states()["waiting", -1]
    finally:
        gate.touch()

    assert state == "running"
    assert "load it again" in page
    assert f"<title>Timeline of airflow.led_to_pages.{run.run_id}</title>" in page


def test_every_task_of_a_plan_that_failed_leads_to_one_trace(runs, server):
    run = runs[0]["traced"]
    assert run.wait()["state"] == "failed"

    found = {where: links(run, *where)["Trace"] for where in sorted(run.states())}

    trace = f"http://jaeger.example/trace/{run_trace_id_text('default', 'nightly+7', None)}?uiFind="
    assert set(found) == PLAN_TASKS | {("workflow_result", -1)}
    assert {where: link.removeprefix(trace) for where, link in found.items()} == {
        **{where: where[0].partition(".")[0] for where in PLAN_TASKS},
        ("workflow_result", -1): "",
    }


def test_what_lies_behind_the_links_are_the_runs_of_the_tasks(runs, server):
    run = runs[0]["led_to_pages"]
    assert run.wait()["state"] == "success"

    name = f"airflow.led_to_pages.{run.run_id}"
    for task_id, map_index, behind in (
        ("waiting", -1, name),
        ("mapped", 0, name),
        ("mapped", 1, name),
        ("asked", -1, name),
        ("whole", -1, f"{name}.whole"),
        ("machine", -1, f"{name}.machine"),
    ):
        link = links(run, task_id, map_index)["Trace"]
        assert f"<title>Timeline of {behind}</title>" in (opened(link) or ""), link


def test_without_a_template_there_is_no_link_and_nothing_is_kept_for_it(runs):
    run = runs[0]["led_nowhere"]
    assert run.wait()["state"] == "success"

    assert links(run, "quiet") == {"Trace": None}
    assert {key for _, key, _ in run.xcom_sizes()} == {"return_value", "coterie_result"}
