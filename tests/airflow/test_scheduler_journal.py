"""Retries, clears, kills and other processes on a real scheduler: what was finished is never paid for twice."""

from __future__ import annotations

import asyncio
import threading
import urllib.error

import pytest

from coterie import Orchestrator, Task
from coterie._rules.journal_text import Record
from coterie.journal import Journal
from coterie.stores.opening import open_journal_store
from tests.airflow.billing import billing_server
from tests.airflow.on_scheduler import Run
from tests.airflow.paying_agents import team

pytestmark = pytest.mark.airflow

NOT_A_REPLAY = "::group::Post Execute"


@pytest.fixture(scope="module")
def billing():
    with billing_server() as running:
        yield running


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("journal")


@pytest.fixture(scope="module")
def runs(server, server_artifacts, billing, scratch):
    """Every run, started at once, and cleared once it has ended."""
    (scratch / "broken").touch()
    (scratch / "bad").write_text("item-2")
    conf = {"billing": billing.url, "broken": str(scratch / "broken"), "killed": str(scratch / "killed")}
    configurations = {"killed": conf, "cleared": conf, "whole": conf}
    configurations["items"] = {"billing": billing.url, "bad": str(scratch / "bad")}
    return {
        dag_id: Run(server, server_artifacts, dag_id, server.trigger(dag_id, conf))
        for dag_id, conf in configurations.items()
    }


@pytest.fixture(scope="module")
def filled(server, server_artifacts, billing):
    """A run of a backfill."""
    return Run(server, server_artifacts, "filled", fill(server, billing, reprocess="none"))


def fill(server, billing, *, reprocess):
    server.wait_for("the DAG 'filled'", lambda: server._known("filled"))
    day = "2026-01-02T00:00:00Z"
    body = {"dag_id": "filled", "from_date": day, "to_date": day, "reprocess_behavior": reprocess}
    before = started(server)
    while started(server) == before:
        try:
            server.call("POST", "/api/v2/backfills", body | {"dag_run_conf": {"billing": billing.url}})
        except urllib.error.HTTPError as error:
            # Where its database is locked, Airflow says so, and may leave a backfill behind that has no runs.
            if error.code != 409:
                raise
            if started(server) == before:
                for left in backfills(server):
                    if not left["completed_at"]:
                        server.call("PUT", f"/api/v2/backfills/{left['id']}/cancel")
    (run,) = server.call("GET", "/api/v2/dags/filled/dagRuns")["dag_runs"]
    return run["dag_run_id"]


def started(server):
    """What was begun by now: the runs, and when each was last queued."""
    return [
        (run["dag_run_id"], run["queued_at"]) for run in server.call("GET", "/api/v2/dags/filled/dagRuns")["dag_runs"]
    ]


def is_filled(server):
    """Whether no backfill is under way; the scheduler looks every half minute."""
    return all(backfill["completed_at"] for backfill in backfills(server))


def backfills(server):
    return server.call("GET", "/api/v2/backfills?dag_id=filled")["backfills"]


def in_journal(state_server, work):
    async def run():
        journal = Journal(open_journal_store(state_server.url, "default"))
        try:
            return await work(journal)
        finally:
            await journal.aclose()

    return asyncio.run(run())


def record(state_server, run_id, path):
    texts = in_journal(state_server, lambda journal: journal.store.read(run_id))
    return Record.read(texts[path], path)


@pytest.fixture(scope="module")
def ended(runs):
    """How they ended before anybody cleared anything, each with as many tries as were meant."""
    found = {dag_id: (run.wait()["state"], run.states(), run.tries()) for dag_id, run in runs.items()}
    for dag_id, (_, _, tries) in found.items():
        for (task_id, map_index), number in tries.items():
            meant = 2 if task_id in ("retried", "plan") else 1
            assert number == meant, runs[dag_id].log(task_id, attempt=number - 1, map_index=map_index)
    return found


@pytest.fixture(scope="module")
def first_bills(ended, billing):
    """What was paid for by then."""
    return billing.copy()


@pytest.fixture(scope="module")
def cleared(runs, first_bills, filled, scratch):
    """The same runs, when a person has cleared them, and what was broken is mended."""
    (scratch / "broken").unlink()
    (scratch / "bad").write_text("")
    runs["killed"].clear("unseen")
    runs["cleared"].clear("again", "kept", "failed")
    runs["whole"].clear("plan")
    runs["items"].clear(only_failed=True)
    assert {dag_id: run.wait()["state"] for dag_id, run in runs.items()} == dict.fromkeys(runs, "success")
    return runs


def test_a_retry_replays_what_a_killed_worker_had_finished(runs, ended, first_bills):
    _, states, tries = ended["killed"]

    assert states["retried", -1] == "success"
    assert tries["retried", -1] == 2
    assert first_bills.of("killed/retried") == (1, 1)
    name = f"airflow.killed.{runs['killed'].run_id}"
    line = runs["killed"].first_line("retried", attempt=2)
    assert line.startswith(f"replayed 'retried', not done again: {name} finished it at 20")
    assert " s, 1200 tokens, 0.0025 in money; to have it done anew: " in line
    assert f"coterie runs forget {name} retried, then clear this task; or trigger a run with coterie_force" in line


