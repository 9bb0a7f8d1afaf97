"""Which run of a machine a task works for: a person who clears a task whose machine is over asks for another one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

from airflow_provider_coterie.identity import RunIdentity, named_after
from coterie.errors import UnknownRun
from coterie.ids import WorkflowId, content_hash
from coterie.journal import Intent, Journal
from coterie.machine_run import MachineStatus, StateMachineRun

__all__ = ["Told", "note_told", "run_of"]

# Beside the texts of the machine, in its run.
_PATH = "airflow/told"


@dataclass(frozen=True, slots=True)
class Told:
    """Airflow was told how the machine ended: by whose run, and how often a person had cleared that by then."""

    engine_run: str
    demand: int

    @staticmethod
    def read(text: str) -> Told:
        """The way back."""
        found = json.loads(text)
        return Told(found["engine_run"], found["demand"])

    def text(self) -> str:
        """What is stored."""
        return json.dumps({"v": 1, "engine_run": self.engine_run, "demand": self.demand})


async def run_of(journal: Journal, identity: RunIdentity) -> WorkflowId:
    """The run that a task goes on with, or whose end it replays; a new one where a person asked for that.

    They did by clearing the task after Airflow was told of the end, unless it is a success and is to be replayed; or
    by `coterie_force`.
    """
    intent, first = identity.intent, identity.workflow_id
    if intent.force is not None:
        first = named_after(first, content_hash(intent.force)[:12])
    for number in count(1):
        run = first if number == 1 else named_after(first, str(number))
        try:
            status = await StateMachineRun(journal, run).status()
        except UnknownRun:
            return run
        if status.status is None or not await _is_done_with(journal, run, status, intent):
            return run
    raise AssertionError("unreachable")


async def note_told(journal: Journal, run: WorkflowId, intent: Intent) -> None:
    """Airflow is told, or about to be."""
    told = Told(intent.engine_run, intent.demand)
    texts: Mapping[str, str | None] = {_PATH: told.text()}
    await journal.store.write(run, texts)


async def _is_done_with(journal: Journal, run: WorkflowId, status: MachineStatus, intent: Intent) -> bool:
    texts, _ = await journal.store.get(run, (_PATH,))
    if _PATH not in texts:
        return False
    told = Told.read(texts[_PATH])
    is_cleared = told.engine_run == intent.engine_run and told.demand < intent.demand
    return is_cleared and (intent.on_clear == "run" or status.status != "succeeded")
