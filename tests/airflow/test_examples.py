"""The example DAGs about a fleet, run with `dag.test()` against a provider that fails on command."""

from __future__ import annotations

import asyncio
import importlib
import os
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from airflow_provider_coterie.events import sensor
from airflow_provider_coterie.events.waiting import awaited
from coterie import EventBus, sync
from coterie.errors import MissingArtifact
from coterie.teams import newsdesk
from tests.airflow.conftest import connection
from tests.support.stub_provider import Behaviour, serving

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def provider(monkeypatch):
    """Where the agent `writer` of the examples' team is found."""
    with serving() as running:
        monkeypatch.setenv("COTERIE_PROVIDER_URL", running.url)
        # The team reads the variable when it is loaded.
        fleet = importlib.import_module("coterie.teams.fleet")
        importlib.reload(fleet)
        yield running


@pytest.fixture
def state(artifacts, tmp_path, monkeypatch):
    store = f"sqlite://{tmp_path}/state.db"
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=store))
    return store


def source(name):
    return (REPOSITORY / "dags" / f"{name}.py").read_text()


@pytest.mark.usefixtures("state")
def test_shared_breaker_uses_the_last_answer_when_its_agent_is_down_and_asks_no_more(in_airflow, provider):
    healthy = in_airflow.test(source("shared_breaker"))
    provider.script(Behaviour(status=503))
    failing = [in_airflow.test(source("shared_breaker")) for _ in range(2)]
    asked = len(provider.requests)

    refused = in_airflow.test(source("shared_breaker"))

    assert [run.state for run in (healthy, *failing, refused)] == ["success"] * 4
    assert {str(run.xcom("publish")) for run in (*failing, refused)} == {str(healthy.xcom("publish"))}
    assert len(provider.requests) == asked, "the breaker is open: nobody asks"
    assert refused.tries()["ask"] == 1


@pytest.mark.usefixtures("state")
def test_agent_pool_performs_all_its_tasks(in_airflow):
    run = in_airflow.test(source("agent_pool"), seconds=0)

    assert run.state == "success"
    assert set(run.states().values()) == {"success"}
    assert len(run.states()) == 20


def test_event_driven_waits_behind_its_question_so_that_a_cleared_wait_finds_the_answer(in_airflow, state, monkeypatch):
    """A clear has the run begin anew, after the answer; what lies behind the question stays the same."""
    monkeypatch.setenv("COTERIE_NEWSDESK_PACE_S", "0")
    said = []
    monkeypatch.setattr(sensor, "awaited", lambda *of, **more: said.append(awaited(*of, **more)))
    with newsdesk_at_work(state):
        run = in_airflow.test(source("event_driven"), subject="tea")

    created = [run.xcom(f"{step}.create") for step in ("research", "write")]
    assert run.state == "success"
    assert run.xcom("research.output")[0] == "tea: who says so"
    behind = [f"behind the position {one['position']!r}, until 20" for one in created]
    assert [words in line for words, line in zip(behind, said, strict=True)] == [True, True]


@contextmanager
def newsdesk_at_work(url):
    """The agents of `event_driven`, in a thread."""
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def work():
        async with EventBus.open(url, topic=newsdesk.TOPIC, source="newsdesk") as bus:
            ready.set()
            await newsdesk.serve(bus, stop=stop)

    thread = threading.Thread(target=loop.run_until_complete, args=(work(),))
    thread.start()
    assert ready.wait(60)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def test_the_examples_are_short():
    assert all(len(source(name).splitlines()) < 60 for name in ("shared_breaker", "agent_pool", "coterie_maintenance"))


def test_the_team_s_worker_refuses_times_that_are_none():
    from coterie import Runtime, Task
    from coterie.team import Team
    from coterie.teams.fleet import team

    async def run(seconds):
        async with Runtime(Team("alone", team.of_type("worker"))) as runtime:
            return await runtime.orchestrator.execute_task(Task("t", "worker", input={"seconds": seconds}))

    assert sync.run(run(0)).output == {"seconds": 0, "slept_s": 0}
    assert sync.run(run("2")).error.type == "StepFailed"


SMALL = """
from datetime import datetime, UTC
from airflow_provider_coterie import plan_to_dag
from coterie import Plan, Task

plan = Plan("small", [Task("work", "worker", input={"seconds": 0, "note": "long " * 1000})])
dag = plan_to_dag(plan, dag_id="small", team_path="coterie.teams.fleet:team", schedule=None,
                  start_date=datetime(2026, 1, 1, tzinfo=UTC))
"""


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize("dry_run", [True, False])
def test_maintenance_deletes_what_no_run_refers_to_and_leaves_runs_as_they_are(in_airflow, artifacts, dry_run):
    store = sync.ArtifactStore(f"file://{artifacts}")
    worked, garbage = in_airflow.test(SMALL), store.put("nobody's" * 1000)
    for path in artifacts.rglob("*"):
        os.utime(path, (0, 0))

    run = in_airflow.test(source("coterie_maintenance"), dry_run=dry_run)

    assert [worked.state, run.state] == ["success", "success"]
    assert run.xcom("reap") == run.xcom("prune") == []
    collected = run.xcom("collect")
    assert (collected["dry_run"], collected["unread"]) == (dry_run, 0)
    assert collected["deleted"]["objects"] >= 1
    # The plan that the run goes by.
    assert collected["reachable"]["objects"] >= 1
    if dry_run:
        assert store.load(garbage) == "nobody's" * 1000
    else:
        with pytest.raises(MissingArtifact):
            store.load(garbage)


def test_maintenance_is_skipped_where_no_journal_is_kept(in_airflow, artifacts, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, journal="off"))

    run = in_airflow.test(source("coterie_maintenance"))

    assert set(run.states().values()) == {"skipped"}
