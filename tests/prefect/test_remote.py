"""Flows have `coterie worker`s elsewhere perform tasks: once, with the same result, until they are cancelled."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, get_client
from prefect.states import Cancelling
from prefect.task_runners import ThreadPoolTaskRunner

from coterie import ArtifactStore, Ref, TaskResult
from coterie.errors import Misuse, PolicyError, StepFailed
from coterie.task import Placement
from prefect_coterie import CoterieStore, arun_agent, await_for_event, plan_to_flow, submit_remote
from tests.prefect.asking_workers import FOLDER
from tests.prefect.deployments import started
from tests.prefect.elsewhere import SPREAD, TEAM, notes, sums
from tests.prefect.runs import eventually, flow_run, run, task_runs
from tests.support.redis_servers import SYNCED, valkey

pytestmark = pytest.mark.prefect

REPOSITORY = Path(__file__).resolve().parents[2]


@contextmanager
def worker(url: str, artifacts: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A `coterie worker` with the test's team, told to end with the block."""
    command = [sys.executable, "-m", "coterie", "worker", "--team", TEAM, "--store", url, "--artifacts", artifacts]
    process = subprocess.Popen([*command, *arguments], cwd=REPOSITORY, stdin=subprocess.DEVNULL)
    try:
        yield process
        process.terminate()
        assert process.wait(timeout=60) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


async def output(record: dict[str, Any], store_url: str) -> Any:
    found = TaskResult.from_dict(record).output
    return await ArtifactStore(store_url).load(found) if isinstance(found, Ref) else found


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/state.db"


async def test_a_worker_performs_what_a_flow_submits(url: str, store_url: str):
    @flow
    async def asking() -> list[dict[str, Any]]:
        futures = [submit_remote("placed", {"said": n}, team=TEAM, artifacts=store_url, store=url) for n in range(3)]
        return [await asyncio.to_thread(future.result) for future in futures]

    with worker(url, store_url) as elsewhere:
        state = await asking(return_state=True)

    outputs = [await output(record, store_url) for record in await state.aresult()]
    assert [output["said"] for output in outputs] == [0, 1, 2]
    assert {output["pid"] for output in outputs} == {elsewhere.pid}
    assert {output["workflow"] for output in outputs} == {f"prefect.{state.state_details.flow_run_id}"}
    names = {f"placed-{number}" for number in (1, 2, 3)}
    assert set(await task_runs(state.state_details.flow_run_id, names)) == names


def test_code_that_cannot_await_submits_too_and_needs_no_team(url: str, store_url: str):
    @flow
    def asking() -> dict[str, Any]:
        return submit_remote("placed", {"said": "here"}, artifacts=store_url, store=url).result()

    with worker(url, store_url) as elsewhere:
        record = asking()

    assert record["state"] == "succeeded"
    assert asyncio.run(output(record, store_url))["pid"] == elsewhere.pid


async def test_a_failure_at_the_worker_is_that_of_the_task(url: str, store_url: str):
    @flow
    async def failing() -> None:
        await arun_agent("broken", team=TEAM, artifacts=store_url, store=url, placement="remote")

    with worker(url, store_url):
        state = await failing(return_state=True)

    with pytest.raises(StepFailed, match="RuntimeError: it broke") as failure:
        await state.aresult()
    assert failure.value.record["error"]["type"] == "RuntimeError"
    assert (await task_runs(state.state_details.flow_run_id, {"broken"}))["broken"].run_count == 1


@pytest.mark.parametrize("runner", [None, ThreadPoolTaskRunner(max_workers=4)], ids=["loop", "threads"])
@pytest.mark.parametrize(("squares", "team"), [("remote", TEAM), (None, SPREAD)], ids=["by_task", "by_team"])
async def test_a_plan_with_tasks_here_and_elsewhere_gives_the_same_as_in_one_process(
    url: str, store_url: str, runner: ThreadPoolTaskRunner[Any] | None, squares: Placement | None, team: str
):
    here = plan_to_flow(sums(None), team=TEAM, artifacts=store_url, store=f"{url}.here", name="here")
    mixed = plan_to_flow(sums(squares), team=team, artifacts=store_url, store=url, name="mixed", task_runner=runner)

    with worker(url, store_url):
        ended = await run(mixed, store_url)
    alone = await run(here, store_url)

    def without_plan(document: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in document.items() if name != "plan"}

    assert without_plan(ended.result.status_document()) == without_plan(alone.result.status_document())
    assert await output(ended.result["sum"].to_dict(), store_url) == 30


