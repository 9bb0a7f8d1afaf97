"""Plans whose tasks name compensations, under `dag.test()`: what a failed run made is undone by its last task."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG

from airflow_provider_coterie import plan_to_dag, plan_to_task_group, triggers
from airflow_provider_coterie.note import note_of
from airflow_provider_coterie.operators.plan_task import PlanTaskOperator
from airflow_provider_coterie.wire import pack_status
from coterie import ArtifactStore, Orchestrator, Plan, SagaResult, Task
from coterie.journal import Intent, Journal
from coterie.saga import Saga
from coterie.stores.opening import open_journal_store
from coterie.task import Compensation
from tests.airflow.conftest import connection
from tests.support import provisioning as agents
from tests.support.provisioning import TEAM_PATH, keys, ledger, order

REPOSITORY = Path(__file__).resolve().parents[2]

DAG_FILE = """
    from datetime import timedelta
    from airflow_provider_coterie import plan_to_dag
    from tests.support.provisioning import TEAM_PATH, {plan}

    dag = plan_to_dag({plan}, team_path=TEAM_PATH, foreach_parts=2, default_args={{"retry_delay": timedelta(0)}})
"""


@pytest.fixture
def folder(tmp_path):
    """Where the ledger is, and the orders to the agents."""
    made = tmp_path / "provider"
    made.mkdir()
    return made


@pytest.fixture
def state_url(artifacts, tmp_path, monkeypatch):
    url = f"sqlite://{tmp_path}/state.db"
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=url))
    return url


@pytest.fixture
def run(in_airflow, state_url, folder):
    """Run one of the plans."""

    def run(plan, **conf):
        return in_airflow.test(DAG_FILE.format(plan=plan), folder=str(folder), **conf)

    return run


def saga_of(run):
    return SagaResult.from_dict(run.load("workflow_result"))


def states(run):
    return {task_id: state for (task_id, index), state in run.states().items() if index == -1}


def in_process(state_url, artifacts, folder, workflow_id, plan, *, intent=None):
    """The same run, gone on with by this process."""

    async def execute():
        journal = Journal(open_journal_store(state_url, "default"))
        try:
            here = Orchestrator(agents.team, journal=journal, artifacts=ArtifactStore(f"file://{artifacts}"))
            return await here.execute_workflow(
                plan, workflow_id=workflow_id, params={"folder": str(folder)}, intent=intent
            )
        finally:
            await journal.aclose()

    return asyncio.run(execute())


def test_a_run_that_succeeds_is_not_undone(run, folder):
    ended = run("chain")

    assert ended.state == "success"
    assert saga_of(ended).outcome == "succeeded"
    assert "saga" not in ended.xcom("workflow_result", "coterie_status")
    assert ledger(folder) == ["+net", "+vm", "+app"]


def test_a_run_that_fails_is_undone_in_reverse_order_and_says_so(run, folder):
    order(folder, "+app", "fail")

    ended = run("chain")

    assert ended.state == "failed"
    assert states(ended) == {"net": "success", "vm": "success", "app": "failed", "workflow_result": "failed"}
    assert ended.tries()["workflow_result"] == 1
    assert ledger(folder) == ["+net", "+vm", "+app", "-vm", "-net"]
    result = saga_of(ended)
    assert (result.status, result.outcome) == ("failed", "compensated")
    assert result.status_document()["saga"]["left"] == []
    status = ended.xcom("workflow_result", "coterie_status")
    assert (status["status"], status["missing"], status["saga"], status["left"]) == (
        "failed",
        ["app"],
        "compensated",
        [],
    )


def test_the_status_document_is_that_of_the_in_process_engine(run, folder, state_url, artifacts):
    order(folder, "+app", "fail")
    order(folder, "-net", "fail")

    here = saga_of(run("chain"))
    there = in_process(state_url, artifacts, folder, "apart", agents.chain)

    assert here.status_document() == there.status_document()
    assert here.outcome == "compensation_failed"


def test_what_could_not_be_undone_is_told_with_what_to_type(run, folder, capfd):
    order(folder, "+app", "fail")
    order(folder, "-vm", "fail")

    ended = run("chain", coterie_run_id="left")

    assert ledger(folder) == ["+net", "+vm", "+app", "-vm", "-vm", "-net"]
    assert "-vm fails, as ordered; what to do: coterie runs show left" in "".join(capfd.readouterr())
    (letter,) = saga_of(ended).dead_letters
    assert (letter.task_id, letter.left) == ("vm", "failed")
    assert letter.input["folder"] == str(folder)
    status = ended.xcom("workflow_result", "coterie_status")
    assert (status["saga"], status["left"]) == ("compensation_failed", ["vm"])


def test_a_foreach_a_skipped_task_and_one_without_a_compensation_are_undone_as_the_plan_says(run, folder):
    order(folder, "+app", "fail")

    ended = run("fleet")

    assert states(ended)["unwanted"] == "skipped"
    assert ledger(folder)[-2:] == ["-each", "-net"]
    assert agents.count(folder) == {"+net": 1, "+look": 1, "+each": 2, "+app": 1, "-each": 1, "-net": 1}
    assert saga_of(ended)["unwanted"].state == "skipped"


def test_a_run_that_fails_in_part_only_is_not_undone_where_its_plan_says_so(run, folder):
    order(folder, "+app", "fail")

    ended = run("lenient")

    assert ended.state == "success"
    assert ledger(folder) == ["+net", "+app"]
    assert (saga_of(ended).status, saga_of(ended).outcome) == ("partial", "succeeded")


def test_a_compensation_that_is_refused_is_waited_for_outside_of_any_worker(run, folder, monkeypatch):
    order(folder, "+app", "fail")
    woken, for_time = [], triggers.CoterieRefusalTrigger._for_time

    async def noted(self):
        woken.append(await for_time(self))
        return woken[-1]

    monkeypatch.setattr(triggers.CoterieRefusalTrigger, "_for_time", noted)

    ended = run("rare")

    assert ledger(folder) == ["+net", "+vm", "+app", "-vm", "-net"]
    assert saga_of(ended).outcome == "compensated"
    assert ended.tries()["workflow_result"] == 1
    assert set(woken) == {"time"}


def test_a_run_that_airflow_began_and_undid_is_not_undone_again_in_process(run, folder, state_url, artifacts):
    order(folder, "+app", "fail")
    ended = run("chain", coterie_run_id="hopping")
    done = ledger(folder)

    told = in_process(state_url, artifacts, folder, "hopping", agents.chain)

    assert ledger(folder) == done
    assert told.status_document() == saga_of(ended).status_document()


def test_a_run_that_was_undone_elsewhere_does_not_go_forward_here_and_one_that_goes_on_there_does(
    run, folder, state_url, artifacts, monkeypatch
):
    said = []
    logger = SimpleNamespace(info=lambda *_: None, warning=lambda words, *more: said.append(words % more))
    monkeypatch.setattr(PlanTaskOperator, "log", logger)
    order(folder, "+app", "fail")
    in_process(state_url, artifacts, folder, "hopping", agents.fleet)
    done = ledger(folder)

    told = run("fleet", coterie_run_id="hopping")

    assert ledger(folder) == done
    assert set(states(told).values()) == {"skipped", "failed"}
    assert said[0].startswith("net does not begin: the run, or what this builds on, was undone")
    assert said[0].endswith("clear all tasks of the DAG run")
    assert states(told)["workflow_result"] == "failed"
    assert saga_of(told).outcome == "compensated"
    assert [one.state for one in saga_of(told)] == ["succeeded", "succeeded", "succeeded", "skipped", "failed"]

    order(folder, "+app", "")
    anew = in_process(state_url, artifacts, folder, "hopping", agents.fleet, intent=Intent(goes_on=True))
    again = run("fleet", coterie_run_id="hopping")

    assert (anew.status, again.state) == ("succeeded", "success")
    assert agents.count(folder) == {"+net": 2, "+look": 1, "+each": 4, "+app": 2, "-each": 1, "-net": 1}
    assert keys(folder, "+net") == 2


def test_a_run_that_a_person_undid_half_is_finished_here(run, folder, state_url, artifacts):
    order(folder, "+app", "fail")
    order(folder, "-net", "fail")
    in_process(state_url, artifacts, folder, "hopping", agents.chain)
    order(folder, "-net", "")

    async def by_hand():
        journal = Journal(open_journal_store(state_url, "default"))
        try:
            saga = Saga(Orchestrator(agents.team, journal=journal))
            assert [letter.task_id for letter in await saga.dead_letters("hopping")] == ["net"]
            await saga.undone_by_hand("hopping", "net")
        finally:
            await journal.aclose()

    asyncio.run(by_hand())

    told = run("chain", coterie_run_id="hopping")

    assert saga_of(told).outcome == "compensated"
    assert agents.count(folder)["-vm"] == 1


def test_without_a_journal_it_is_undone_all_the_same(in_airflow, artifacts, folder, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, journal="off"))
    order(folder, "+app", "fail")

    ended = in_airflow.test(DAG_FILE.format(plan="chain"), folder=str(folder))

    assert ledger(folder) == ["+net", "+vm", "+app", "-vm", "-net"]
    assert saga_of(ended).outcome == "compensated"


def test_the_last_task_is_tried_again_whatever_the_dag_says_of_retries():
    with DAG("d", schedule=None, default_args={"retries": 0}) as dag:
        plan_to_task_group(agents.chain, team_path=TEAM_PATH)

    assert dag.get_task("chain.net").retries == 0
    assert dag.get_task("chain.workflow_result").retries == 10


def test_a_compensation_that_nobody_serves_is_refused_when_the_dag_file_is_read():
    undone = Plan("undone", [Task("make", "maker", compensation=Compensation("nobody"))])

    with pytest.raises(ValueError, match="no agent serves the type 'nobody'"):
        plan_to_dag(undone, team_path=TEAM_PATH)


def test_the_run_s_note_says_what_stands():
    left = [f"{'n' * 100}{number}" for number in range(20)]
    status = pack_status("failed", "w", ["app"], saga="compensation_failed", left=left)
    undone = pack_status("failed", "w", ["app"], saga="compensated")

    assert note_of(undone) == "coterie: failed — missing: app — undone"
    assert note_of(status).startswith("coterie: failed — missing: app — not undone: nnn")
    assert note_of(status).endswith(" more")


def test_the_example_takes_away_what_it_had_made(in_airflow, state_url, folder, monkeypatch):
    monkeypatch.setenv("COTERIE_PROVISIONING_FOLDER", str(folder))
    monkeypatch.setenv("COTERIE_PROVISIONING_PACE_S", "0")
    source = (REPOSITORY / "dags" / "saga_provisioning.py").read_text()

    undone, kept = in_airflow.test(source), in_airflow.test(source, sold_out="nothing")

    assert (undone.state, kept.state) == ("failed", "success")
    asked = [line.partition(".")[0] for line in (folder / "log").read_text().splitlines()]
    assert asked[:5] == ["make network", "make machine", "make address", "remove machine", "remove network"]
    assert asked[5:] == ["make network", "make machine", "make address"]
    assert len(list(folder.iterdir())) == 4, "three resources, and the log"
