"""A refused task waits where it is, says so, and uses up no retry; what it cannot wait for fails it at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, task
from prefect.exceptions import PrefectSignal

from coterie import Agent, Plan, Retry, Task, Team
from coterie.breaker import BreakerPolicy
from coterie.errors import BreakerOpen, PoolBusy, StepFailed, Unavailable
from coterie.policies import Fallback, Policies
from coterie.pool import PoolPolicy
from prefect_coterie import (
    CoterieCircuitBreaker,
    CoterieResourcePool,
    CoterieStore,
    arun_agent,
    plan_to_flow,
    run_agent,
)
from prefect_coterie.time_limit import SLACK_S, timeout_seconds_for
from tests.prefect.protected import TEAM, marks
from tests.prefect.runs import eventually, logged, task_runs
from tests.support.redis_servers import free_port

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("informed")]


@pytest.fixture
def store(tmp_path: Path) -> CoterieStore:
    return CoterieStore(url=f"sqlite://{tmp_path}/state.db")


def wanted(folder: Path, store: CoterieStore) -> dict[str, Any]:
    """What every call here is given."""
    return {
        "task_input": {"folder": str(folder)},
        "team": TEAM,
        "artifacts": f"file://{folder}/artifacts",
        "store": store,
    }


async def test_a_refusal_is_awaited_and_counts_as_no_retry(tmp_path: Path, store: CoterieStore):
    @flow
    async def patient() -> Any:
        (tmp_path / "broken").touch()
        first = await arun_agent.with_options(task_run_name="first")(
            "quick", **wanted(tmp_path, store), return_state=True
        )
        (tmp_path / "broken").unlink()
        second = await arun_agent.with_options(task_run_name="second")("quick", **wanted(tmp_path, store))
        return first.name, second

    state = await patient(return_state=True)

    first, second = await state.aresult()
    seen = await task_runs(state.state_details.flow_run_id, {"first", "second"})
    line = (await logged(state.state_details.flow_run_id, "quick waits"))[0]
    assert first == "Failed"
    assert (second["state"], second["attempts"]) == ("succeeded", 1)
    assert (seen["first"].run_count, seen["second"].run_count) == (1, 1)
    assert "circuit breaker" in line
    assert len(marks(tmp_path)) == 2


async def test_a_refusal_beyond_all_patience_fails_at_once(tmp_path: Path, store: CoterieStore):
    @flow
    async def impatient() -> None:
        (tmp_path / "broken").touch()
        await arun_agent.with_options(task_run_name="first")("slow", **wanted(tmp_path, store), return_state=True)
        await arun_agent.with_options(task_run_name="second")("slow", **wanted(tmp_path, store))

    state = await impatient(return_state=True)

    with pytest.raises(StepFailed, match="BreakerOpen") as failure:
        await state.aresult()
    seen = await task_runs(state.state_details.flow_run_id, {"first", "second"})
    assert failure.value.record["error"]["type"] == "BreakerOpen"
    assert seen["second"].run_count == 1
    assert len(marks(tmp_path)) == 1


async def test_whoever_waits_in_the_queue_says_so_and_leaves_nothing_when_cancelled(
    tmp_path: Path, store: CoterieStore
):
    pool = CoterieResourcePool(agent_type="worker", store=store)
    started: dict[str, UUID] = {}

    @flow
    async def working(name: str) -> None:
        from prefect.runtime import flow_run

        started[name] = UUID(str(flow_run.id))
        await arun_agent("worker", **wanted(tmp_path, store))

    holders = [asyncio.create_task(working(name)) for name in ("one", "two")]
    await eventually(pool.aget_pool_status, lambda status: status.in_use == 2)
    waiter = asyncio.create_task(working("three"))
    await eventually(pool.aget_pool_status, lambda status: status.waiting.get("worker") == 1)
    line = (await logged(started["three"], "waits for its turn"))[0]

    waiter.cancel()
    await asyncio.wait([waiter])

    status = await pool.aget_pool_status()
    assert "at most" in line
    assert (status.in_use, dict(status.waiting)) == (2, {})
    holders[0].cancel()
    await asyncio.wait(holders[:1])
    assert (await pool.aget_pool_status()).in_use == 1
    (tmp_path / "go").touch()
    await holders[1]
    assert (await pool.aget_pool_status()).in_use == 0


async def test_signals_of_the_scheduler_pass_untouched_and_are_no_failures(tmp_path: Path, store: CoterieStore):
    class Stop(PrefectSignal):
        """Prefect's signals are no `Exception`s."""

    own = Team("own")

    @own.agent("stopper")
    async def stop(_: dict[str, Any]) -> None:
        raise Stop

    own.protect("stopper", Policies(breaker=BreakerPolicy(failure_threshold=1), pool=PoolPolicy()))
    stopping = Plan("stopping", [Task("stop", "stopper")])

    @flow
    async def around() -> None:
        await plan_to_flow(stopping, team=own, artifacts=f"file://{tmp_path}", store=store)()

    with pytest.raises(Stop):
        await around()

    assert (await CoterieCircuitBreaker(name="stopper", store=store).aget_state()).state == "closed"
    assert (await CoterieResourcePool(agent_type="stopper", store=store).aget_pool_status()).in_use == 0


