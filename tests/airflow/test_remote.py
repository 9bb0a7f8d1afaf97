"""Tasks that workers perform, under `dag.test()`: asked for once, deferred, and ended as the worker says."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from airflow_provider_coterie import CoterieAgentOperator
from airflow_provider_coterie.remote.call_trigger import CoterieCallTrigger
from airflow_provider_coterie.remote.called import RemoteWork
from coterie import Task
from coterie.bus import EventBus
from coterie.errors import TopicFull
from coterie.journal import Intent
from coterie.remote import RemoteCalls
from coterie.stores.opening import open_log_store, open_state_store
from tests.airflow.conftest import connection
from tests.airflow.remote_agents import team
from tests.airflow.working import worker_in_thread

ONE = """
    from airflow.sdk import DAG
    from airflow_provider_coterie import CoterieAgentOperator
    from datetime import timedelta
    from tests.airflow.remote_agents import TEAM_PATH

    DEFAULTS = {{"retries": 3, "retry_delay": timedelta(0), "team_path": TEAM_PATH}}
    with DAG("one", schedule=None, default_args=DEFAULTS) as dag:
        CoterieAgentOperator(task_id="asked", agent_type="far"{more})
"""


@pytest.fixture
def store(artifacts, tmp_path, monkeypatch):
    """A database of this test's own, named by the default connection."""
    url = f"sqlite://{tmp_path}/state.db"
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=url))
    return url


@pytest.fixture
def worker(store, artifacts):
    with worker_in_thread(team, store=store, artifacts=f"file://{artifacts}") as running:
        yield running


def test_a_task_of_a_remote_agent_is_performed_by_a_worker(in_airflow, worker):
    run = in_airflow.test(ONE.format(more=""))

    assert run.states() == {("asked", -1): "success"}
    assert run.load("asked")["answered"] == "asked"
    assert run.xcom("asked", "coterie_result")["agent_id"] == "far"
    assert run.tries()["asked"] == 1


def calls_in(store):
    """How the calls that were asked for stand."""

    async def look():
        state, log = open_state_store(store, "default"), open_log_store(store, "default")
        calls = RemoteCalls(state, log)
        try:
            return [await calls.look(key.partition("/")[2]) for key in await state.keys("call")]
        finally:
            await log.aclose()
            await state.aclose()

    return asyncio.run(look())


def test_a_failure_is_the_worker_s_and_no_retry_asks_for_it_again(in_airflow, worker, store, tmp_path):
    run = in_airflow.test(ONE.format(more=f', input={{"fails": True, "notes": {str(tmp_path / "notes")!r}}}'))

    assert run.states() == {("asked", -1): "failed"}
    assert run.tries()["asked"] == 1
    assert run.xcom("asked", "coterie_result")["error"] == {"type": "ValueError", "message": "this agent always fails"}
    assert len((tmp_path / "notes").read_text().splitlines()) == 1


def test_a_retry_joins_the_call_that_is_there(in_airflow, worker, store, tmp_path, monkeypatch):
    source, lost = CoterieAgentOperator._defer_to, []

    def lose_once(self, wait):
        if not lost:
            lost.append(wait)
            raise ConnectionError("the worker of Airflow's is lost when it has asked")
        source(self, wait)

    monkeypatch.setattr(CoterieAgentOperator, "_defer_to", lose_once)
    more = f', input={{"notes": {str(tmp_path / "notes")!r}}}'

    run = in_airflow.test(ONE.format(more=more))

    assert run.load("asked")["answered"] == "asked"
    assert run.tries()["asked"] == 2
    assert len((tmp_path / "notes").read_text().splitlines()) == 2, "began once, ended once"
    assert len(calls_in(store)) == 1


def test_what_is_asked_for_after_a_clear_is_another_call_and_a_retry_s_the_same():
    around = SimpleNamespace(
        team=team, identity=SimpleNamespace(workflow_id="run", epoch=0), upstream={}, params={}, intent=None,
        correlation_id=None,
    )  # fmt: skip
    hook, task = SimpleNamespace(settings=SimpleNamespace(namespace="default")), Task("asked", "far")

    def asked(try_number, cleared_after):
        context = {
            "ti": SimpleNamespace(id=f"ti-{try_number}", try_number=try_number, max_tries=cleared_after + 3),
            "task": SimpleNamespace(retries=3),
        }
        return RemoteWork.of(context, hook, print)._call(around, task).id

    first, retried, cleared, then_retried = asked(1, 0), asked(2, 0), asked(3, 2), asked(4, 2)

    assert first == retried
    assert cleared == then_retried
    assert first != cleared


def test_what_is_finished_is_known_from_the_journal_without_any_worker(in_airflow, store, artifacts):
    with worker_in_thread(team, store=store, artifacts=f"file://{artifacts}"):
        first = in_airflow.test(ONE.format(more=""), coterie_run_id="the-run")

    again = in_airflow.test(ONE.format(more=""), coterie_run_id="the-run")

    assert again.states() == {("asked", -1): "success"}
    assert again.load("asked") == first.load("asked")
    assert len(calls_in(store)) == 1


def test_a_task_that_may_not_be_deferred_waits_in_its_worker(in_airflow, worker, store, monkeypatch):
    monkeypatch.setattr(CoterieCallTrigger, "__init__", None)

    run = in_airflow.test(ONE.format(more=", deferrable=False"))

    assert run.load("asked")["answered"] == "asked"


