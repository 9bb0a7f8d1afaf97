"""What a run waits for now, or how it failed, in a few words."""

from __future__ import annotations

from coterie.cli.words import clipped
from coterie.journal.view import RunView

__all__ = ["is_between_tasks", "now_words"]

_NAMED = 3
_MOST_CHARS = 300
# A scheduler that takes longer between two tasks is likely not to come back to the run.
_BETWEEN_US = 10_000_000


def is_between_tasks(view: RunView, moved_us: int, now_us: int) -> bool:
    """Whether a scheduler has just ended a task of the run, or begun the run, and is about to go on.

    Nobody holds anything then. Where somebody died at work, his claim is left. moved_us: when the run was last seen to
    be begun, at work, or a step further.
    """
    died = any(unit.claim is not None for unit in view.units)
    is_scheduled = view.header.scheduler is not None and view.claim is None
    return view.state == "interrupted" and is_scheduled and not died and now_us - moved_us <= _BETWEEN_US


def now_words(view: RunView, *, between: bool, machine: str | None, failed: str | None) -> str:
    """Who or what a run waits for beside whoever is at work, or what failed first.

    between: as `is_between_tasks`. machine: the state that a machine is in.
    """
    return clipped(_words(view, between=between, machine=machine, failed=failed), _MOST_CHARS)


def _words(view: RunView, *, between: bool, machine: str | None, failed: str | None) -> str:
    if view.state in ("running", "waiting"):
        more = f" +{len(view.asks) - _NAMED:,}" if len(view.asks) > _NAMED else ""
        asked = f"a person: {', '.join(view.asks[:_NAMED])}{more}" if view.asks else ""
        in_state = f"in {machine}" if machine is not None else ""
        return "; ".join(filter(None, [asked, in_state]))
    if view.state == "interrupted":
        scheduler = view.header.scheduler
        look = "" if scheduler is None else f"look at it in {scheduler}, or "
        return "between two tasks" if between else f"nobody is at it: {look}coterie runs resume"
    if view.state in ("failed", "partial", "cancelled") and failed is not None:
        return failed
    left = 0 if view.saga is None else view.saga.left
    return f"{left:,} not undone" if left else ""
