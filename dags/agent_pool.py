"""Twenty tasks, two agents with two slots each: the important ones first, and nobody waits in a worker.

The agents are the two workers of `coterie.teams.fleet`, and their slots are the whole fleet's: other DAGs, flows on
Prefect and programs with the same state store stand in the same queue. A task that finds no slot is deferred; it keeps
its place by priority, then by arrival, and is resumed when its turn has come.

State that is shared beyond this machine needs a server: 'State store' in the connection `coterie_default`, for example
rediss://host:6379/0, or the variable COTERIE_STORE.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_coterie import CoterieAgentOperator

TASKS = 20
SECONDS = "{{ params.seconds }}"

with DAG(
    "agent_pool",
    schedule=None,
    params={"seconds": Param(2.0, type="number", minimum=0, maximum=60, title="Seconds", description="for each task")},
    render_template_as_native_obj=True,
    tags={"coterie"},
    doc_md=__doc__,
) as dag:
    CoterieAgentOperator.partial(
        task_id="work", team_path="coterie.teams.fleet:team", agent_type="worker"
    ).expand_kwargs([{"input": {"number": n, "seconds": SECONDS}, "agent_priority": n % 3} for n in range(TASKS)])
