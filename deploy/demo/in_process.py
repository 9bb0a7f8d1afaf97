"""The review in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from deploy.demo.outcome import Outcome, read_outcome

from coterie import Event, Plan, Runtime, Team, WorkflowResult, sync
from coterie.teams.code_review import plan as review_plan
from coterie.teams.code_review import team

__all__ = ["review_in_process"]

ENGINE = "in-process"


def review_in_process(
    source: str, *, state: Path, output: Path, say: Callable[[str], None], plan: Plan | None = None, team: Team = team
) -> Outcome:
    """Review `source` with the local engine; state lies below `state`, the report in `output`."""
    began = time.monotonic()
    artifacts = f"file://{state / 'artifacts'}"

    def tell(event: Event) -> None:
        if event.name == "task.finished":
            say(f"{event.task_id} {event.fields['state']}")

    async def run() -> WorkflowResult:
        async with Runtime(team, artifacts=artifacts, on_event=tell) as runtime:
            return await runtime.orchestrator.execute_workflow(plan or review_plan(), params={"source": source})

    result = asyncio.run(run())
    return read_outcome(
        ENGINE,
        result,
        sync.ArtifactStore(artifacts),
        folder=output,
        tasks=len(result.tasks),
        processes=1,
        wall_s=time.monotonic() - began,
    )
