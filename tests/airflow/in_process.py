"""The same plans on the in-process engine: what every other engine is compared with."""

from __future__ import annotations

from pathlib import Path

from coterie import Runtime, WorkflowResult, sync
from tests.airflow.agents import team


def run_in_process(plan, folder: Path, params=None) -> WorkflowResult:
    async def run():
        async with Runtime(team, artifacts=f"file://{folder}") as runtime:
            return await runtime.orchestrator.execute_workflow(plan, params=params)

    return sync.run(run())
