"""A flow whose agents wait to be told to finish: `python -m tests.prefect.stopping run|serve FLOW`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

from coterie import Action, Go, Plan, State, StateMachine, Task, TaskContext, Team
from prefect_coterie import machine_to_flow, plan_to_flow

__all__ = ["FOLDER", "RUN_ID", "chain_flow", "machine_flow", "only_flow"]

FOLDER = "COTERIE_TEST_STOPPING"
RUN_ID = "stopped-1"

team = Team("stopping")
only = Plan("only", [Task("ends", "waiter")])
machine = StateMachine(
    "machine",
    [State("ends", action=Action("waiter"), transitions=[Go("over")]), State("over", final="succeeded")],
    initial="ends",
)
chain = Plan("chain", [Task("ends", "waiter"), Task("next", "quick", depends_on=["ends"])])


def _folder() -> Path:
    return Path(os.environ.get(FOLDER, "/nowhere"))


def _note(word: str) -> None:
    with (_folder() / "calls").open("a") as calls:
        calls.write(f"{word}\n")


@team.agent("waiter")
async def wait(_: dict[str, Any], ctx: TaskContext) -> str:
    """Say that it is at work, and wait for the file `go`."""
    _note(ctx.task_id)
    try:
        while not (_folder() / "go").exists():  # noqa: ASYNC110  # another process makes it
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        _note("cancelled")
        raise
    return ctx.task_id


@team.agent("quick")
async def pass_by(_: dict[str, Any], ctx: TaskContext) -> str:
    """Say that it was called."""
    _note(ctx.task_id)
    return ctx.task_id


_artifacts = f"file://{_folder()}/artifacts"
only_flow = plan_to_flow(only, team=team, artifacts=_artifacts, name="only_flow")
chain_flow = plan_to_flow(chain, team=team, artifacts=_artifacts, name="chain_flow")
machine_flow = machine_to_flow(machine, team=team, artifacts=_artifacts, name="machine_flow")


def _main() -> None:
    # Of its own: Prefect sets up the others.
    logger = logging.getLogger("coterie.shutdown")
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.StreamHandler())
    how, name = sys.argv[1:]
    flow = {"only": only_flow, "chain": chain_flow, "machine": machine_flow}[name]
    if how == "run":
        asyncio.run(flow(coterie_run_id=RUN_ID))
    else:
        flow.serve(name="stopping")


if __name__ == "__main__":
    # As deployments import it, not as `__main__`.
    from tests.prefect import stopping

    stopping._main()
