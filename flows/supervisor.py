"""An agent that plans, delegates by request and reply, and plans anew when a step comes to nothing.

It knows skills, not who has them. Whoever has them answers on the bus: any number of processes, anywhere, with the same
state store (`COTERIE_STORE`):

    python -m coterie.teams.supervisor

What was answered is in the journal: kill this process and start it again with the same word, and nobody is asked twice:

    python flows/supervisor.py story-1

The DAG `supervisor` is its twin on Airflow.
"""

from __future__ import annotations

import sys

from prefect import flow

from prefect_coterie import run_agent


@flow
def supervisor(subject: str = "what a scheduler forgets", coterie_run_id: str | None = None) -> str:
    """Have a subject looked into; returns how that went, as text."""
    record = run_agent(
        "supervisor",
        {"subject": subject},
        team="coterie.teams.supervisor:team",
        workflow_id=coterie_run_id,
    )
    report: dict[str, list[str] | str] = record["output"]
    return "\n".join([*report["steps"], "", str(report["text"])])


if __name__ == "__main__":
    supervisor(coterie_run_id=sys.argv[1] if len(sys.argv) > 1 else None)