async def test_state_that_cannot_be_had_is_worth_a_retry(tmp_path: Path):
    nowhere = CoterieStore(url=f"redis://127.0.0.1:{free_port()}/0")

    @flow
    async def cut_off() -> None:
        hasty = arun_agent.with_options(retries=1, retry_delay_seconds=0)
        await hasty("worker", **wanted(tmp_path, nowhere))

    state = await cut_off(return_state=True)

    seen = await task_runs(state.state_details.flow_run_id, {"worker"})
    with pytest.raises(Unavailable):
        await state.aresult()
    assert seen["worker"].run_count == 2
    assert marks(tmp_path) == []


async def test_plain_tasks_wait_for_a_breaker_and_borrow_agents(store: CoterieStore):
    breaker = CoterieCircuitBreaker(name="mine", store=store, failure_threshold=1, success_threshold=1, timeout_s=0.5)
    pool = CoterieResourcePool(agent_type="gpu", agents={"gpu-1": 1}, store=store)

    @task
    async def fail() -> None:
        async with breaker.guard():
            raise OSError("away")

    @task
    async def call() -> str:
        async with breaker.guard(wait_s=30), pool.lease() as lease:
            return lease.agent_id

    @flow
    async def plain() -> str:
        await fail(return_state=True)
        with pytest.raises(BreakerOpen):
            async with breaker.guard():
                raise AssertionError("called")
        return await call()

    state = await plain(return_state=True)

    assert await state.aresult() == "gpu-1"
    assert "'mine'" in (await logged(state.state_details.flow_run_id, "waits 0."))[0]


def test_code_that_cannot_await_does_the_same(tmp_path: Path, store: CoterieStore):
    breaker = CoterieCircuitBreaker(name="mine", store=store)
    pool = CoterieResourcePool(agent_type="gpu", agents={"gpu-1": 1}, store=store)

    @task
    def call() -> str:
        with breaker.guard(), pool.lease(wait_s=0) as lease:
            with pytest.raises(PoolBusy), pool.lease(wait_s=0):
                raise AssertionError("two of one")
            return f"{lease.agent_id} {pool.get_pool_status().in_use}"

    @flow
    def plain() -> tuple[str, str]:
        return call(), run_agent("quick", **wanted(tmp_path, store))["state"]

    assert plain() == ("gpu-1 1", "succeeded")
    assert pool.get_pool_status().in_use == 0
    breaker.force_open()
    with pytest.raises(BreakerOpen), breaker.guard():
        raise AssertionError("called")
    breaker.disable()
    assert breaker.get_state().state == "disabled"
    breaker.metrics_only()
    assert breaker.get_state().state == "metrics_only"
    breaker.auto()
    breaker.force_closed()
    breaker.reset()
    assert breaker.get_state().state == "closed"


