"""Who a task works for, what a person asked of it, and what its work is called: the same in every try and process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coterie.errors import Misuse
from coterie.ids import TaskId, WorkflowId, check_workflow_id, content_hash
from coterie.journal import Intent
from coterie.journal.intent import OnClear

__all__ = [
    "FORCE_KEY",
    "RUN_ID_KEY",
    "RunIdentity",
    "cleared_after",
    "identity_of",
    "named_after",
    "ticket_of",
    "unit_name",
]

RUN_ID_KEY = "coterie_run_id"
FORCE_KEY = "coterie_force"

_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """workflow_id: as every engine knows the run. epoch: how often a person asked to do it again.

    intent: what the journal is asked for.
    """

    workflow_id: WorkflowId
    epoch: int
    intent: Intent


def identity_of(
    context: Mapping[str, Any], group_id: str | None = None, *, on_clear: OnClear = "run", map_index: int | None = -1
) -> RunIdentity:
    """The identity of a plan's run in a DAG run.

    It is `coterie_run_id` of the run's configuration, else `airflow.<dag_id>.<run_id>`; a plan in a task group
    appends the group's id, so that two plans of one DAG stay apart, and its map index if it is mapped. Clearing tasks
    raises the epoch. `coterie_force` of the configuration has everything done anew, once in this DAG run.

    Raises:
        Misuse: a `coterie_run_id` that cannot name a run, or a `coterie_force` that is neither true nor a text.
    """
    dag_run = context["dag_run"]
    conf = dag_run.conf or {}
    given = conf.get(RUN_ID_KEY)
    if given is not None and not isinstance(given, str):
        raise Misuse(f"{RUN_ID_KEY} in the run's configuration is {given!r}; give a string")
    engine_run = f"airflow.{dag_run.dag_id}.{dag_run.run_id}"
    epoch = getattr(dag_run, "clear_number", None) or 0
    intent = Intent(engine_run, epoch, on_clear, _force(engine_run, conf.get(FORCE_KEY)))
    is_mapped = map_index is not None and map_index >= 0
    # No id of Airflow's has a plus sign.
    group = f"{group_id}+{map_index}" if group_id and is_mapped else group_id
    parts = [given or engine_run, *([group] if group else [])]
    return RunIdentity(_usable(".".join(parts), given=given is not None), epoch, intent)


def named_after(run: WorkflowId, what: str) -> WorkflowId:
    """Another run of the same work; the same one for the same `what`."""
    return _usable(f"{run}.{what}", given=False)


def unit_name(airflow_id: str, map_index: int | None = -1) -> TaskId:
    """What the work of a task is called that belongs to no plan: a task id that coterie accepts.

    Airflow's own may hold dots, and letters of any script. Each instance of a mapped task is work of its own, also
    where their inputs are equal.
    """
    name = _FOREIGN.sub("_", airflow_id)[:100]
    if name != airflow_id or name[0] in "_-":
        name = f"{name.lstrip('_-') or 'task'}-{content_hash(airflow_id)[:8]}"
    return (
        name
        if map_index is None or map_index < 0
        else f"{name}-{map_index}-{content_hash([airflow_id, map_index])[:8]}"
    )


def ticket_of(context: Mapping[str, Any]) -> str:
    """The name of a place in a pool's queue: the same when the task is resumed, and another in its next try."""
    return content_hash(str(context["ti"].id))[:32]


def cleared_after(context: Mapping[str, Any]) -> int:
    """The number of the last try of a task that a person cleared; 0: none.

    Airflow counts the clears of a run that is over (`clear_number`), not those of a task in one that goes on. But it
    grants the task its retries anew then, counted from the try that was cleared.
    """
    granted = getattr(context["ti"], "max_tries", None) or 0
    return max(0, granted - (context["task"].retries or 0))


def _force(engine_run: str, given: object) -> str | None:
    """The demand's name: the same in every try of the run, and of no other."""
    if given is True:
        return f"{engine_run}=true"
    if given in (None, False, "", "false"):
        return None
    if not isinstance(given, str):
        raise Misuse(f"{FORCE_KEY} in the run's configuration is {given!r}; give true, or a string")
    return f"{engine_run}={given[:100]}"


def _usable(name: str, *, given: bool) -> WorkflowId:
    try:
        return check_workflow_id(name)
    except Misuse:
        if given:
            raise
        # Airflow's ids may be longer, and in other scripts, than stores can name.
        return f"airflow.{content_hash(name)[:32]}"
