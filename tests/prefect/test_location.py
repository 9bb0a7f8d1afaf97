"""Artifacts on one machine's disk are refused where tasks do not see that disk."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.flow_engine import run_flow
from prefect.task_runners import PrefectTaskRunner, ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from coterie.errors import PolicyError
from prefect_coterie import CoterieArtifacts, plan_to_flow
from prefect_coterie.location import check_reach, runner_leaves
from tests.prefect.runs import task_runs
from tests.prefect.trial import TEAM, hello

pytestmark = pytest.mark.prefect


class DaskTaskRunner:
    """Looks like prefect-dask's, which is not installed here."""

    def __init__(self, address: str | None = None, cluster_class: Any = None) -> None:
        self.address = address
        self.cluster_class = cluster_class


class RayTaskRunner:
    """Looks like prefect-ray's."""

    def __init__(self, address: str | None = None) -> None:
        self.address = address


@pytest.mark.parametrize(
    ("runner", "leaves"),
    [
        (ThreadPoolTaskRunner(), False),
        (ProcessPoolTaskRunner(), False),
        (PrefectTaskRunner(), True),
        (DaskTaskRunner(), False),
        (DaskTaskRunner(cluster_class="distributed.LocalCluster"), False),
        (DaskTaskRunner(cluster_class="dask_kubernetes.KubeCluster"), True),
        (DaskTaskRunner(address="tcp://127.0.0.1:8786"), False),
        (DaskTaskRunner(address="localhost:8786"), False),
        (DaskTaskRunner(address="192.0.2.255:8786"), True),
        (RayTaskRunner(), False),
        (RayTaskRunner(address="auto"), False),
        (RayTaskRunner(address="ray://192.0.2.255:8786"), True),
    ],
)
def test_task_runners_that_leave_the_machine_are_known(runner: TaskRunner[Any], leaves: bool):
    assert runner_leaves(runner) is leaves


async def flow_run_in_pool(pool_type: str, artifacts: Any) -> Any:
    """Run the flow as a worker of a pool of this type would; the state it ends in."""
    flow = plan_to_flow(hello, team=TEAM, artifacts=artifacts)
    async with get_client() as client:
        pool = WorkPoolCreate(name=f"pool-{pool_type.replace(':', '-')}", type=pool_type, base_job_template={})
        await client.create_work_pool(pool, overwrite=True)
        flow_id = await client.create_flow(flow)
        deployment = await client.create_deployment(flow_id, name=pool_type, work_pool_name=pool.name)
        flow_run = await client.create_flow_run_from_deployment(deployment)
    return await run_flow(flow, flow_run=flow_run, parameters={"n": 2, "coterie_run_id": None}, return_type="state")


@pytest.mark.parametrize("pool_type", ["kubernetes", "docker", "ecs", "cloud-run-v2:push", "prefect:managed"])
async def test_a_folder_is_refused_in_a_pool_whose_runs_leave_the_machine(store_url: str, pool_type: str):
    state = await flow_run_in_pool(pool_type, store_url)

    error = await state.aresult(raise_on_failure=False)
    assert isinstance(error, PolicyError)
    assert pool_type in str(error)
    assert "s3://" in str(error)
    assert await task_runs(state.state_details.flow_run_id, set()) == {}


async def test_a_folder_serves_in_a_pool_of_processes(store_url: str):
    assert (await flow_run_in_pool("process", store_url)).is_completed()


async def test_a_folder_that_is_mounted_everywhere_serves_in_any_pool(store_url: str):
    shared = CoterieArtifacts(url=store_url, shared_file_system=True)

    assert (await flow_run_in_pool("kubernetes", shared)).is_completed()


async def test_a_folder_is_refused_to_a_task_runner_that_leaves_the_machine(store_url: str):
    flow = plan_to_flow(hello, team=TEAM, artifacts=store_url, task_runner=PrefectTaskRunner())

    with pytest.raises(PolicyError, match=r"PrefectTaskRunner.*shared_file_system=True"):
        await flow()


async def test_memory_is_refused_to_a_task_runner_with_processes():
    with pytest.raises(PolicyError, match="one process"):
        await check_reach(CoterieArtifacts(url="memory://trial"), ProcessPoolTaskRunner())


async def test_an_object_store_serves_everywhere():
    await check_reach(CoterieArtifacts(url="s3://bucket/prefix"), PrefectTaskRunner())
