"""Refused tasks under `dag.test()`: deferred, resumed with the patience that is left, failed in the end."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_coterie import triggers
from airflow_provider_coterie.hook import CoterieHook
from airflow_provider_coterie.triggers import CoterieRefusalTrigger
from coterie import ArtifactStore, Task
from coterie.breaker import CircuitBreaker
from coterie.journal import Journal
from coterie.pool import ResourcePool
from coterie.stores.opening import open_journal_store, open_state_store
from coterie.timeline import timeline_of
from tests.airflow.conftest import connection
from tests.airflow.fleet_agents import POOL, team

ONE = """
    from airflow.sdk import DAG
    from airflow_provider_coterie import CoterieAgentOperator
    from tests.airflow.fleet_agents import TEAM_PATH

    with DAG("one", schedule=None, default_args={{"retries": 3}}) as dag:
        CoterieAgentOperator(task_id="asked", team_path=TEAM_PATH, agent_type={agent_type!r}{more})
"""
TWO = """
    from airflow.sdk import DAG
    from airflow_provider_coterie import CoterieAgentOperator
    from tests.airflow.fleet_agents import TEAM_PATH

    with DAG("two", schedule=None, default_args={{"team_path": TEAM_PATH, "agent_type": {agent_type!r}}}) as dag:
        first = CoterieAgentOperator(task_id="first", input={first!r})
        asked = CoterieAgentOperator(task_id="asked", trigger_rule="all_done"{more})
        first >> asked
"""


@pytest.fixture
def state_url(artifacts, tmp_path, monkeypatch):
    """A database of this test's own, named by the default connection."""
    url = f"sqlite://{tmp_path}/state.db"
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=url))
    return url


@pytest.fixture
def woken(monkeypatch):
    """What woke the triggers of this test, in order."""
    seen = []
    woken = CoterieRefusalTrigger._woken

    async def watched(self):
        seen.append(await woken(self))
        return seen[-1]

    monkeypatch.setattr(CoterieRefusalTrigger, "_woken", watched)
    return seen


@pytest.fixture
def closes_by_hand(state_url, monkeypatch):
    """While a trigger waits for a breaker, a person closes that of `brittle`; nothing else could wake it in time."""
    monkeypatch.setattr(triggers, "RECONCILE_S", 3600.0)
    told_within = triggers._told_within

    async def closing(told, seconds):
        store = open_state_store(state_url, "default")
        breaker = CircuitBreaker("brittle", team.policies["brittle"].breaker, store=store)
        await breaker.reset()
        await breaker.aclose()
        await store.aclose()
        await told_within(told, seconds)

    monkeypatch.setattr(triggers, "_told_within", closing)


def in_store(url, work):
    """Do something with the state, from another process's point of view."""

    async def run():
        store = open_state_store(url, "default")
        try:
            return await work(store)
        finally:
            await store.aclose()

    return asyncio.run(run())


@pytest.mark.usefixtures("closes_by_hand")
def test_a_task_refused_by_a_breaker_is_deferred_and_tried_when_it_lets_calls_through(in_airflow, woken):
    run = in_airflow.test(TWO.format(agent_type="brittle", first={"fails": True}, more=""))

    assert run.states() == {("first", -1): "failed", ("asked", -1): "success"}
    assert woken == ["breaker"]
    assert run.tries()["asked"] == 1
    assert run.load("asked") == {"answered": "asked", "attempt": 1}


def test_a_task_refused_by_a_pool_is_deferred_until_its_turn(in_airflow, state_url, woken):
    async def take(store):
        # Given back by nobody: the slot is free when the lease has run out.
        pool = ResourcePool("single", store=store, policy=POOL)
        pool.register_agent(team.agents["single"])
        await pool.submit_task(Task("elsewhere", "single"))

    in_store(state_url, take)

    run = in_airflow.test(ONE.format(agent_type="single", more=""))

    assert run.states() == {("asked", -1): "success"}
    assert woken == ["slot"]
    assert run.tries()["asked"] == 1


def test_a_task_refused_by_a_limit_is_deferred_until_there_is_room(in_airflow, state_url, woken):
    run = in_airflow.test(TWO.format(agent_type="rationed", first={}, more=""))

    assert run.states() == {("first", -1): "success", ("asked", -1): "success"}
    assert woken == ["time"]
    assert run.tries()["asked"] == 1


def test_a_refusal_that_outlasts_the_patience_is_the_task_s_failure(in_airflow, state_url, woken):
    run = in_airflow.test(TWO.format(agent_type="costly", first={}, more=", retries=3"))

    assert run.states() == {("first", -1): "success", ("asked", -1): "failed"}
    assert woken == []
    assert run.xcom("asked", "coterie_result")["error"]["type"] == "BudgetSpent"
    assert run.tries()["asked"] == 1


def test_the_patience_counts_from_the_first_refusal(in_airflow, state_url, woken):
    async def bar(store):
        breaker = CircuitBreaker("barred", team.policies["barred"].breaker, store=store)
        await breaker.force_open()
        await breaker.aclose()

    in_store(state_url, bar)

    run = in_airflow.test(ONE.format(agent_type="barred", more=""))

    assert run.states() == {("asked", -1): "failed"}
    assert woken == ["patience"]
    error = run.xcom("asked", "coterie_result")["error"]
    assert error["type"] == "BreakerOpen"
    assert "'barred'" in error["message"]
    assert run.tries()["asked"] == 1


def test_what_stands_in_is_the_output_of_a_task_that_is_refused_for_too_long(in_airflow, state_url, woken):
    run = in_airflow.test(TWO.format(agent_type="replaced", first={}, more=""))

    assert run.load("first") == {"answered": "first", "attempt": 1}
    assert run.load("asked") == {"answered": "instead"}
    assert woken == []