def test_a_task_says_itself_where_it_is_placed(in_airflow, worker, store):
    run = in_airflow.test(
        """
        from airflow.sdk import DAG, task
        from airflow_provider_coterie import CoterieAgentOperator
        from tests.airflow.remote_agents import TEAM_PATH, WORKERS_PATH

        with DAG("placed", schedule=None, default_args={"retries": 1}) as dag:
            near = CoterieAgentOperator(task_id="near", team_path=TEAM_PATH, agent_type="near")
            here = CoterieAgentOperator(task_id="here", team_path=WORKERS_PATH, agent_type="far")
            far = CoterieAgentOperator(task_id="far", team_path=WORKERS_PATH, agent_type="far", placement="remote")

            @task.coterie_agent(team_path=TEAM_PATH, agent_type="far")
            def decorated():
                return {"bytes": 3}

            [near, here] >> far >> decorated()
        """
    )

    assert set(run.states().values()) == {"success"}
    assert run.load("far")["before"] == ["here", "near"]
    assert run.load("decorated")["text"] == "xxx"
    assert sorted(status.id is not None for status in calls_in(store)) == [True, True]


def test_a_task_whose_condition_is_false_asks_for_nothing(in_airflow, store):
    run = in_airflow.test(
        """
        from airflow_provider_coterie import plan_to_dag
        from coterie import Plan, Task, When
        from tests.airflow.remote_agents import TEAM_PATH

        plan = Plan("conditional", tasks=[
            Task("near", "near"),
            Task("far", "far", depends_on=("near",), when=When("near", "/answered", "eq", "another")),
        ])
        dag = plan_to_dag(plan, team_path=TEAM_PATH)
        """
    )

    assert run.states()["far", -1] == "skipped"
    assert calls_in(store) == []


def test_a_task_that_no_worker_begins_in_time_fails(in_airflow, store):
    run = in_airflow.test(ONE.replace('"far"', '"unserved"').format(more=""))

    assert run.states() == {("asked", -1): "failed"}
    error = run.xcom("asked", "coterie_result")["error"]
    assert error["type"] == "NoReply"
    assert run.tries()["asked"] == 1


def test_items_of_a_foreach_are_calls_within_their_part(in_airflow, worker, store):
    run = in_airflow.test(
        """
        from airflow_provider_coterie import plan_to_dag
        from coterie import ForEach, Plan, Task
        from tests.airflow.remote_agents import TEAM_PATH

        each = Task("each", "far", foreach=ForEach(items=[{"n": n} for n in range(5)]))
        dag = plan_to_dag(Plan("items", tasks=[each]), team_path=TEAM_PATH, foreach_parts=2)
        """
    )

    assert run.result().status == "succeeded"
    assert run.result()["each"].items.total == 5
    assert len(calls_in(store)) == 5


def test_what_is_asked_of_workers_and_what_they_tell_belongs_to_the_run(in_airflow, worker, store):
    run = in_airflow.test(ONE.format(more=""))

    async def told():
        async with EventBus.open(store, namespace="default") as bus:
            return [(event.event.name, event.event.correlation_id) async for event in bus.replay("task.*")]

    found = asyncio.run(told())
    assert ("task.created", f"airflow.one.{run.run_id}") in found
    assert {correlation for _, correlation in found} == {f"airflow.one.{run.run_id}"}


@pytest.mark.parametrize("more", ["", ", deferrable=False"])
def test_a_queue_without_room_is_waited_for(in_airflow, worker, store, monkeypatch, more):
    source, refused = RemoteCalls.submit, []

    async def full_once(self, call, *, owner):
        if not refused:
            refused.append(call.id)
            raise TopicFull("100000 tasks wait for 'far'", retry_after_s=1.0)
        return await source(self, call, owner=owner)

    monkeypatch.setattr(RemoteCalls, "submit", full_once)

    run = in_airflow.test(ONE.format(more=more))

    assert run.states() == {("asked", -1): "success"}
    assert run.tries()["asked"] == 1
    assert len(refused) == 1


def test_what_a_class_of_one_s_own_does_after_the_work_needs_a_worker_of_airflow_s():
    class Own(CoterieAgentOperator):
        def post_execute(self, context, result=None):
            """Anything."""

    ti = SimpleNamespace(try_number=1, max_tries=0)
    around = SimpleNamespace(identity=SimpleNamespace(workflow_id="run"), intent=Intent("run"))
    waits = [
        kind(task_id="asked", agent_type="far")._call_wait({"ti": ti}, "try", around, Task("asked", "far"), "call")
        for kind in (CoterieAgentOperator, Own)
    ]

    assert [wait.ends_success for wait in waits] == [True, False]


def test_what_the_team_says_of_its_remote_agents_holds_at_the_worker(in_airflow, worker, store, tmp_path):
    source = ONE.replace('agent_type="far"', 'agent_type="hurried"')
    run = in_airflow.test(source.format(more=f', input={{"gate": {str(tmp_path / "never")!r}}}'))

    record = run.xcom("asked", "coterie_result")
    assert record["error"]["type"] == "TaskTimedOut"
    assert record["attempts"] == 2
