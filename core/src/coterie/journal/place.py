"""Where the texts of a run's units of work lie in its book."""

from __future__ import annotations

import hashlib
import re

from coterie._rules.journal import RUN, Place
from coterie.ids import ItemKey, TaskId, WorkflowId

__all__ = ["RUN", "Place", "book_of_call", "is_book_of_call", "place_of", "record_path", "unit_name"]

# What people can read, as it is; any other key by its hash.
_READABLE = re.compile(r"[A-Za-z0-9_.#+=@-]{1,80}\Z")

_OF_CALL = re.compile(r"call\.[0-9a-f]{40}\Z")


def book_of_call(call_id: str) -> WorkflowId:
    """The run under which a worker keeps the steps of a call."""
    return f"call.{call_id}"


def is_book_of_call(run: WorkflowId) -> bool:
    """Whether a run is no run of anybody's, but the steps of a call."""
    return _OF_CALL.match(run) is not None


def unit_name(task_id: TaskId, item_key: ItemKey | None = None) -> str:
    """The name of a task, or of one item of its foreach; also that of the shelf with its steps."""
    if item_key is None:
        return task_id
    readable = _READABLE.match(item_key) is not None and not item_key.startswith("~")
    return f"{task_id}/{item_key if readable else '~' + hashlib.sha256(item_key.encode()).hexdigest()[:32]}"


def record_path(name: str, item_key: ItemKey | None) -> str:
    """Where the end of the work of that name is written."""
    return f"task/{name}" if item_key is None else f"item/{name}"


def place_of(task_id: TaskId, item_key: ItemKey | None = None) -> Place:
    """Where its texts lie."""
    name = unit_name(task_id, item_key)
    return Place(f"claim/{name}", f"pulse/{name}", record_path(name, item_key))
