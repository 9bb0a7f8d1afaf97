"""Two hundred tasks that others perform, sent out by one flow, which holds nothing but futures meanwhile.

Each is a call that lies in a queue until one of the workers has room for it. Start as many as you like, anywhere, with
the same state store and artifacts (`COTERIE_STORE`, `COTERIE_ARTIFACTS`); they may come, go, and be killed meanwhile:

    coterie worker --team coterie.teams.errands:team --capacity 8

Cancel the flow run, and its calls are cancelled at the workers that have them, where a runner runs it: served
(`fan_out_remote.serve()`) or deployed. Started like this, nobody tells it that it was cancelled: end its process with
SIGTERM. On Ctrl-C Prefect waits until the calls have ended. The DAG `fan_out_remote` sends the same errands from
Airflow.
"""

from __future__ import annotations

import asyncio

from prefect import flow
from prefect.futures import as_completed

from prefect_coterie import submit_remote

TASKS = 200


@flow
async def fan_out_remote(seconds: float = 2.0, tasks: int = TASKS) -> int:
    """Send the errands out, and count those that were run."""
    errands = [submit_remote("errand", {"number": number, "seconds": seconds}) for number in range(tasks)]
    return await asyncio.to_thread(
        lambda: sum(errand.result()["state"] == "succeeded" for errand in as_completed(errands))
    )


if __name__ == "__main__":
    asyncio.run(fan_out_remote())
