"""A flow that hands its tasks to a task runner gives the same result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from prefect_coterie import plan_to_flow
from tests.prefect.runs import run, run_here, task_runs
from tests.prefect.trial import TEAM, everything

pytestmark = pytest.mark.prefect


@pytest.mark.parametrize(
    "runner",
    [ThreadPoolTaskRunner(max_workers=4), ProcessPoolTaskRunner(max_workers=2)],
    ids=["threads", "processes"],
)
async def test_a_task_runner_changes_nothing_in_the_result(store_url: str, tmp_path: Path, runner: TaskRunner[Any]):
    flow = plan_to_flow(everything, team=TEAM, artifacts=store_url, foreach_parts=2, task_runner=runner)

    ended = await run(flow, store_url)

    here = await run_here(everything, tmp_path)
    assert ended.result.status_document() == here.status_document()
    await task_runs(ended.flow_run_id, {task.id for task in everything.tasks})
