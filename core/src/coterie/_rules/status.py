"""The status of a run, from the states of its tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from coterie.ids import RunStatus, TaskState

__all__ = ["EXIT_CODES", "run_status"]

EXIT_CODES: dict[RunStatus, int] = {"succeeded": 0, "partial": 3, "failed": 1, "cancelled": 130}

_BAD = frozenset({"failed", "upstream_failed"})


def run_status(states: Collection[TaskState], output_states: Iterable[TaskState]) -> RunStatus:
    """`succeeded`, `partial`, `failed` or `cancelled`.

    states: of all tasks. output_states: of the plan's outputs.
    A task failed or was blocked by a failure: partial if at least one output succeeded, failed if none did.
    Items of a foreach that failed within its tolerance are listed in its result and change nothing here.
    """
    if "cancelled" in states:
        return "cancelled"
    if _BAD.isdisjoint(states):
        return "succeeded"
    return "partial" if "succeeded" in output_states else "failed"
