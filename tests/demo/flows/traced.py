"""The run whose trace is looked at, gone on with as a flow: `python traced.py RUN_ID` prints how it ended."""

from __future__ import annotations

import asyncio
import sys

from prefect_coterie import plan_to_flow
from tests.support.traced import TEAM, plan

traced = plan_to_flow(plan, team=TEAM, foreach_parts=1)


async def main(run_id: str) -> None:
    """Go on with the run."""
    state = await traced(coterie_run_id=run_id, return_state=True)
    sys.stdout.write((await state.aresult(raise_on_failure=False))["status"])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