@asynccontextmanager
async def asking(how: str, name: str, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process with a flow of `tests.prefect.asking_workers`, gone with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.prefect.asking_workers", how, name,
        cwd=REPOSITORY, env={**os.environ, FOLDER: str(folder), "COTERIE_STORE": f"sqlite://{folder}/state.db"},
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


FLOWS = {"submitting": "submitting-flow", "blocking": "blocking-flow", "plan": "plan_flow"}


async def noted(folder: Path, *words: str) -> None:
    async def ask() -> list[str]:
        return notes(folder)

    await eventually(ask, lambda found: found == list(words))


@pytest.mark.parametrize("name", FLOWS)
async def test_whoever_runs_a_lost_flow_again_joins_what_the_worker_is_at(
    url: str, store_url: str, tmp_path: Path, name: str
):
    with worker(url, store_url):
        async with asking("run", name, tmp_path) as first:
            await noted(tmp_path, "begun")
            os.killpg(first.pid, signal.SIGKILL)
            await first.wait()
        async with asking("run", name, tmp_path) as second:
            (tmp_path / "go").touch()
            assert await second.wait() == 0

    assert notes(tmp_path) == ["begun"]


@pytest.mark.parametrize("name", FLOWS)
async def test_a_flow_run_that_is_cancelled_ends_the_agent_at_the_worker(
    url: str, store_url: str, tmp_path: Path, name: str
):
    with worker(url, store_url):
        async with asking("serve", name, tmp_path), get_client() as client:
            begun = await started(f"{FLOWS[name]}/asking")
            await noted(tmp_path, "begun")
            await client.set_flow_run_state(begun, Cancelling())

            await noted(tmp_path, "begun", "cancelled")
            await eventually(lambda: flow_run(begun), lambda found: found.state.is_cancelled())


async def test_a_retried_flow_run_is_told_what_the_worker_has_done(url: str, store_url: str, tmp_path: Path):
    (tmp_path / "go").touch()
    tries = []

    @flow(retries=1)
    async def unsteady() -> str:
        tries.append(1)
        future = submit_remote("patient", {"folder": str(tmp_path)}, artifacts=store_url, store=url)
        if len(tries) == 1:
            raise OSError("the flow's own")
        return (await asyncio.to_thread(future.result))["state"]

    with worker(url, store_url):
        assert await unsteady() == "succeeded"

    assert len(tries) == 2
    assert notes(tmp_path) == ["begun"]


async def test_workers_on_other_machines_are_asked_through_valkey(store_url: str):
    with valkey(arguments=SYNCED) as server:
        url = f"redis://127.0.0.1:{server.port}/0"

        @flow
        async def asking() -> list[dict[str, Any]]:
            futures = [submit_remote("placed", {"said": n}, artifacts=store_url, store=url) for n in range(3)]
            return [await asyncio.to_thread(future.result) for future in futures]

        with worker(url, store_url) as elsewhere:
            outputs = [await output(record, store_url) for record in await asking()]

    assert {found["pid"] for found in outputs} == {elsewhere.pid}


@pytest.mark.parametrize("placement", ["local", "remote"])
async def test_what_an_agent_publishes_reaches_the_flow_that_asked(url: str, store_url: str, placement: Placement):
    @flow
    async def heard() -> dict[str, Any]:
        await arun_agent("announcer", {"what": 7}, team=TEAM, artifacts=store_url, store=url, placement=placement)
        return await await_for_event("com.example.announced", store=url, timeout_s=60)

    with worker(url, store_url) if placement == "remote" else nullcontext():
        found = await heard()

    assert found["data"] == 7


async def test_what_an_agent_publishes_is_signed_with_the_keys_of_the_block(tmp_path: Path, store_url: str):
    signed = CoterieStore(url=f"sqlite://{tmp_path}/state.db", topic="signed", signing_keys="k1:a-secret-of-16-bytes")

    @flow
    async def heard() -> dict[str, Any]:
        await arun_agent("announcer", {"what": 7}, team=TEAM, artifacts=store_url, store=signed)
        return await await_for_event("com.example.announced", store=signed, timeout_s=60)

    assert (await heard())["data"] == 7


async def test_a_store_that_workers_cannot_reach_is_refused():
    @flow
    async def nowhere() -> None:
        await arun_agent("placed", team=TEAM, store="memory://", placement="remote")

    with pytest.raises(PolicyError, match="memory://"):
        await nowhere()


def test_nothing_is_submitted_outside_of_flows():
    with pytest.raises(Misuse, match="run_agent"):
        submit_remote("placed")
