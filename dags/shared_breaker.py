"""Ask an agent behind HTTP every minute; when it is down, stop asking, everywhere, and use its last answer.

The agent is `writer` of `coterie.teams.fleet`, at `COTERIE_PROVIDER_URL`. Its breaker opens after three failures in a
row, whoever made them: this DAG, the flow `shared_breaker` on Prefect, or any process with the same state store. Tasks
that are refused for long have the last answer instead; for at most half a minute they wait, without a worker.

State that is shared beyond this machine needs a server: 'State store' in the connection `coterie_default`, for example
rediss://host:6379/0, or the variable COTERIE_STORE.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_coterie import CoterieAgentOperator

with DAG(
    "shared_breaker",
    schedule="* * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=4,
    tags={"coterie"},
    doc_md=__doc__,
) as dag:
    ask = CoterieAgentOperator(
        task_id="ask",
        team_path="coterie.teams.fleet:team",
        agent_type="writer",
        input={"prompt": "Say how things are."},
    )

    @task
    def publish(answer: Any) -> Any:
        """Show what the agent said."""
        return answer.load()

    publish(ask.output)
