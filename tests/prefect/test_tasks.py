"""One agent as one Prefect task, in anybody's flow."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prefect import flow

from coterie import Plan, Task, Team
from coterie.decompose import Template, TemplateDecomposer
from coterie.errors import Misuse, StepFailed, Unavailable, UnknownAgentType
from prefect_coterie import arun_agent, decompose, final_state, run_agent, run_plan
from tests.prefect.runs import task_runs
from tests.prefect.trial import TEAM, hello

pytestmark = pytest.mark.prefect


async def test_an_agent_runs_on_its_own(store_url: str):
    record = await arun_agent("squarer", {"item": 7}, team=TEAM, artifacts=store_url)

    assert record["state"] == "succeeded"
    assert record["agent_id"] == "squarer"


async def test_records_of_others_reach_an_agent(store_url: str):
    @flow
    async def chain() -> dict[str, Any]:
        counted = await arun_agent("counter", {"n": 4}, team=TEAM, artifacts=store_url)
        return await arun_agent("reporter", team=TEAM, artifacts=store_url, upstream=[counted])

    state = await chain(return_state=True)

    record = await state.aresult()
    seen = await task_runs(state.state_details.flow_run_id, {"counter", "reporter"})
    assert record["output"]["ref"]["sha256"]
    assert [found.id for found in seen["reporter"].task_inputs["upstream"]] == [seen["counter"].id]


async def test_a_task_of_a_plan_can_be_run_by_hand(store_url: str):
    wanted = Task("nine", "squarer", input={"item": {"$param": "side"}})

    record = await arun_agent("squarer", team=TEAM, artifacts=store_url, plan_task=wanted, params={"side": 3})

    assert record["task_id"] == "nine"


def test_code_that_cannot_await_runs_agents_too(store_url: str):
    @flow
    def plain() -> str:
        return run_agent("squarer", {"item": 7}, team=TEAM, artifacts=store_url)["state"]

    assert plain() == "succeeded"


async def test_a_failure_fails_the_task_without_a_retry(store_url: str):
    @flow
    async def failing() -> None:
        await arun_agent("broken", team=TEAM, artifacts=store_url)

    state = await failing(return_state=True)

    seen = await task_runs(state.state_details.flow_run_id, {"broken"})
    with pytest.raises(StepFailed, match="RuntimeError: it broke") as failure:
        await state.aresult()
    assert failure.value.record["state"] == "failed"
    assert seen["broken"].run_count == 1


async def test_an_unknown_agent_type_is_named():
    with pytest.raises(UnknownAgentType, match="'poet'"):
        await arun_agent("poet", team=TEAM)


async def test_only_an_unavailable_store_is_tried_again(tmp_path: Path):
    """The store's folder cannot be made as long as a file is in its place."""
    (tmp_path / "artifacts").write_text("in the way")
    team = Team("moving")

    @team.agent("writer")
    async def write(_: dict[str, Any]) -> str:
        if (tmp_path / "seen").exists():
            (tmp_path / "artifacts").unlink()
        (tmp_path / "seen").touch()
        return "x" * 1000

    @flow
    async def moving() -> None:
        patient = arun_agent.with_options(retry_delay_seconds=0)
        await patient("writer", team=team, artifacts=f"file://{tmp_path}/artifacts")

    state = await moving(return_state=True)

    seen = await task_runs(state.state_details.flow_run_id, {"writer"})
    assert state.is_completed()
    assert seen["writer"].run_count == 2


async def test_a_store_that_stays_unavailable_fails_the_task(tmp_path: Path):
    (tmp_path / "artifacts").write_text("in the way")
    impatient = arun_agent.with_options(retries=0)

    with pytest.raises(Unavailable, match="artifacts"):
        await impatient("counter", {"n": 500}, team=TEAM, artifacts=f"file://{tmp_path}/artifacts")


async def test_a_plan_can_be_made_and_run_in_one_flow(store_url: str):
    template = Template("count", lambda n: Plan("counted", [Task("count", "counter", input={"n": n})]))

    @flow
    async def plan_and_run() -> Any:
        made = await decompose("count", {"n": 2}, decomposer=TemplateDecomposer([template]), team=TEAM)
        return final_state(await run_plan(Plan.from_dict(made), team=TEAM, artifacts=store_url))

    state = await plan_and_run(return_state=True)

    assert (await state.aresult())["plan"]["name"] == "counted"
    assert set(await task_runs(state.state_details.flow_run_id, {"count"})) == {"decompose", "count"}


async def test_two_plans_run_in_one_flow(store_url: str):
    @flow
    async def both() -> list[str]:
        first, second = await asyncio.gather(
            *(run_plan(hello, team=TEAM, artifacts=store_url, params={"n": n}, workflow_id=f"both-{n}") for n in (2, 3))
        )
        return [first.status, second.status]

    assert await both() == ["succeeded", "succeeded"]


async def test_a_run_id_that_cannot_be_one_is_refused(store_url: str):
    @flow
    async def odd() -> None:
        await run_plan(hello, team=TEAM, artifacts=store_url, workflow_id="a b")

    with pytest.raises(Misuse, match="'a b'"):
        await odd()
