"""Say in the log of who waits for a call that workers have given it back, and why: his own log is where people look."""

from __future__ import annotations

import logging

from coterie._rules.call_course import course_of
from coterie._rules.call_record import CallRecord
from coterie._rules.timeline import SECOND

__all__ = ["Returns"]

_log = logging.getLogger("coterie.task")


class Returns:
    """Of one call. name: what logs call the work."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told = 0
        self._pool_is_told = False

    def heard(self, record: CallRecord) -> None:
        """See how the call stands: each return is told once, and of those of a busy pool the first alone."""
        if record.phase != "queued" or not record.held_for or record.token <= self._told:
            return
        self._told = record.token
        if record.held_for == "pool":
            if not self._pool_is_told:
                self._pool_is_told = True
                _log.info("task.waiting %s: no agent of the pool has a free slot; workers ask again", self._name)
            return
        why = "refused" if record.held_for in ("refused", "claimed") else "returned"
        wait_s = max(0, record.held_us - record.free_us) / SECOND
        _log.info("task.%s %s: waiting %.3f s: %s", why, self._name, wait_s, _reason(record))


def _reason(record: CallRecord) -> str:
    """What the attempt came to that was the last one."""
    for lap in reversed(course_of(record).laps):
        if lap.kind in ("refused", "lost"):
            by, error = lap.facts.get("by"), lap.facts.get("error", "it was given back")
            at = f" (worker {lap.facts['worker']})" if "worker" in lap.facts else ""
            return f"{error if by is None else f'{by}: {error}'}{at}"
    return "another process is at it" if record.held_for == "claimed" else "it was given back"