async def test_a_breaker_for_many_calls_is_kept(store: CoterieStore):
    breaker = await CoterieCircuitBreaker(name="mine", store=store).get_breaker()
    pool = await CoterieResourcePool(agent_type="gpu", agents={"gpu-1": 1}, store=store).get_pool()

    answers = [await breaker.call(asyncio.sleep, 0, number) for number in range(3)]
    async with pool.lease() as lease:
        assert lease.agent_id == "gpu-1"

    await breaker.aclose()
    await pool.aclose()
    assert answers == [0, 1, 2]


def limited(**policies: Any) -> Team:
    """Agents with time-outs: `main`, `other` without policies, and `endless`, which has none."""
    team = Team("limited")
    for name, timeout_s in (("main", 10.0), ("other", 20.0), ("endless", None)):
        retry = Retry(max_attempts=2, cap_s=1.0)
        team.add(Agent(name, name, _nothing, timeout_s=timeout_s, retry=retry))
    team.protect("main", Policies(max_wait_s=100.0, max_hold_s=1.0, **policies))
    return team


async def _nothing(_: dict[str, Any]) -> None: ...


# Two attempts and the waits between them; what refusals may take, a tenth of it for chance; twice a second of holding.
OWN_S = 2 * 10.0 + 2 * 1.0 + 110.0 + 2 * 1.0


@pytest.mark.parametrize(
    ("policies", "seconds"),
    [
        ({}, OWN_S),
        ({"fallback": [Fallback(value=None)]}, OWN_S),
        ({"fallback": [Fallback(agent_type="other")]}, OWN_S + 2 * 20.0 + 2 * 1.0),
        ({"fallback": [Fallback(agent="other")]}, OWN_S + 2 * 20.0 + 2 * 1.0),
        ({"fallback": [Fallback(agent_type="endless")]}, None),
    ],
)
def test_prefect_never_cuts_off_a_task_that_waits(policies: dict[str, Any], seconds: float | None):
    found = timeout_seconds_for(Task("a", "main"), limited(**policies))

    assert found == (None if seconds is None else pytest.approx(seconds + SLACK_S))


@pytest.mark.parametrize(
    "task", [Task("a", "main", placement="remote"), Task("a", "nobody", placement="remote"), Task("a", "far")]
)
def test_prefect_leaves_workers_their_time(task: Task):
    team = limited()
    team.remote("far", timeout_s=5.0, patience_s=7200.0)

    assert timeout_seconds_for(task, team) is None


async def test_a_task_on_a_task_runner_waits_too(tmp_path: Path, store: CoterieStore):
    from prefect.task_runners import ThreadPoolTaskRunner

    (tmp_path / "broken").touch()
    plan = Plan(
        "waiting",
        [
            Task("first", "quick", input={"folder": str(tmp_path)}),
            Task("mend", "mender", depends_on=("first",), trigger_rule="all_done"),
            Task("second", "quick", input={"folder": str(tmp_path)}, depends_on=("mend",)),
        ],
        outputs=["second"],
    )
    team = _with_mender(tmp_path)
    flow = plan_to_flow(
        plan, team=team, artifacts=f"file://{tmp_path}/a", store=store, task_runner=ThreadPoolTaskRunner(max_workers=2)
    )

    state = await flow(return_state=True)

    assert (state.type.value, state.name) == ("COMPLETED", "Partial")
    assert len(marks(tmp_path)) == 2


def _with_mender(folder: Path) -> Team:
    from tests.prefect.protected import team as protected

    team = Team("mending", protected.of_type("quick"), policies={"quick": protected.policies["quick"]})

    @team.agent("mender")
    async def mend(_: dict[str, Any]) -> None:
        (folder / "broken").unlink()

    return team
