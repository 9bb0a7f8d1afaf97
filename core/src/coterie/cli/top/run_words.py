"""What a run waits for now, or how it failed, in a few words."""

from __future__ import annotations

from collections.abc import Sequence

from coterie.cli.words import clipped
from coterie.journal.view import RunView

__all__ = ["now_words"]

_NAMED = 3
_MOST_CHARS = 300


def now_words(view: RunView, *, at: Sequence[str], machine: str | None, failed: str | None) -> str:
    """Who or what a run waits for, or what failed first.

    at: tasks and items that somebody has claimed. machine: the state that a machine is in.
    """
    return clipped(_words(view, at=at, machine=machine, failed=failed), _MOST_CHARS)


def _words(view: RunView, *, at: Sequence[str], machine: str | None, failed: str | None) -> str:
    if view.state in ("running", "waiting"):
        asked = f"a person: {_named(view.asks)}" if view.asks else ""
        in_state = f"in {machine}" if machine is not None else ""
        return "; ".join(filter(None, [asked, in_state, _named(at)]))
    if view.state == "interrupted":
        return "nobody is at it: coterie runs resume"
    if view.state in ("failed", "partial", "cancelled") and failed is not None:
        return failed
    left = 0 if view.saga is None else view.saga.left
    return f"{left:,} not undone" if left else ""


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    more = len(names) - _NAMED
    return f"{shown} +{more:,}" if more > 0 else shown
