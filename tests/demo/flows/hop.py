"""The run that comes from elsewhere, as a flow: `python hop.py RUN_ID` prints the digest of its report."""

from __future__ import annotations

import asyncio
import json
import sys

from coterie import Ref, WorkflowResult, sync
from prefect_coterie import plan_to_flow
from tests.support.hop import TEAM, plan

hop = plan_to_flow(plan, team=TEAM)


async def main(run_id: str) -> None:
    """Go on with the run, and say how it ended."""
    state = await hop(coterie_run_id=run_id, return_state=True)
    data = await state.aresult(raise_on_failure=False)
    found = await asyncio.to_thread(sync.load_ref, Ref.deserialize(data["stored"]))
    result = WorkflowResult.from_dict(found)
    replayed = [task.task_id for task in result if task.replayed]
    sys.stdout.write(
        json.dumps({"status": result.status, "sha256": result["report"].output.sha256, "replayed": replayed})
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
