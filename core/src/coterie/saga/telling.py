"""What is undone: in lines for the log of whoever undoes it, and in one for its end."""

from __future__ import annotations

from coterie.events import Event
from coterie.saga.result import SagaResult

__all__ = ["ANEW", "undo_line", "undo_summary", "what_next"]

# Why a scheduler's task did not begin: what to say, and how to have it begin.
ANEW = (
    "the run, or what this builds on, was undone: to begin anew, see that nothing of it stands, as 'coterie runs show' "
    "tells, and have the whole run done again, not this task alone"
)
_MOST_NAMED = 10
_ENDS = {
    "compensated": "all that was due is undone",
    "compensation_failed": "not all is undone",
    "succeeded": "nothing had to be undone",
}


def undo_line(event: Event) -> str | None:
    """What to say of an event while a run is undone; None: nothing."""
    fields = event.fields
    if event.name == "saga.undoing":
        why = "it failed" if fields["why"] == "failed" else "a person wants it so"
        return f"undoing {event.workflow_id}, as {why}: {', '.join(map(repr, reversed(fields['tasks'])))}"
    if event.name == "saga.left":
        return f"{event.task_id!r} stands ({fields['left']}): {fields['error']}"
    if event.name == "saga.finished":
        return _ENDS[fields["outcome"]] + (f"; {fields['left']} left for a person" if fields["left"] else "")
    if event.name == "task.finished" and (event.task_id or "").startswith("undo-"):
        return f"{event.task_id} {fields['state']}" + (f": {fields['error']}" if fields["error"] else "")
    return None


def undo_summary(result: SagaResult) -> str:
    """In a line, of a run that was undone: what was, in that order as far as there is one; or what could not be.

    Of what could not be, also what to type to see what to do.
    """
    if result.dead_letters:
        told = [f"{letter.task_id} ({letter.left}): {letter.error}" for letter in result.dead_letters]
        following = f"; what to do: coterie runs show {result.workflow_id}" if result.on_record else ""
        return f"not undone: {_first(told, '; ')}{following}"
    undone = list(result.compensations)[::-1]
    return f"undone: {_first(undone, ', ')}" if undone else "undone: nothing, as nothing was made"


def what_next(result: SagaResult, *, again: str) -> str:
    """What a person does next about what stands. again: what has it tried again there, as `clear this task`."""
    following = f"{again} to have it tried again, or undo it by hand"
    if not result.on_record:
        return following
    run, first = result.workflow_id, result.dead_letters[0].task_id
    more = f"; all that stands: coterie runs show {run}" if len(result.dead_letters) > 1 else ""
    return f"{following} and say so: coterie runs settle {run} {first}{more}"


def _first(told: list[str], between: str) -> str:
    more = len(told) - _MOST_NAMED
    return between.join([*told[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])])
