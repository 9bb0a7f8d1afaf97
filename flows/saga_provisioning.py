"""A run that cleans up after itself: three resources are provisioned, the third cannot be had, the first two go again.

`python flows/saga_provisioning.py order-1`: the task run `workflow_result` undoes what was made, the machine first,
then the network that it is in. Kill it meanwhile and start it again with the same word: it goes on where it stopped,
and nothing is taken away twice. A second word, such as `nothing`, is what the provider has none left of: then all three
stay. `COTERIE_PROVISIONING_FOLDER` is the provider; its `log` says what it was asked for.

A run that the DAG `saga_provisioning` began on Airflow is undone here: airflow.saga_provisioning.<run id> is its word.
"""

from __future__ import annotations

import asyncio
import sys

from coterie.teams.provisioning import plan
from prefect_coterie import plan_to_flow

saga_provisioning = plan_to_flow(
    plan,
    team="coterie.teams.provisioning:team",
    description="Three resources, or none: what a failed run made is taken away again.",
)

if __name__ == "__main__":
    given = dict(zip(("coterie_run_id", "sold_out"), sys.argv[1:], strict=False))
    asyncio.run(saga_provisioning(**given))