def test_a_whole_plan_in_one_task_goes_on_where_its_worker_was_killed(runs, ended, first_bills):
    state, _, tries = ended["whole"]

    assert state == "success"
    assert tries == {("plan", -1): 2}
    assert first_bills.of("whole/first") == first_bills.of("whole/third") == (1, 1)
    assert runs["whole"].first_line("plan", attempt=2).startswith("replayed 'first', not done again: airflow.whole.")


def test_a_success_that_the_scheduler_never_saw_is_replayed_when_it_is_cleared(ended, first_bills, cleared, billing):
    assert ended["killed"][1]["unseen", -1] == "failed"
    assert first_bills.of("killed/unseen") == (1, 1)

    assert billing.of("killed/unseen") == (1, 1)
    line = cleared["killed"].first_line("unseen", attempt=2)
    assert line.startswith("replayed 'unseen', not done again: airflow.killed.")


def test_a_cleared_success_is_new_work(first_bills, cleared, billing):
    assert first_bills.of("cleared/again") == (1, 1)

    assert billing.of("cleared/again") == (2, 2)
    assert cleared["cleared"].first_line("again", attempt=2) == NOT_A_REPLAY


def test_a_cleared_success_that_is_to_be_kept_is_replayed(first_bills, cleared, billing):
    assert first_bills.of("cleared/kept") == (1, 1)

    assert billing.of("cleared/kept") == (1, 1)
    line = cleared["cleared"].first_line("kept", attempt=2)
    assert line.startswith("replayed 'kept', not done again: airflow.cleared.")


def test_a_cleared_failure_goes_on_from_its_finished_steps(ended, first_bills, cleared, billing):
    assert ended["cleared"][1]["failed", -1] == "failed"
    assert first_bills.of("cleared/failed/print") == (0, 0)

    assert [billing.of(f"cleared/failed/{part}") for part in ("draft", "check", "print")] == [(1, 1)] * 3
    assert billing.of("cleared/failed") == (2, 1), "outside of its steps: asked again, under the same key"
    line = cleared["cleared"].first_line("failed", attempt=2)
    assert line.startswith("task.resumed failed: 2 steps were finished before [run=airflow.cleared.")


def test_of_a_cleared_part_only_the_failed_item_is_done_again(ended, first_bills, cleared, billing):
    assert ended["items"][1]["pay.each", 1] == "failed"
    assert [first_bills.of(f"items/item-{n}") for n in range(4)] == [(1, 1)] * 4

    assert [billing.of(f"items/item-{n}") for n in range(4)] == [(1, 1), (1, 1), (2, 1), (1, 1)]
    assert cleared["items"].tries()["pay.each", 0] == 1
    line = cleared["items"].first_line("pay.each", attempt=2, map_index=1)
    assert line.startswith("replayed 1 item ('pay'), not done again: airflow.items.")
    assert cleared["items"].result()["pay"].items.failed == 0


def test_a_cleared_plan_in_one_task_is_new_work(cleared, billing):
    assert billing.of("whole/first") == billing.of("whole/third") == (2, 2)
    assert cleared["whole"].first_line("plan", attempt=3) == NOT_A_REPLAY


def test_what_another_engine_is_at_is_waited_for_without_a_worker_and_replayed(
    server, server_artifacts, state_server, billing, tmp_path
):
    given = {
        "billing": billing.url,
        "what": "overlapping",
        "gate": str(tmp_path / "gate"),
        "pid": str(tmp_path / "pid"),
    }

    async def perform(journal):
        here = Orchestrator(team, journal=journal)
        return await here.execute_task(Task("pay", "payer", input=given), workflow_id="of-two-engines")

    elsewhere = threading.Thread(target=in_journal, args=(state_server, perform))
    elsewhere.start()
    try:
        server.wait_for("somebody at work", (tmp_path / "pid").exists)
        conf = {name: given[name] for name in ("billing", "gate", "pid")} | {"coterie_run_id": "of-two-engines"}
        run = Run(server, server_artifacts, "overlapping", server.trigger("overlapping", conf))
        server.wait_for("a deferred task", lambda: run.states() == {("pay", -1): "deferred"})
    finally:
        (tmp_path / "gate").touch()
        elsewhere.join()

    assert run.wait()["state"] == "success"
    assert run.tries() == {("pay", -1): 1}
    assert billing.of("overlapping") == (1, 1)
    assert run.load("pay")["paid"] == "overlapping"
    assert run.first_line("pay").startswith("waiting: process ")
    assert "replayed 'pay', not done again: local finished it at " in run.log("pay")


def test_the_journal_lists_how_a_run_ended(cleared, state_server):
    name = f"airflow.items.{cleared['items'].run_id}"

    texts = in_journal(state_server, lambda journal: journal.store.read(name))

    assert '"status":"succeeded"' in texts["status"]


def test_a_backfill_that_reprocesses_a_completed_run_is_new_work(filled, billing):
    assert filled.wait()["state"] == "success"
    filled.server.wait_for("the end of the backfill", lambda: is_filled(filled.server))
    assert billing.of("filled") == (1, 1)

    fill(filled.server, billing, reprocess="completed")

    filled.server.wait_for("a second try", lambda: filled.tries() == {("day", -1): 2})
    assert filled.wait()["state"] == "success"
    assert filled.first_line("day", attempt=2) == NOT_A_REPLAY, filled.log("day", attempt=1)
    assert billing.of("filled") == (2, 2)
