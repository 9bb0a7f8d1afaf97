"""Tasks that `coterie worker` performs, on a real scheduler: no slot is held, nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from deploy.demo.process_group import end_group

from coterie._rules.journal_text import Record
from coterie.stores.opening import open_journal_store
from tests.airflow.on_scheduler import Run, is_awaited
from tests.airflow.remote_agents import WORKERS_PATH
from tests.airflow.working import WorkerProcess

pytestmark = pytest.mark.airflow


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("remote")


@pytest.fixture(scope="module")
def worker(server, server_artifacts, workers_store, scratch):
    """One of this module's own."""
    process = WorkerProcess(
        WORKERS_PATH, store=workers_store, artifacts=f"file://{server_artifacts}", log=scratch / "worker.log"
    )
    with process as running:
        yield running


class Gated:
    """A run whose remote agents wait for its gate, and note what they do."""

    def __init__(self, server, artifacts, scratch, dag_id, name):
        self.gate, self.notes = scratch / f"{name}-gate", scratch / f"{name}-notes"
        self.notes.touch()
        conf = {"gate": str(self.gate), "notes": str(self.notes)}
        self.run = Run(server, artifacts, dag_id, server.trigger(dag_id, conf))
        self.server = server

    def open(self):
        self.gate.touch()

    def noted(self):
        return [line.split()[:2] for line in self.notes.read_text().splitlines()]

    def count(self, what):
        return sum(line[0] == what for line in self.noted())

    def states(self):
        return Counter(state for state in self.run.states().values())

    def is_awaited(self):
        return is_awaited(self.server, self.run.dag_id, self.run.run_id, "asked", map_index=0)

    def until(self, what, probe):
        self.server.wait_for(what, probe, timeout_s=240)


@pytest.fixture
def gated(server, server_artifacts, worker, scratch, request):
    begun = []

    def begin(dag_id):
        begun.append(Gated(server, server_artifacts, scratch, dag_id, f"{request.node.name}-{len(begun)}"))
        return begun[-1]

    yield begin
    for each in begun:
        each.open()


def is_seen(run, workers_store):
    """Whether the journal knows that Airflow took the task's success."""

    async def look():
        store = open_journal_store(workers_store, "default")
        try:
            return await store.read(f"airflow.{run.dag_id}.{run.run_id}")
        finally:
            await store.aclose()

    texts = asyncio.run(look())
    return any(path.startswith("task/") and Record.read(text, path).seen for path, text in texts.items())


def used_slots(server):
    pool = server.call("GET", "/api/v2/pools/default_pool")
    return pool["running_slots"] + pool["queued_slots"]


def test_a_plan_of_local_and_remote_tasks_ends_as_anywhere(gated, worker):
    plan = gated("remote_plan")
    plan.until("three at work", lambda: plan.count("began") == 3)
    plan.open()

    assert plan.run.wait()["state"] == "success", worker.said[-3000:]
    states = {task: state for (task, _), state in plan.run.states().items()}
    assert states == {
        "first": "success",
        "left": "success",
        "right": "success",
        "bad": "failed",
        "last": "success",
        "workflow_result": "success",
    }
    assert set(plan.run.tries().values()) == {1}
    result = plan.run.result()
    assert result.status == "partial"
    assert result["bad"].error.type == "ValueError"
    assert result["left"].agent_id == "far"
    assert plan.run.load("left")["before"] == ["first"]
    assert plan.run.load("last")["before"] == ["bad", "left", "right"]
    assert plan.run.first_line("left").startswith("remote call ")
    assert "the worker 'tests' has performed it" in plan.run.log("left")


def test_six_tasks_that_wait_for_workers_hold_no_slot(gated, server):
    some = gated("remote_some")
    some.until("six at work", lambda: some.count("began") == 6)
    some.until("six deferred", lambda: some.states() == {"deferred": 6})
    some.until("no slot in use", lambda: used_slots(server) == 0)

    assert some.states() == {"deferred": 6}
    some.until("who does it", lambda: "the worker 'tests' performs it" in some.run.log("asked", map_index=3))
    some.open()

    assert some.run.wait()["state"] == "success"
    assert some.count("began") == some.count("ended") == 6
    assert set(some.run.tries().values()) == {1}


def test_a_cleared_task_s_work_is_cancelled_and_done_anew(gated):
    one = gated("remote_one")
    one.until("at work", lambda: one.count("began") == 1)
    one.until("deferred", lambda: one.states() == {"deferred": 1})
    one.until("its trigger", one.is_awaited)

    one.run.clear()
    one.until("the old work's end", lambda: one.count("cancelled") == 1)
    one.until("new work", lambda: one.count("began") == 2)
    one.open()

    assert one.run.wait()["state"] == "success"
    assert one.count("ended") == 1
    assert one.run.tries() == {("asked", 0): 2}
    keys = {line.split()[2] for line in one.notes.read_text().splitlines() if line.startswith("began")}
    assert len(keys) == 1, "it had not succeeded: it is the same work, with the same key"


def test_work_of_a_task_that_a_person_marks_is_cancelled(gated):
    one = gated("remote_one")
    one.until("deferred", lambda: one.states() == {"deferred": 1} and one.count("began") == 1)
    one.until("its trigger", one.is_awaited)

    path = f"/api/v2/dags/remote_one/dagRuns/{one.run.run_id}/taskInstances/asked/0"
    one.server.call("PATCH", path, {"new_state": "failed"})
    one.until("the work's end", lambda: one.count("cancelled") == 1)

    assert one.run.wait()["state"] == "failed"
    assert one.count("ended") == 0


def test_a_success_that_the_triggerer_told_is_new_work_when_it_is_cleared(gated, workers_store):
    one = gated("remote_one")
    one.open()
    assert one.run.wait()["state"] == "success"
    one.until("a note of it", lambda: is_seen(one.run, workers_store))

    one.run.clear()
    assert one.run.wait()["state"] == "success"

    assert one.count("ended") == 2
    assert one.run.tries() == {("asked", 0): 2}


def triggerers(server):
    """The processes of the server's triggerers, by their environment's home."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        with suppress(psutil.Error):
            if "airflow triggerer" in line and process.environ().get("AIRFLOW_HOME") == str(server.home):
                found.append(process)
    return found


@pytest.fixture(scope="session")
def restarted(server, tmp_path_factory):
    """Kills the triggerers of the server, and starts another one, which serves it from then on."""
    begun, folder = [], tmp_path_factory.mktemp("triggerers")

    def restart():
        for process in triggerers(server):
            with suppress(psutil.Error):
                for child in process.children(recursive=True):
                    child.kill()
                process.kill()
        with (folder / "triggerer.log").open("ab") as log:
            command = [str(Path(sys.executable).parent / "airflow"), "triggerer", "--skip-serve-logs"]
            begun.append(
                subprocess.Popen(command, env=server.env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            )

    yield restart
    for process in begun:
        end_group(process, first=signal.SIGTERM, patience_s=15.0)


@pytest.mark.parametrize(
    ("dag_id", "count"),
    [("remote_some", 6), pytest.param("remote_many", 50, marks=pytest.mark.full)],
    ids=["six", "fifty"],
)
def test_a_triggerer_that_is_killed_is_replaced_and_nothing_is_done_twice(gated, server, restarted, dag_id, count):
    some = gated(dag_id)
    some.until("all at work", lambda: some.count("began") == count)
    some.until("all deferred", lambda: some.states() == {"deferred": count})
    assert used_slots(server) == 0

    restarted()
    some.open()

    assert some.run.wait()["state"] == "success"
    assert some.count("began") == some.count("ended") == count
    assert set(some.run.tries().values()) == {1}
