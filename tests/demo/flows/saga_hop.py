"""Go on with a run whose id is the first word, with the provider that is the second: print how it ended."""

from __future__ import annotations

import asyncio
import json
import sys

from prefect import flow

from prefect_coterie import run_plan
from tests.support.provisioning import TEAM_PATH, chain


@flow
async def saga_hop(run_id: str, folder: str) -> None:
    result = await run_plan(chain, team=TEAM_PATH, params={"folder": folder}, workflow_id=run_id)
    sys.stdout.write(json.dumps(result.status_document()))


if __name__ == "__main__":
    asyncio.run(saga_hop(sys.argv[1], sys.argv[2]))
