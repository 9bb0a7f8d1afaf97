"""Agents that know only events: this flow asks on a topic, and goes on with what is said there. Nobody calls anybody.

Each step publishes `task.created`; whoever has the skill says `task.assigned`, and `task.completed` or `task.failed`.
The agents are any number of processes, anywhere, with the same state store (`COTERIE_STORE`):

    python -m coterie.teams.newsdesk

The article is in the flow run's log, too. What is said is kept: `coterie events replay --topic newsdesk` shows it, with
one correlation id for all of a run. The DAG `event_driven` tells the same story on Airflow, to the same agents.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from coterie import JsonValue
from coterie.errors import StepFailed
from coterie.teams.newsdesk import TOPIC
from prefect_coterie import publish_event, wait_for_event

PATIENCE_S = 3600.0


def ask(step: str, agent_type: str, asked: dict[str, Any]) -> Any:
    """Have something done by whoever can, and return what it gave."""
    data: JsonValue = {"task_id": step, "agent_type": agent_type, "input": asked}
    created = publish_event("task.created", data, topic=TOPIC)
    said = wait_for_event(
        ["task.completed", "task.failed"],
        topic=TOPIC,
        where=lambda event: event.causation_id == created["id"],
        timeout_s=PATIENCE_S,
    )
    if "error" in said["data"]:
        raise StepFailed(said["data"]["error"])
    return said["data"]["output"]


@flow
def event_driven(subject: str = "what a scheduler forgets") -> str:
    """Have facts found, and an article written of them."""
    facts = ask("research", "researcher", {"subject": subject})
    article: str = ask("write", "writer", {"facts": facts})
    get_run_logger().info("the article, as it was said on the topic %r:\n%s", TOPIC, article)
    return article


if __name__ == "__main__":
    event_driven()
