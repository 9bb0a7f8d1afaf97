"""Which items the foreaches of a run have, as far as its plan and its journal tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coterie._rules.params import bind_params
from coterie.artifacts import ArtifactStore
from coterie.context import Run, TaskContext
from coterie.errors import ArtifactError, Misuse
from coterie.foreach import load_list
from coterie.ids import ItemKey, TaskId, item_name
from coterie.journal.header import Header
from coterie.journal.place import unit_name
from coterie.journal.results import result_of
from coterie.journal.view import RunView
from coterie.plan import Plan
from coterie.ref import Ref
from coterie.result import ItemResult, TaskResult

__all__ = ["ListedItem", "listed_items", "plan_of"]


@dataclass(frozen=True, slots=True)
class ListedItem:
    """One item of the foreach of a task."""

    task_id: TaskId
    key: ItemKey
    index: int

    @property
    def shown(self) -> str:
        """What people are shown: the key that the user gave it; without one, its index and a short hash."""
        named = item_name(self.key, self.index)
        return f"{self.task_id}/{self.key if self.key.isprintable() and not named.startswith('[') else named}"


async def plan_of(header: Header, artifacts: ArtifactStore | None) -> Plan | None:
    """The plan that a run began with; None where the journal has none, or it lies in a store that is not at hand.

    Raises:
        ArtifactError: it is not there any more. Unavailable: the artifact store failed.
    """
    document = header.document
    if isinstance(document, dict) and "uri" in document:
        ref = Ref.deserialize(document)
        if artifacts is None:
            return None
        document = await artifacts.load(ref)
    return None if document is None else Plan.from_dict(document)


async def listed_items(view: RunView, plan: Plan, artifacts: ArtifactStore | None) -> dict[str, ListedItem]:
    """The items of all foreaches whose lists can be read, by the names of their units of work.

    Raises:
        Unavailable: the artifact store failed.
    """
    records = {unit.name: unit.record for unit in view.units if unit.record is not None}
    results = {name: result_of(name, record) for name, record in records.items() if "/" not in name}
    params = {name: value for name, value in view.header.params.items() if name in plan.params}
    run = Run(view.workflow_id, artifacts=artifacts, params=bind_params(plan.params, params), results=results)
    found: dict[str, ListedItem] = {}
    for position in plan.graph.order:
        task = plan.tasks[position]
        if task.foreach is None:
            continue
        try:
            keys, _ = await load_list(TaskContext(run, task, {}))
        except (ArtifactError, Misuse):
            # What it runs over has not come out yet, or is no list, or is gone.
            continue
        names = [unit_name(task.id, key) for key in keys]
        found |= {name: ListedItem(task.id, key, n) for n, (name, key) in enumerate(zip(names, keys, strict=True))}
        ended = {name: result_of(task.id, records[name]) for name in names if name in records}
        if len(ended) == len(names):
            results[task.id] = _together(task.id, names, keys, ended)
    return found


def _together(
    task_id: TaskId, names: Sequence[str], keys: Sequence[ItemKey], ended: Mapping[str, TaskResult]
) -> TaskResult:
    items = [
        ItemResult(key, index, ended[name].state, ended[name].output, ended[name].error, ended[name].attempts)
        for index, (name, key) in enumerate(zip(names, keys, strict=True))
    ]
    return TaskResult(task_id, "succeeded", item_results=tuple(items))
