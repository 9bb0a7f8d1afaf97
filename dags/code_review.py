"""Review a code base every day: style, security, structure, tests, documentation; one report of it all.

Trigger it by hand with another repository (a git URL, or a folder that the workers see) or revision. Outputs and
the report lie in the artifact store of the connection `coterie_default`; where, `workflow_result` tells.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import Param

from airflow_provider_coterie import plan_to_dag
from coterie.teams.code_review import plan

REPOSITORY = "https://github.com/pallets/click.git"

dag = plan_to_dag(
    plan(),
    team_path="coterie.teams.code_review:team",
    dag_id="code_review",
    schedule="0 6 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    max_active_runs=1,
    tags={"coterie", "code-review"},
    doc_md=__doc__,
    params={
        "source": Param(REPOSITORY, type="string", title="Repository", description="a git URL, or a folder"),
        "revision": Param(
            None,
            type=["null", "string"],
            title="Revision",
            description="a branch, tag or commit; the default branch if empty",
        ),
    },
)
