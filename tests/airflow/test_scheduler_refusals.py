"""Refused tasks on a real scheduler, triggerer and Valkey: deferred without a slot, woken by the fleet."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from coterie.breaker import CircuitBreaker
from coterie.pool import ResourcePool
from coterie.stores.opening import open_state_store
from tests.airflow.fleet_agents import POOL, team
from tests.airflow.on_scheduler import is_awaited

pytestmark = pytest.mark.airflow


def in_store(state_server, work):
    async def run():
        store = open_state_store(state_server.url, "default")
        try:
            return await work(store)
        finally:
            await store.aclose()

    return asyncio.run(run())


def rows(server, dag_id, run_id):
    return {(row["task_id"], row["map_index"]): row for row in server.tasks(dag_id, run_id)}


def states(server, dag_id, run_id):
    return {task: row["state"] for task, row in rows(server, dag_id, run_id).items()}


def slots(server):
    """Airflow's own count of its worker slots: those that are taken, and tasks that are deferred."""
    pool = server.call("GET", "/api/v2/pools/default_pool")
    return pool["running_slots"] + pool["queued_slots"], pool["deferred_slots"]


def test_a_refused_task_holds_no_slot_and_is_woken_when_a_person_closes_the_breaker(server, state_server):
    run_id = server.trigger("refused")
    waiting = {("asked", -1): "deferred", ("closed", -1): "deferred"}
    server.wait_for("two deferred tasks", lambda: waiting.items() <= states(server, "refused", run_id).items())

    server.wait_for("no worker", lambda: slots(server)[0] == 0)
    assert slots(server)[1] >= 2
    asked = rows(server, "refused", run_id)["asked", -1]
    assert asked["trigger"]["classpath"] == "airflow_provider_coterie.triggers.CoterieRefusalTrigger"
    assert state_server.password not in str(asked)

    async def close(store):
        breaker = CircuitBreaker("brittle", team.policies["brittle"].breaker, store=store)
        rests_s = (await breaker.refresh()).retry_after_s
        await breaker.reset()
        await breaker.aclose()
        return rests_s

    rests_s = in_store(state_server, close)
    run = server.wait("refused", run_id, timeout_s=rests_s)

    assert run["state"] == "success"
    ended = rows(server, "refused", run_id)
    assert states(server, "refused", run_id) == {
        ("fails", -1): "failed",
        ("asked", -1): "success",
        ("closed", -1): "success",
    }
    assert {task: row["try_number"] for task, row in ended.items()} == dict.fromkeys(ended, 1)
    began, end = (datetime.fromisoformat(ended[task, -1]["end_date"]) for task in ("fails", "asked"))
    assert (end - began).total_seconds() < 250.0, "before the breaker would have let a call through by itself"
    assert "woken by: breaker" in server.task_log("refused", run_id, "asked")


@pytest.fixture
def gate(tmp_path):
    """What agents wait for; open at the end, so that no failed test leaves one at work."""
    path = tmp_path / "gate"
    yield path
    path.touch()


def test_tasks_queue_without_workers_until_they_are_served_or_ended_by_a_person(server, state_server, gate):
    run_id = server.trigger("queueing", {"gate": str(gate)})

    def count(state):
        found = states(server, "queueing", run_id)
        return sum(one == state for (task, _), one in found.items() if task == "work")

    server.wait_for("one at work, five deferred", lambda: (count("running"), count("deferred")) == (1, 5))

    async def look(store):
        async with ResourcePool("single", store=store, policy=POOL) as pool:
            return await pool.refresh()

    status = in_store(state_server, look)
    assert (status.in_use, dict(status.waiting)) == (1, {"single": 5})

    found = states(server, "queueing", run_id)
    ended_by_hand = next(index for index in range(6) if found["work", index] == "deferred")
    server.wait_for("its trigger", lambda: is_awaited(server, "queueing", run_id, "work", map_index=ended_by_hand))
    path = f"/api/v2/dags/queueing/dagRuns/{run_id}/taskInstances/work/{ended_by_hand}"
    server.call("PATCH", path, {"new_state": "failed"})
    server.wait_for("a shorter queue", lambda: dict(in_store(state_server, look).waiting) == {"single": 4})
    gate.touch()

    server.wait("queueing", run_id)
    ended = rows(server, "queueing", run_id)
    work = {index: row["state"] for (task, index), row in ended.items() if task == "work"}
    assert work == {index: "failed" if index == ended_by_hand else "success" for index in range(6)}
    assert ended["free", -1]["state"] == "success", server.task_log("queueing", run_id, "free")
    assert {row["try_number"] for (task, _), row in ended.items() if task == "work"} == {1}
    status = in_store(state_server, look)
    assert (status.in_use, dict(status.waiting)) == (0, {})


def test_no_log_of_any_component_shows_the_store_s_password(server, state_server):
    written = [path for path in server.home.rglob("*") if path.suffix in (".log", ".txt") and path.is_file()]

    assert written
    assert not [str(path) for path in written if state_server.password in path.read_text("utf-8", "replace")]
