"""Flows that have workers do their work, as programs: `python -m tests.prefect.asking_workers run|serve FLOW`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from prefect import flow

from coterie import Plan, Task
from prefect_coterie import plan_to_flow, submit_remote
from tests.prefect.elsewhere import TEAM

__all__ = ["FOLDER", "blocking_flow", "plan_flow", "submitting_flow"]

FOLDER = "COTERIE_TEST_ASKING"
RUN_ID = "asked-1"

_folder = Path(os.environ.get(FOLDER, "/nowhere"))
_artifacts = f"file://{_folder}/artifacts"


@flow
async def submitting_flow(coterie_run_id: str = RUN_ID) -> Any:
    """Submit, and wait beside the loop."""
    return await asyncio.to_thread(_submitted(coterie_run_id).result)


@flow
def blocking_flow(coterie_run_id: str = RUN_ID) -> Any:
    """Submit, and block."""
    return _submitted(coterie_run_id).result()


def _submitted(run_id: str) -> Any:
    where = {"folder": str(_folder)}
    return submit_remote("patient", where, team=TEAM, artifacts=_artifacts, workflow_id=run_id)


plan_flow = plan_to_flow(
    Plan("asked", [Task("patient", "patient", input={"folder": str(_folder)}, placement="remote")]),
    team=TEAM,
    artifacts=_artifacts,
    name="plan_flow",
)


def _main() -> None:
    how, name = sys.argv[1:]
    chosen = {"submitting": submitting_flow, "blocking": blocking_flow, "plan": plan_flow}[name]
    if how == "serve":
        chosen.serve(name="asking")
    elif name == "blocking":
        chosen(coterie_run_id=RUN_ID)
    else:
        asyncio.run(chosen(coterie_run_id=RUN_ID))


if __name__ == "__main__":
    # As deployments import it, not as `__main__`.
    from tests.prefect import asking_workers

    asking_workers._main()
