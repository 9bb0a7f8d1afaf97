"""Who a task works for: the run's identity and epoch, the same in every try and process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coterie.errors import Misuse
from coterie.ids import WorkflowId, check_workflow_id, content_hash

__all__ = ["RUN_ID_KEY", "RunIdentity", "identity_of"]

RUN_ID_KEY = "coterie_run_id"


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """workflow_id: as every engine knows the run. epoch: how often a person asked to do it again."""

    workflow_id: WorkflowId
    epoch: int


def identity_of(context: Mapping[str, Any], group_id: str | None = None) -> RunIdentity:
    """The identity of a plan's run in a DAG run.

    It is `coterie_run_id` of the run's configuration, else `airflow.<dag_id>.<run_id>`; a plan in a task group
    appends the group's id, so that two plans of one DAG stay apart. Clearing tasks raises the epoch.

    Raises:
        Misuse: a `coterie_run_id` that cannot name a run.
    """
    dag_run = context["dag_run"]
    given = (dag_run.conf or {}).get(RUN_ID_KEY)
    if given is not None and not isinstance(given, str):
        raise Misuse(f"{RUN_ID_KEY} in the run's configuration is {given!r}; give a string")
    parts = [given or f"airflow.{dag_run.dag_id}.{dag_run.run_id}", *([group_id] if group_id else [])]
    epoch = getattr(dag_run, "clear_number", None) or 0
    return RunIdentity(_usable(".".join(parts), given=given is not None), epoch)


def _usable(name: str, *, given: bool) -> WorkflowId:
    try:
        return check_workflow_id(name)
    except Misuse:
        if given:
            raise
        # Airflow's ids may be longer, and in other scripts, than stores can name.
        return f"airflow.{content_hash(name)[:32]}"
