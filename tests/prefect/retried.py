"""Flows that fail as they are ordered to, as deployments: `python -m tests.prefect.retried` serves them."""

from __future__ import annotations

from prefect import flow, serve

from prefect_coterie import plan_to_flow, run_plan
from tests.prefect.billed import chain

__all__ = ["calling_chain", "ordered_chain", "retried_chain"]

TEAM = "tests.prefect.billed:team"

ordered_chain = plan_to_flow(chain, team=TEAM, name="ordered-chain")


@flow(retries=1, retry_delay_seconds=0)
async def retried_chain(coterie_run_id: str) -> None:
    """Raise what failed: a state that is returned is not retried by every version of Prefect."""
    result = await run_plan(chain, team=TEAM, workflow_id=coterie_run_id)
    result.raise_for_status()


@flow
async def calling_chain(coterie_run_id: str) -> None:
    """Call the flow of a plan, whose run is its own. coterie_run_id: not for that one."""
    del coterie_run_id
    await ordered_chain()


if __name__ == "__main__":
    serve(*(one.to_deployment("served") for one in (ordered_chain, retried_chain, calling_chain)))
