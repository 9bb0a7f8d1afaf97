"""Failed runs on a real scheduler: undone in reverse order, once, whatever is killed or cleared."""

from __future__ import annotations

import asyncio

import pytest

from coterie import ArtifactStore, Orchestrator, SagaResult
from coterie.journal import Journal
from coterie.stores.opening import open_journal_store
from tests.airflow.on_scheduler import Run
from tests.support import provisioning as agents
from tests.support.provisioning import count, keys, ledger, order

pytestmark = pytest.mark.airflow

FORWARD = ["+net", "+vm", "+app"]
BACK = ["-vm", "-net"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Each run's provider, with what is to go wrong there."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("undone", "killed", "left", "fleet", "rare", "ended")}
    for folder in made.values():
        order(folder, "+app", "fail")
    order(made["ended"], "+app", "hang")
    order(made["killed"], "-net", "die")
    order(made["left"], "-vm", "fail")
    return made


@pytest.fixture(scope="module")
def runs(server, server_artifacts, folders):
    """Every run, started at once."""
    dags = {"fleet": "saga_fleet", "rare": "saga_rare"}
    return {
        name: Run(server, server_artifacts, dag_id, server.trigger(dag_id, {"folder": str(folder)}))
        for name, folder in folders.items()
        for dag_id in (dags.get(name, "saga_chain"),)
    }


@pytest.fixture(scope="module")
def ended(runs, folders):
    """How they ended, before anybody cleared anything."""
    given_up(runs["ended"], folders["ended"])
    return {name: (run.wait()["state"], run.states(), run.tries()) for name, run in runs.items()}


def given_up(run, folder):
    """Have a person end it, as soon as its third task is at work."""
    run.server.wait_for("its third task", lambda: "+app" in ledger(folder))
    run.server.call("PATCH", f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}", {"state": "failed"})


def saga_of(run):
    return SagaResult.from_dict(run.load("workflow_result"))


def in_process(state_server, artifacts, run_id, folder, plan):
    """The same run, by this process."""

    async def execute():
        journal = Journal(open_journal_store(state_server.url, "default"))
        try:
            here = Orchestrator(agents.team, journal=journal, artifacts=ArtifactStore(f"file://{artifacts}"))
            return await here.execute_workflow(plan, workflow_id=run_id, params={"folder": str(folder)})
        finally:
            await journal.aclose()

    return asyncio.run(execute())


@pytest.fixture(scope="module")
def first(runs, ended, folders):
    """The ledgers by then."""
    return {name: ledger(folder) for name, folder in folders.items()}


def test_a_run_that_failed_is_undone_in_reverse_order_and_says_so(runs, ended, first):
    state, states, tries = ended["undone"]

    assert state == "failed"
    assert states == {
        ("net", -1): "success",
        ("vm", -1): "success",
        ("app", -1): "failed",
        ("workflow_result", -1): "failed",
    }
    assert tries["workflow_result", -1] == 1, runs["undone"].log("workflow_result")
    assert first["undone"] == [*FORWARD, *BACK]
    status = runs["undone"].xcom("workflow_result", "coterie_status")
    assert (status["status"], status["saga"], status["left"]) == ("failed", "compensated", [])
    log = runs["undone"].log("workflow_result")
    assert "as it failed: 'vm', 'net'" in log
    assert log.index("undo-vm succeeded") < log.index("undo-net succeeded") < log.index("all that was due is undone")
    note = runs["undone"].wait()["note"]
    assert note == "coterie: failed — missing: app — undone"


def test_a_worker_that_is_killed_while_it_undoes_is_followed_by_one_that_finishes(runs, ended, first, folders):
    state, _, tries = ended["killed"]

    assert state == "failed"
    assert tries["workflow_result", -1] == 2, runs["killed"].log("workflow_result")
    assert first["killed"] == [*FORWARD, *BACK, "-net"]
    assert keys(folders["killed"], "-net") == 1
    assert saga_of(runs["killed"]).outcome == "compensated"


def test_parts_of_a_foreach_and_skipped_tasks_are_undone_as_the_plan_says(runs, ended, first, folders):
    assert ended["fleet"][1]["unwanted", -1] == "skipped"
    assert first["fleet"][-2:] == ["-each", "-net"]
    assert count(folders["fleet"])["-each"] == 1


def test_a_compensation_that_is_refused_waits_without_a_worker(runs, ended, first):
    assert first["rare"] == [*FORWARD, *BACK]
    assert ended["rare"][2]["workflow_result", -1] == 1
    assert "waiting without a worker: " in runs["rare"].log("workflow_result")
    assert saga_of(runs["rare"]).outcome == "compensated"


def test_a_run_that_was_undone_is_told_to_other_engines(runs, first, folders, state_server, server_artifacts):
    name = f"airflow.saga_chain.{runs['undone'].run_id}"

    told = in_process(state_server, server_artifacts, name, folders["undone"], agents.chain)

    assert ledger(folders["undone"]) == first["undone"]
    assert told.status_document() == saga_of(runs["undone"]).status_document()


@pytest.fixture(scope="module")
def cleared(runs, first, folders):
    """The same runs, when a person has mended and cleared something."""
    for name in ("undone", "left", "fleet"):
        order(folders[name], "+app", "")
    order(folders["left"], "-vm", "")
    # The failed task alone, with what comes after it.
    runs["killed"].clear(only_failed=True)
    # All of it, so that it begins anew.
    runs["undone"].clear("net")
    runs["fleet"].clear()
    # The last task alone, which has left something.
    runs["left"].clear("workflow_result")
    runs["ended"].clear("workflow_result")
    names = ("undone", "left", "killed", "fleet", "ended")
    return {name: (runs[name].wait()["state"], runs[name].states()) for name in names}


def test_what_could_not_be_undone_is_told_and_clearing_the_last_task_tries_it_again(runs, first, cleared, folders):
    assert first["left"] == [*FORWARD, "-vm", "-vm", "-net"]

    assert ledger(folders["left"])[6:] == ["-vm"]
    assert "not undone: vm (failed): ValueError: -vm fails, as ordered" in runs["left"].log("workflow_result")
    status = runs["left"].xcom("workflow_result", "coterie_status")
    assert (status["saga"], status["left"]) == ("compensated", [])
    assert cleared["left"][0] == "failed"


def test_a_cleared_run_that_was_undone_goes_forward_anew(runs, cleared, folders):
    for name, anew in (("undone", FORWARD), ("fleet", ["+net", "+look", "+each", "+each", "+app"])):
        assert cleared[name][0] == "success", runs[name].states()
        assert ledger(folders[name])[-len(anew) :] == anew
        assert saga_of(runs[name]).outcome == "succeeded"
    assert keys(folders["undone"], "+net") == keys(folders["fleet"], "+net") == 2
    assert keys(folders["undone"], "-net") == 1


def test_a_failed_task_that_is_cleared_without_what_it_builds_on_stays_undone(runs, first, cleared, folders):
    state, states = cleared["killed"]

    assert (state, states["app", -1]) == ("failed", "skipped")
    assert ledger(folders["killed"]) == first["killed"]
    assert "have the whole run done again" in runs["killed"].log("app", attempt=2)
    assert saga_of(runs["killed"]).outcome == "compensated"


def test_a_run_that_a_person_ends_is_undone_once_they_clear_its_last_task(runs, ended, first, cleared, folders):
    # Not the run's own state: where the scheduler looks at it at that very moment, it may write another (SQLite).
    _, states, _ = ended["ended"]

    assert (states["app", -1], states["workflow_result", -1]) == ("failed", "skipped")
    assert first["ended"] == FORWARD
    assert ledger(folders["ended"]) == [*FORWARD, *BACK]
    (letter,) = saga_of(runs["ended"]).dead_letters
    assert (letter.task_id, letter.left) == ("app", "unclear")
