"""A person in the loop: an article is drafted, reviewed on the server, and revised until somebody approves of it.

While it waits for the reviewer no worker is held, for however long. The review is a required action of the task
`article` in the web page of its run; what is chosen, and by whom, is an event of the machine, recorded in the journal.
It can be sent from elsewhere as well, the first one counts:

    coterie machine show airflow.review_until_approved.<run id>.article
    coterie machine send airflow.review_until_approved.<run id>.article revise --payload '{"comment": "shorter"}'

Airflow goes on showing the first review's words: later ones are in the task's log, with the code that the answer needs.
The third version is the last: whoever wants a fourth one ends the run as rejected.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG, Param

from airflow_provider_coterie import CoterieStateMachineOperator
from coterie.teams.article import machine

with DAG(
    "review_until_approved",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={"subject": Param("what a scheduler forgets", type="string")},
    tags={"coterie"},
    doc_md=__doc__,
) as dag:
    CoterieStateMachineOperator(
        task_id="article",
        machine=machine,
        retries=2,
        machine_params={"subject": "{{ params.subject }}"},
        team_path="coterie.teams.article:team",
        fields={"comment": Param("", type="string", description="What the writer is to heed.")},
    )
