"""With a real server: no run's log, state, artifact or result has one of the secrets that agents know, and tell."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

from prefect_coterie import plan_to_flow
from tests.fleet.planted.loose import plan
from tests.fleet.planted.secrets import KEY, PASSWORD, leaks
from tests.prefect.runs import artifacts_of, flow_run, logged, task_runs

pytestmark = pytest.mark.prefect


async def test_nothing_that_the_server_knows_of_a_run_has_one(store_url: str, informed: None, monkeypatch: Any):
    monkeypatch.setenv("PROVIDER_PASSWORD", PASSWORD)
    flow = plan_to_flow(plan, team="tests.fleet.planted.loose:told", artifacts=store_url)

    state = await flow(api_key=KEY, return_state=True)

    run_id = state.state_details.flow_run_id
    assert run_id is not None
    for words in ("401: the key *** is revoked", "no entry for *** at the gate"):
        await logged(run_id, words)
    tasks = await task_runs(run_id, {task.id for task in plan.tasks})
    found = await flow_run(run_id)
    places = {
        "its log": await whole_log(run_id),
        "its state": f"{state!r} {found.state!r}",
        "its tasks' states": " ".join(repr(one.state) for one in tasks.values()),
        "its artifacts": " ".join(str(one.data) for one in (await artifacts_of(run_id)).values()),
        "its result": repr(await state.aresult(raise_on_failure=False)),
    }
    assert "RuntimeError" in places["its artifacts"] + places["its tasks' states"]
    assert leaks(places) == []


async def whole_log(run_id: UUID) -> str:
    """Of the flow run and its task runs."""
    async with get_client() as client:
        only = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
        return json.dumps([line.message for line in await client.read_logs(only, limit=200)])
