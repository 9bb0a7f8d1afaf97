"""The Prefect flow keeps the contract of all engines, in its own loop and on a task runner."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import pytest
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from coterie import JsonValue, Plan, WorkflowResult
from coterie.testing import EngineContract
from prefect_coterie import plan_to_flow
from tests.prefect.runs import run

pytestmark = pytest.mark.prefect


@pytest.fixture(autouse=True)
def artifacts(store_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where outputs lie, also for `Ref.load()`."""
    monkeypatch.setenv("COTERIE_ARTIFACTS", store_url)
    return store_url


class TestAFlow(EngineContract):
    runner: TaskRunner[Any] | None = None

    def run(self, plan: Plan, team_path: str, params: Mapping[str, JsonValue]) -> WorkflowResult:
        flow = plan_to_flow(plan, team=team_path, foreach_parts=2, task_runner=self.runner, publish=None)
        return asyncio.run(run(flow, os.environ["COTERIE_ARTIFACTS"], **params)).result


@pytest.mark.full
class TestAFlowWithThreads(TestAFlow):
    runner = ThreadPoolTaskRunner(max_workers=8)
