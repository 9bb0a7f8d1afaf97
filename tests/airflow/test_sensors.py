"""Sensors under `dag.test()`: in a worker and deferred, with Airflow's own time-outs."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_coterie import CoterieBreakerSensor, CoteriePoolSensor, triggers
from coterie import Task
from coterie.breaker import CircuitBreaker
from coterie.errors import PolicyError
from coterie.pool import ResourcePool
from coterie.stores.opening import open_state_store
from tests.airflow.conftest import connection
from tests.airflow.fleet_agents import POOL, TEAM_PATH, team

SENSOR = """
    from airflow.sdk import DAG
    from airflow_provider_coterie import CoterieBreakerSensor, CoteriePoolSensor
    from tests.airflow.fleet_agents import TEAM_PATH

    with DAG("sensing", schedule=None) as dag:
        {sensor}(task_id="sensor", poke_interval=0.1, {more})
"""
MODES = pytest.mark.parametrize("mode", ["deferrable=False", "deferrable=True"])


@pytest.fixture
def state_url(artifacts, tmp_path, monkeypatch):
    url = f"sqlite://{tmp_path}/state.db"
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=url, team_path=TEAM_PATH))
    monkeypatch.setattr(triggers, "POOL_LOOK_S", 0.1)
    return url


def in_store(url, work):
    async def run():
        store = open_state_store(url, "default")
        try:
            return await work(store)
        finally:
            await store.aclose()

    return asyncio.run(run())


def force(url, change):
    async def work(store):
        breaker = CircuitBreaker("brittle", team.policies["brittle"].breaker, store=store)
        await getattr(breaker, change)()
        await breaker.aclose()

    in_store(url, work)


def take_slot(url):
    """Take the only slot for as long as a lease lasts that nobody renews."""

    async def work(store):
        pool = ResourcePool("single", store=store, policy=POOL)
        pool.register_agent(team.agents["single"])
        await pool.submit_task(Task("elsewhere", "single"))

    in_store(url, work)


@MODES
def test_a_breaker_that_is_as_expected_is_not_waited_for(in_airflow, state_url, mode):
    force(state_url, "force_open")

    run = in_airflow.test(
        SENSOR.format(sensor="CoterieBreakerSensor", more=f'breaker="brittle", expected=["forced_open"], {mode}')
    )

    assert run.states() == {("sensor", -1): "success"}


@MODES
def test_a_breaker_is_waited_for_until_it_is_closed(in_airflow, state_url, mode, monkeypatch):
    force(state_url, "force_open")
    poke, told_within = CoterieBreakerSensor.poke, triggers._told_within
    seen = []

    def closed_after_the_first_look(self, context):
        found = poke(self, context)
        seen.append(found)
        if mode == "deferrable=False":
            force(state_url, "reset")
        return found

    async def closed_while_waiting(told, seconds):
        seen.append("told")
        await asyncio.to_thread(force, state_url, "reset")
        await told_within(told, seconds)

    monkeypatch.setattr(CoterieBreakerSensor, "poke", closed_after_the_first_look)
    monkeypatch.setattr(triggers, "_told_within", closed_while_waiting)

    run = in_airflow.test(SENSOR.format(sensor="CoterieBreakerSensor", more=f'breaker="brittle", {mode}'))

    assert run.states() == {("sensor", -1): "success"}
    assert seen == ([False, True] if mode == "deferrable=False" else [False, "told"])


@MODES
def test_a_pool_is_waited_for_until_it_has_a_slot(in_airflow, state_url, mode):
    take_slot(state_url)

    run = in_airflow.test(SENSOR.format(sensor="CoteriePoolSensor", more=f'agent_type="single", {mode}'))

    assert run.states() == {("sensor", -1): "success"}


def test_an_idle_fleet_has_all_its_slots(in_airflow, state_url):
    run = in_airflow.test(SENSOR.format(sensor="CoteriePoolSensor", more='agent_type="single", timeout=5'))

    assert run.states() == {("sensor", -1): "success"}


@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_a_sensor_that_waits_in_vain_ends_as_airflow_says(in_airflow, state_url, soft_fail, state):
    force(state_url, "force_open")
    more = f'breaker="brittle", timeout=0.3, soft_fail={soft_fail}'

    run = in_airflow.test(SENSOR.format(sensor="CoterieBreakerSensor", more=more))

    assert run.states() == {("sensor", -1): state}


def test_a_deferred_sensor_hands_its_time_out_to_airflow_and_honours_soft_fail(state_url):
    from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException, TaskDeferred

    force(state_url, "force_open")
    hard = CoterieBreakerSensor(task_id="hard", breaker="brittle", timeout=7, deferrable=True)
    soft = CoterieBreakerSensor(task_id="soft", breaker="brittle", soft_fail=True, deferrable=True)

    with pytest.raises(TaskDeferred) as deferred:
        hard.execute({})

    assert deferred.value.timeout.total_seconds() == 7
    timed_out = {"error": "Trigger timeout"}
    with pytest.raises(AirflowSensorTimeout):
        hard.resume_execution("__fail__", timed_out, {})
    with pytest.raises(AirflowSkipException):
        soft.resume_execution("__fail__", timed_out, {})


def test_what_can_never_be_is_refused(state_url):
    with pytest.raises(PolicyError, match="expected is 'shut'"):
        CoterieBreakerSensor(task_id="one", breaker="brittle", expected="shut")
    with pytest.raises(PolicyError, match="free_slots is 0"):
        CoteriePoolSensor(task_id="two", agent_type="single", free_slots=0)
    with pytest.raises(PolicyError, match="all of 'single' have 1 slots"):
        CoteriePoolSensor(task_id="three", agent_type="single", free_slots=2).poke({})
    with pytest.raises(PolicyError, match="has no pool for 'brittle'"):
        CoteriePoolSensor(task_id="four", agent_type="brittle").poke({})
