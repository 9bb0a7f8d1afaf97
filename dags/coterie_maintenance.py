"""Keep the journal and the artifact store from growing for ever: once a day, in three steps.

Runs that nobody has ended and nobody is at any more are ended as lost; whoever clears or resumes them goes on with
them. Runs that ended long ago are removed. What no run in the journal refers to, and nobody has stored for as long, is
deleted from the artifact store, what runs without a journal have left included. Trigger it with dry_run, and it only
says what it would do.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, Param, task
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_coterie import CoterieHook
from coterie.journal.roots import collect_artifacts
from coterie.journal.tending import prune_runs, reap_runs

with DAG(
    "coterie_maintenance",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={"dry_run": Param(default=False, type="boolean"), "keep_days": Param(30, type="integer", minimum=1)},
    tags={"coterie"},
    doc_md=__doc__,
) as dag:

    @task
    def tend(step: str, params: dict[str, Any] | None = None) -> list[str] | dict[str, Any]:
        """One of the steps; what it did, or would do. params: the DAG run's; Airflow gives them."""
        assert params is not None
        hook, dry_run, kept_s = CoterieHook(), params["dry_run"], params["keep_days"] * 86_400
        journal, artifacts = hook.get_journal(), hook.get_conn()
        if journal is None:
            raise AirflowSkipException("no journal is kept that all tasks reach: nothing says what may be deleted")

        async def done() -> list[str] | dict[str, Any]:
            async with aclosing(journal):
                if step == "reap":
                    return await reap_runs(journal, idle_s=3600, dry_run=dry_run)
                if step == "prune":
                    return await prune_runs(journal, older_than_s=kept_s, dry_run=dry_run)
                return asdict(await collect_artifacts(journal, artifacts, min_age_s=kept_s, dry_run=dry_run))

        return asyncio.run(done())

    reap, prune, collect = (tend.override(task_id=step)(step) for step in ("reap", "prune", "collect"))
    reap >> prune >> collect
