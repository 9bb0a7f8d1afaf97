"""Agents that know only events: this DAG asks on a topic, and goes on with what is said there. Nobody calls anybody.

Each step publishes `task.created`; whoever has the skill says `task.assigned`, and `task.completed` or `task.failed`.
While it waits, an hour at most, no worker is held. The agents are any number of processes, with the same state store:

    python -m coterie.teams.newsdesk

`coterie events replay --topic newsdesk` shows what was said. The flow `event_driven` talks to the same agents.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, TaskGroup, task
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_coterie import CoterieEventSensor, CoteriePublishEventOperator
from coterie import Ref
from coterie.teams.newsdesk import TOPIC


@task
def output(said: Any) -> Any:
    """What an agent gave."""
    data: Any = said["data"].load() if isinstance(said["data"], Ref) else said["data"]
    if "error" in data:
        raise AirflowFailException(data["error"])
    return data["output"]


def ask(step: str, agent_type: str, asked: dict[str, Any]) -> Any:
    """Have something done by whoever can."""
    with TaskGroup(step):
        data = {"task_id": step, "agent_type": agent_type, "input": asked}
        created = CoteriePublishEventOperator(task_id="create", topic=TOPIC, event_type="task.created", data=data)
        said = CoterieEventSensor(
            task_id="wait",
            topic=TOPIC,
            types=["task.completed", "task.failed"],
            where={"/causationid": f"{{{{ ti.xcom_pull('{step}.create')['id'] }}}}"},
            # A clear has the run begin anew: the answer lies behind the question all the same.
            since=f"{{{{ ti.xcom_pull('{step}.create')['position'] }}}}",
            deferrable=True,
            timeout=3600,
        )
        created >> said
        return output(said.output)


with DAG(
    "event_driven",
    params={"subject": Param("what a scheduler forgets", type="string")},
    tags={"coterie"},
    doc_md=__doc__,
) as dag:
    facts = ask("research", "researcher", {"subject": "{{ params.subject }}"})
    ask("write", "writer", {"facts": facts})