def test_without_deferral_a_task_waits_in_its_worker(in_airflow, state_url, woken):
    more = ", deferrable=False"
    run = in_airflow.test(TWO.format(agent_type="resting", first={"fails": True}, more=more))

    assert run.states() == {("first", -1): "failed", ("asked", -1): "success"}
    assert woken == []


@pytest.mark.usefixtures("closes_by_hand")
def test_a_decorated_function_is_called_anew_when_its_task_is_resumed(in_airflow, woken, tmp_path):
    run = in_airflow.test(
        f"""
        from pathlib import Path
        from airflow.sdk import DAG, task
        from airflow_provider_coterie import CoterieAgentOperator
        from tests.airflow.fleet_agents import TEAM_PATH

        made = Path({str(tmp_path / "made")!r})

        with DAG("decorated_refusal", schedule=None) as dag:
            first = CoterieAgentOperator(
                task_id="first", team_path=TEAM_PATH, agent_type="brittle", input={{"fails": True}}
            )

            @task.coterie_agent(team_path=TEAM_PATH, agent_type="brittle", trigger_rule="all_done")
            def asked(run_id):
                with made.open("a") as file:
                    file.write(run_id + " ")
                return {{}}

            first >> asked()
        """
    )

    assert run.states()["asked", -1] == "success"
    assert woken == ["breaker"]
    assert (tmp_path / "made").read_text().split() == [run.run_id, run.run_id]


def test_what_airflow_is_told_by_a_function_or_an_agent_passes_through(in_airflow, state_url):
    run = in_airflow.test(
        """
        from airflow.sdk import DAG, task
        from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
        from tests.airflow.fleet_agents import TEAM_PATH

        with DAG("controlled", schedule=None, default_args={"retries": 2, "retry_delay": 0}) as dag:
            @task.coterie_agent(team_path=TEAM_PATH, agent_type="single")
            def skips():
                raise AirflowSkipException

            @task.coterie_agent(team_path=TEAM_PATH, agent_type="single")
            def fails():
                raise AirflowFailException

            @task.coterie_agent(team_path=TEAM_PATH, agent_type="controlling")
            def agent_skips():
                return {"raises": "skip"}

            @task.coterie_agent(team_path=TEAM_PATH, agent_type="controlling")
            def agent_ends():
                return {"raises": "end"}

            skips(), fails(), agent_skips(), agent_ends()
        """
    )

    assert {task: state for (task, _), state in run.states().items()} == {
        "skips": "skipped",
        "fails": "failed",
        "agent_skips": "failed",
        "agent_ends": "failed",
    }
    assert run.tries()["fails"] == 1
    # An agent's exception is its failure; what is none, and only ends the process, is not even that.
    assert run.xcom("agent_skips", "coterie_result")["error"]["type"] == "AirflowSkipException"
    assert run.xcom("agent_ends", "coterie_result") is None


def test_a_team_with_policies_needs_a_store_that_its_tasks_share(in_airflow, artifacts, monkeypatch):
    import airflow_provider_coterie.hook as module

    monkeypatch.setattr(module, "is_in_process", lambda: False)
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store="memory://"))

    run = in_airflow.test(ONE.format(agent_type="single", more=""))

    error = run.xcom("asked", "coterie_result")["error"]
    assert error["type"] == "PolicyError"
    assert "every Airflow task has its own" in error["message"]
    assert CoterieHook().runtime("tests.airflow.agents:team").store is None, "a team without policies needs none"


def test_how_what_was_refused_for_good_ended_is_in_the_run_s_timeline(in_airflow, state_url, artifacts):
    run = in_airflow.test(
        """
        from airflow_provider_coterie import plan_to_dag
        from coterie import ForEach, Plan, Task
        from tests.airflow.fleet_agents import TEAM_PATH

        spend = Task("spend", "costly", foreach=ForEach(items=[1, 2, 3], tolerate_failures=1))
        more = Task("more", "costly", depends_on=["spend"], trigger_rule="all_done")
        dag = plan_to_dag(Plan("costs", [spend, more]), team_path=TEAM_PATH, foreach_parts=2)
        """
    )

    timeline = timeline_in(state_url, artifacts, f"airflow.{run.rows()[0].dag_id}.{run.run_id}")
    ended = {span.name: (span.state, span.facts.get("error_type")) for span in timeline.spans if span.kind == "task"}
    assert timeline.is_over
    assert ended["spend"] == ("failed", None)
    assert ended["more"] == ("failed", "BudgetSpent")
    items = [span for span in timeline.spans if span.kind == "item"]
    assert [span.state for span in items].count("failed") >= 2
    assert {span.facts["error_type"] for span in items if span.state == "failed"} == {"BudgetSpent"}


@pytest.mark.usefixtures("closes_by_hand")
def test_while_a_deferred_task_waits_its_time_counts_as_waiting_after_the_refusal(in_airflow, state_url, artifacts):
    run = in_airflow.test(TWO.format(agent_type="brittle", first={"fails": True}, more=""))

    timeline = timeline_in(state_url, artifacts, f"airflow.two.{run.run_id}")
    (asked,) = [span for span in timeline.spans if span.id == "task/asked"]
    laps = [span.kind for span in timeline.spans if span.parent == asked.id]
    assert asked.state == "succeeded"
    assert (laps.count("refused"), laps.count("wait")) == (1, 1)


def timeline_in(state_url, artifacts, run_id):
    """What anybody who looks is told of a run."""

    async def read():
        journal = Journal(open_journal_store(state_url, "default"))
        try:
            return await timeline_of(journal, run_id, artifacts=ArtifactStore(f"file://{artifacts}"))
        finally:
            await journal.aclose()

    return asyncio.run(read())
