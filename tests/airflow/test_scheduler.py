"""Plans on a real scheduler: a process for each task, states, XComs, clears and kills as users have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deploy.demo.airflow_server import AirflowServer

from tests.airflow import plans
from tests.airflow.in_process import run_in_process
from tests.airflow.on_scheduler import Run

pytestmark = pytest.mark.airflow


@pytest.fixture(scope="session")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="session")
def runs(server, server_artifacts, scratch):
    """Every run, started at once: the scheduler works on them while tests look at the first."""
    (scratch / "count").write_text("40")
    configurations = {
        "chain": {"text": "from the run's configuration"},
        "lingering": {"pids": str(scratch / "lingering")},
        "timing_out": {"pids": str(scratch / "timing_out")},
        "early": {"gate": str(scratch / "gate")},
        "lost": {"coterie_run_id": "a-run-of-my-own"},
        "stored": {},
        "resplit": {"path": str(scratch / "count")},
        "partial": {},
        "wide": {},
        "taskflow": {},
    }
    return {
        dag_id: Run(server, server_artifacts, dag_id, server.trigger(dag_id, conf))
        for dag_id, conf in configurations.items()
    }


def pids_in(path: Path, server: AirflowServer) -> list[int]:
    server.wait_for(f"process ids in {path.name}", path.exists)
    return json.loads(path.read_text())


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_marking_a_task_failed_ends_the_agent_and_its_children(runs, server, scratch):
    run = runs["lingering"]
    pids = pids_in(scratch / "lingering", server)
    assert all(map(alive, pids))

    run.mark("linger", "failed")

    server.wait_for("the agent's processes to end", lambda: not any(map(alive, pids)), timeout_s=30)
    assert run.wait()["state"] == "failed"
    assert run.result()["linger"].error.type == "WorkerLost"


def test_an_execution_timeout_ends_the_agent_and_its_children(runs, server, scratch):
    run = runs["timing_out"]
    pids = pids_in(scratch / "timing_out", server)

    assert run.wait()["state"] == "failed"

    assert not any(map(alive, pids))
    assert "AirflowTaskTimeout" in run.log("linger")


def test_a_plan_runs_with_a_task_and_a_process_for_each_of_its_tasks(runs, server):
    run = runs["chain"]

    assert run.wait()["state"] == "success"

    rows = server.tasks("chain", run.run_id)
    assert {row["task_id"] for row in rows} == {"first", "second", "third", "workflow_result"}
    assert len({row["pid"] for row in rows}) >= 2
    assert run.load("second")["input"] == {"text": "from the run's configuration", "literal": "{{ ds }}"}
    assert run.result().workflow_id == f"airflow.chain.{run.run_id}"


def test_the_run_s_note_tells_its_status(runs):
    assert runs["chain"].wait()["note"] == "coterie: succeeded"
    missing = "broken, hanging, strict (1 of 6 items), lenient (2 of 6 items), blocked"
    assert runs["partial"].wait()["note"] == f"coterie: partial — missing: {missing}"


def test_the_result_waits_for_tasks_that_still_run_when_every_leaf_has_ended(runs, server, scratch, tmp_path):
    run = runs["early"]
    ended = {"any": "success", "both": "upstream_failed"}
    server.wait_for("the leaves", lambda: ended.items() <= {task: s for (task, _), s in run.states().items()}.items())
    # Another run from its start to its end: the scheduler has had its chance to start what is ready.
    server.wait("chain", server.trigger("chain"))
    (scratch / "gate").touch()

    run.wait()

    assert run.result().status_document() == run_in_process(plans.early, tmp_path).status_document()
    assert run.result()["late_failure"].error.type == "ValueError"
    assert run.result()["late_success"].state == "succeeded"


def test_a_plain_task_in_its_own_process_loads_what_an_agent_returned(runs):
    run = runs["taskflow"]

    assert run.wait()["state"] == "success"

    assert run.xcom("read") == 3000


def test_a_lost_worker_is_a_failed_task(runs):
    run = runs["lost"]

    assert run.wait()["state"] == "success"

    assert run.result().status == "partial"
    assert run.result()["dying"].error.type == "WorkerLost"
    assert run.load("report") == {"dying": {"state": "failed", "error": "WorkerLost"}}


def test_a_run_id_of_one_s_own_is_the_workflow_id(runs):
    runs["lost"].wait()

    assert runs["lost"].result().workflow_id == "a-run-of-my-own"


def test_a_corrupted_object_gives_the_typed_error(runs, server_artifacts):
    run = runs["stored"]
    assert run.wait()["state"] == "success"
    digest = run.xcom("text")["__data__"]["sha256"]
    target = server_artifacts / "default" / "sha256" / digest[:2] / digest
    content = target.read_bytes()
    target.write_bytes(b"q" + content[1:])

    try:
        run.clear("measure")
        assert run.wait()["state"] == "failed"
    finally:
        target.write_bytes(content)

    assert run.xcom("measure", "coterie_result")["error"]["type"] == "CorruptArtifact"
    assert "CorruptArtifact" in run.log("measure", attempt=2)
    assert run.result()["measure"].error.type == "CorruptArtifact"


def test_a_clear_that_cuts_into_fewer_parts_leaves_no_stale_part(runs, scratch):
    run = runs["resplit"]
    assert run.wait()["state"] == "success"
    assert run.result()["work"].items.total == 40
    (scratch / "count").write_text("3")

    run.clear("list")
    assert run.wait()["state"] == "success"

    assert run.xcom("work.each", map_index=5) is not None, "the stale part is still there"
    assert run.result()["work"].items.total == 3
    assert run.load("report")["work"]["succeeded"] == ["item-0", "item-1", "item-2"]


def test_a_partial_run_is_told_as_in_process(runs, tmp_path):
    run = runs["partial"]

    assert run.wait()["state"] == "success"

    here = run_in_process(plans.partial, tmp_path)
    assert here.status == "partial"
    assert run.result().status_document() == here.status_document()
    assert run.load("report")["strict"]["failed"] == ["item-2"]
    assert run.load("report")["lenient"]["succeeded"] == ["item-0", "item-2", "item-3", "item-5"]


def test_the_parts_of_a_foreach_are_named_by_their_items(runs, server):
    runs["partial"].wait()

    rows = server.tasks("partial", runs["partial"].run_id)
    names = [row["rendered_map_index"] for row in rows if row["task_id"] == "strict.each"]
    assert sorted(names) == ["items 0-2", "items 3-5"]


def test_two_thousand_items_leave_xcoms_of_at_most_one_kibibyte(runs, tmp_path):
    run = runs["wide"]

    assert run.wait()["state"] == "success"

    sizes = run.xcom_sizes()
    assert ("work.each", "return_value", 7) in sizes
    assert max(sizes.values()) <= 1024
    assert run.result().status_document() == run_in_process(plans.wide, tmp_path).status_document()


def test_a_payload_lies_in_the_store_once(runs, server_artifacts):
    runs["wide"].wait()

    large = [path for path in server_artifacts.rglob("*") if path.is_file() and path.stat().st_size > 150_000]
    payloads = [path for path in large if b'"text":"ppp' in path.read_bytes()[:20]]
    assert len(payloads) == 1


def test_every_xcom_of_every_run_is_small(runs):
    for run in runs.values():
        run.wait()

    sizes = [size for run in runs.values() for size in run.xcom_sizes().values()]
    assert len(sizes) > len(runs)
    assert max(sizes) <= 1024


def test_the_connection_form_shows_its_fields(server):
    hooks = server.call("GET", "/ui/connections/hook_meta")

    (ours,) = [hook for hook in hooks if hook["connection_type"] == "coterie"]
    assert set(ours["extra_fields"]) == {
        "artifacts",
        "store",
        "journal",
        "namespace",
        "team_path",
        "shared_file_system",
        "graceful_shutdown_timeout_s",
        "trace_url",
    }


def test_airflow_lists_the_provider(server):
    providers = server.call("GET", "/api/v2/providers?limit=100")["providers"]

    assert "airflow-provider-coterie" in [provider["package_name"] for provider in providers]


def test_the_plugin_is_loaded(server):
    plugins = server.call("GET", "/api/v2/plugins?limit=100")["plugins"]

    assert "coterie" in [plugin["name"] for plugin in plugins]
