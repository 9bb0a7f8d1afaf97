"""State on one machine, or in one process, is refused where the tasks that should share it do not see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect import Flow, flow, get_client, task
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.flow_engine import run_flow
from prefect.task_runners import PrefectTaskRunner, ProcessPoolTaskRunner, ThreadPoolTaskRunner

from coterie import Plan, Task
from coterie.errors import PolicyError
from prefect_coterie import (
    CoterieArtifacts,
    CoterieCircuitBreaker,
    CoterieResourcePool,
    CoterieStore,
    CoterieTeam,
    arun_agent,
    plan_to_flow,
)
from prefect_coterie.location import check_state_reach, runner_here
from prefect_coterie.source import store_of
from tests.prefect import trial
from tests.prefect.protected import TEAM

pytestmark = pytest.mark.prefect


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where state lies if nobody says."""
    monkeypatch.delenv("COTERIE_STORE", raising=False)
    monkeypatch.setenv("COTERIE_HOME", str(tmp_path / "home"))


def one_call(folder: Path, store: Any, team: Any = TEAM) -> Flow[..., Any]:
    plan = Plan("one", [Task("one", "quick", input={"folder": str(folder)})])
    artifacts = CoterieArtifacts(url=f"file://{folder}/artifacts", shared_file_system=True)
    return plan_to_flow(plan, team=team, artifacts=artifacts, store=store)


async def in_pool(pool_type: str, flow: Flow[..., Any], **parameters: Any) -> Any:
    """Run the flow as a worker of a pool of this type would; the state it ends in."""
    async with get_client() as client:
        pool = WorkPoolCreate(name=f"state-{pool_type}", type=pool_type, base_job_template={})
        await client.create_work_pool(pool, overwrite=True)
        flow_id = await client.create_flow(flow)
        deployment = await client.create_deployment(flow_id, name=pool_type, work_pool_name=pool.name)
        flow_run = await client.create_flow_run_from_deployment(deployment)
    return await run_flow(flow, flow_run=flow_run, parameters=parameters, return_type="state")


@pytest.mark.parametrize("given", ["sqlite", "nothing", "environment"])
async def test_state_on_disk_is_refused_in_a_pool_whose_runs_leave_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
):
    url = f"sqlite://{tmp_path}/state.db"
    if given == "environment":
        monkeypatch.setenv("COTERIE_STORE", url)

    state = await in_pool("kubernetes", one_call(tmp_path, url if given == "sqlite" else None), coterie_run_id=None)

    error = await state.aresult(raise_on_failure=False)
    assert isinstance(error, PolicyError)
    assert "'kubernetes'" in str(error)
    assert "redis://" in str(error)
    assert not (tmp_path / "log").exists()


async def test_state_on_disk_serves_in_a_pool_of_processes(tmp_path: Path):
    assert (await in_pool("process", one_call(tmp_path, None), coterie_run_id=None)).is_completed()
    assert (tmp_path / "home" / "state.db").exists()


async def test_a_team_without_policies_needs_no_state(tmp_path: Path):
    assert await store_of(None, trial.team) is None
    assert (await in_pool("kubernetes", _hello(tmp_path), n=1, coterie_run_id=None)).is_completed()
    assert not (tmp_path / "home").exists()


async def test_single_agents_and_blocks_are_refused_there_too(tmp_path: Path):
    found: list[type] = []

    @flow
    async def single() -> None:
        breaker, pool = CoterieCircuitBreaker(name="mine"), CoterieResourcePool(agent_type="gpu", agents={"a": 1})
        state = await arun_agent("quick", {"folder": str(tmp_path)}, team=TEAM, return_state=True)
        found.append(type(await state.aresult(raise_on_failure=False)))
        for block in (breaker.guard(), pool.lease()):
            with pytest.raises(PolicyError, match="kubernetes"):
                await block.__aenter__()
            found.append(PolicyError)
        for refused in (breaker.get_breaker(), pool.get_pool(), breaker.aget_state(), pool.aget_pool_status()):
            with pytest.raises(PolicyError, match="kubernetes"):
                await refused
            found.append(PolicyError)

    state = await in_pool("kubernetes", single)

    assert state.is_completed(), state.message
    assert found == [PolicyError] * 7


async def test_state_on_disk_is_refused_to_a_task_runner_that_leaves_the_machine():
    on_disk = CoterieStore(url="sqlite://")

    with pytest.raises(PolicyError, match="PrefectTaskRunner"):
        await check_state_reach(on_disk, PrefectTaskRunner(), kept=False)
    await check_state_reach(on_disk, ProcessPoolTaskRunner(), kept=False)
    await check_state_reach(CoterieStore(url="redis://host:6379/0"), PrefectTaskRunner(), kept=False)


@task
async def who_brought_it_here() -> str:
    return type(runner_here()).__name__


async def test_a_task_run_knows_whether_a_task_runner_brought_it_to_another_process():
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    async def both() -> list[str]:
        submitted = who_brought_it_here.submit()
        return [await who_brought_it_here(), submitted.result()]

    assert await both() == ["NoneType", "ProcessPoolTaskRunner"]


async def test_state_in_memory_serves_one_plan_in_one_process(tmp_path: Path):
    assert (await one_call(tmp_path, "memory://")(return_state=True)).is_completed()
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("runner", [ThreadPoolTaskRunner(), ProcessPoolTaskRunner()])
async def test_state_in_memory_is_refused_where_each_task_has_its_own(tmp_path: Path, runner: Any):
    plan = Plan("one", [Task("one", "quick", input={"folder": str(tmp_path)})])
    submitted = plan_to_flow(plan, team=TEAM, artifacts=f"file://{tmp_path}/a", store="memory://", task_runner=runner)

    with pytest.raises(PolicyError, match="sqlite://"):
        await submitted()
    with pytest.raises(PolicyError, match="no other sees it"):
        await arun_agent("quick", {"folder": str(tmp_path)}, team=TEAM, store="memory://")
    with pytest.raises(PolicyError, match="no other sees it"):
        await CoterieCircuitBreaker(name="mine", store=CoterieStore(url="memory://")).aget_state()


async def test_the_nearest_store_is_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COTERIE_STORE", "redis://:from%2Fenv@env:6379/0")
    own = CoterieStore(url="redis://own:6379/0", namespace="own")
    await CoterieStore(url="redis://saved:6379/0").asave("nearest", overwrite=True)
    bare, with_own = CoterieTeam(team_path=TEAM, namespace="blue"), CoterieTeam(team_path=TEAM, store=own)

    found = [
        await store_of("redis://given:6379/0", with_own),
        await store_of("coterie-store/nearest", with_own),
        await store_of(None, with_own),
        await store_of(None, bare),
    ]

    assert [one and one.url for one in found] == [f"redis://{name}:6379/0" for name in ("given", "saved", "own", "env")]
    assert found[3] is not None
    assert found[3].namespace == "blue"
    assert found[3].password is not None
    assert found[3].password.get_secret_value() == "from/env"
    monkeypatch.delenv("COTERIE_STORE")
    fallback = await store_of(None, bare)
    assert fallback is not None
    assert (fallback.url, fallback.scope) == ("sqlite://", "machine")


def _hello(folder: Path) -> Flow[..., Any]:
    artifacts = CoterieArtifacts(url=f"file://{folder}/artifacts", shared_file_system=True)
    return plan_to_flow(trial.hello, team=trial.TEAM, artifacts=artifacts)
