"""The examples as they are deployed: by `prefect.yaml`, started by a worker, and by `serve`."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.flows import load_flow_from_entrypoint

from tests.prefect.deployments import REPOSITORY, final, prefect, started
from tests.prefect.runs import eventually

pytestmark = pytest.mark.prefect


@pytest.fixture(scope="module")
def deployed(server: object) -> None:
    """The repository's own `prefect.yaml`, deployed to the test's server."""

    async def make_pool() -> None:
        async with get_client() as client:
            await client.create_work_pool(WorkPoolCreate(name="coterie", type="process"), overwrite=True)

    asyncio.run(make_pool())
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=120)


async def test_the_review_is_deployed_with_a_daily_schedule(deployed: None):
    async with get_client() as client:
        found = await client.read_deployment_by_name("code-review/daily")

    (schedule,) = found.schedules
    assert schedule.active
    assert schedule.schedule.cron == "0 6 * * *"
    assert set(found.parameter_openapi_schema["properties"]) == {
        "source", "revision", "run_tests", "repository_config", "coterie_run_id", "coterie_force",
    }  # fmt: skip


async def test_every_example_is_deployed(deployed: None):
    async with get_client() as client:
        found = {one.entrypoint for one in await client.read_deployments()}

    assert {f"flows/{path.name}:{path.stem}" for path in (REPOSITORY / "flows").glob("*.py")} <= found


async def test_a_worker_runs_a_deployment(deployed: None):
    with prefect("-m", "prefect", "worker", "start", "--pool", "coterie", "--run-once"):
        ended = await final(await started("hello-plan/by-hand", name="worker"))

    assert ended.state is not None
    assert ended.state.is_completed()
    assert ended.work_pool_name == "coterie"
    assert (await ended.state.aresult())["status"] == "succeeded"


async def test_a_laptop_serves_the_review_every_day():
    with prefect("flows/code_review.py"):

        async def deployments() -> list[str]:
            async with get_client() as client:
                return [found.name for found in await client.read_deployments()]

        await eventually(deployments, lambda names: "laptop" in names)
        async with get_client() as client:
            found = await client.read_deployment_by_name("code-review/laptop")

    assert found.entrypoint == "flows/code_review.py:code_review"
    assert [one.schedule.cron for one in found.schedules] == ["0 6 * * *"]


@pytest.mark.parametrize("name", [path.stem for path in (REPOSITORY / "flows").glob("*.py")])
def test_prefect_finds_the_examples_by_file_and_name(name: str):
    flow = load_flow_from_entrypoint(f"{REPOSITORY}/flows/{name}.py:{name}", use_placeholder_flow=False)

    assert flow.name == name.replace("_", "-")
    assert len((REPOSITORY / "flows" / f"{name}.py").read_text().splitlines()) < 60
