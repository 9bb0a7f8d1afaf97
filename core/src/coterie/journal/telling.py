"""Say what a journal spared: in the log, and to whoever listens."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from coterie._rules.journal_text import Record
from coterie.events import Event, Listener
from coterie.ids import WorkflowId, item_name

if TYPE_CHECKING:
    from coterie.context import TaskContext

__all__ = ["Telling"]

_log = logging.getLogger("coterie.journal")


class Telling:
    """Of one run. on_event: called with `task.replayed` and `task.resumed`."""

    def __init__(self, run: WorkflowId, on_event: Listener | None) -> None:
        self._run = run
        self._on_event = on_event

    def replayed(self, context: TaskContext, record: Record) -> None:
        """A unit of work was not done: it is known how it ended.

        Event fields: agent_type, state, by (the engine's run that did it), at (s since the epoch), duration_s and usage
        (what doing it again would have taken), item.
        """
        found: dict[str, Any] = {
            "agent_type": context.task.agent_type,
            "state": record.result["state"],
            "by": record.by,
            "at": record.at,
            "duration_s": record.result.get("duration_s", 0.0),
            "usage": dict(record.usage),
        }
        if context.item_key is not None and context.item_index is not None:
            found["item"] = item_name(context.item_key, context.item_index)
        _log.debug("task.replayed %s %s", context.task_id, found)
        if context.run.trace is not None:
            context.run.trace.replayed(context, record)
        self._emit("task.replayed", context.task_id, found)

    def resumed(self, name: str, steps: int) -> None:
        """A unit of work goes on from steps that were finished before. Event fields: steps, how many there are."""
        _log.info("task.resumed %s: %d steps were finished before", name, steps)
        self._emit("task.resumed", name, {"steps": steps})

    def output_gone(self, context: TaskContext, record: Record) -> None:
        """A unit of work is done again, because the output that its record refers to is nowhere any more."""
        uri = record.result["output"]["ref"]["uri"]
        _log.warning("journal.output_gone %s: done again, as %s is not there any more", context.task_id, uri)

    def _emit(self, name: str, task_id: str, fields: dict[str, Any]) -> None:
        if self._on_event is not None:
            self._on_event(Event(name, self._run, task_id, fields))
