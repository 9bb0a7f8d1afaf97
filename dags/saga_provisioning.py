"""A run that cleans up after itself: three resources are provisioned, the third cannot be had, the first two go again.

`workflow_result`, the last task, undoes a run that failed: the machine first, then the network that it is in. Kill its
worker meanwhile: Airflow's retry goes on where it stopped, and nothing is taken away twice. What cannot be undone is in
its XCom `coterie_status` and in the run's note; clear it to have that tried again.

`sold_out` names what the provider has none left of: trigger a run with another word, such as `nothing`, and all three
stay. `COTERIE_PROVISIONING_FOLDER` is the provider; its `log` says what it was asked for.

The run goes on elsewhere too, by its id: run the flow `saga_provisioning` on Prefect with
coterie_run_id=airflow.saga_provisioning.<run id> and the same store, artifacts and provider.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow_provider_coterie import plan_to_dag
from coterie.teams.provisioning import plan

dag = plan_to_dag(
    plan,
    dag_id="saga_provisioning",
    team_path="coterie.teams.provisioning:team",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
    tags={"coterie"},
    doc_md=__doc__,
)
