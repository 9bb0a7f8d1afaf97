"""Between how a unit of work ended and its record."""

from __future__ import annotations

import asyncio
from typing import Any

from coterie._rules.journal_text import Record
from coterie.attempt import Ended
from coterie.errors import LeaseLost, Misuse, Refused, Unavailable
from coterie.ids import TaskId
from coterie.result import ErrorInfo, TaskResult, output_from_dict, output_to_dict

__all__ = ["MOST_CHARS", "is_recorded", "is_told", "result_of", "too_large", "unwritable", "written"]

# Larger outputs are for an artifact store.
MOST_CHARS = 2**20


def is_recorded(ended: Ended | TaskResult) -> bool:
    """Whether this end is one to keep: work that was done, or tried in vain; not what nobody came to do."""
    if ended.state == "succeeded":
        return True
    error = ended.error
    return ended.state == "failed" and not isinstance(error, (Unavailable, LeaseLost, Refused, asyncio.CancelledError))


def is_told(ended: Ended | TaskResult) -> bool:
    """Whether this end is one to tell whoever looks at the run, though it is none to keep: nobody came to do it."""
    return ended.state == "failed" and isinstance(ended.error, (Unavailable, Refused))


def written(ended: Ended | TaskResult) -> dict[str, Any]:
    """What a record holds of an end."""
    document: dict[str, Any] = {"state": ended.state}
    if ended.state == "succeeded":
        document["output"] = output_to_dict(ended.output)
    error = ended.error
    if error is not None:
        info = error if isinstance(error, ErrorInfo) else ErrorInfo.of(error)
        # Names of files, and what programs say, may hold half of a character, which no store takes.
        message = info.message if info.message.isascii() else info.message.encode(errors="backslashreplace").decode()
        document["error"] = {"type": info.type, "message": message}
    for name in ("attempts", "agent_id"):
        if getattr(ended, name):
            document[name] = getattr(ended, name)
    document["duration_s"] = round(ended.duration_s, 6)
    return document


def result_of(task_id: TaskId, record: Record) -> TaskResult:
    """How the work ended that a record is of, as whoever asks for it again is told."""
    found = record.result
    error = found.get("error")
    return TaskResult(
        task_id,
        found["state"],
        output_from_dict(found.get("output")),
        ErrorInfo(**error) if error else None,
        found.get("attempts", 0),
        found.get("agent_id"),
        record.at - found.get("duration_s", 0.0) if record.at else None,
        found.get("duration_s", 0.0),
        replayed=True,
    )


def too_large(task_id: TaskId, chars: int) -> Misuse:
    """Why an output cannot be recorded."""
    return Misuse(
        f"the output of {task_id!r} takes {chars} characters, a journal's record at most {MOST_CHARS}; "
        "give the run an artifact store, so that the record holds a reference"
    )


def unwritable(task_id: TaskId, error: Exception) -> Misuse:
    """Why an end cannot be recorded, whatever its size."""
    return Misuse(f"how {task_id!r} ended cannot be written down: {error}; return plain values, and whole characters")
