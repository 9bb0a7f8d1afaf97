"""What a journal spared, in one line for the task's log: who did it, when, what it cost, and how to do it anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from coterie import Usage
from coterie.events import Event
from coterie.ids import WorkflowId

__all__ = ["replay_line"]

_MICROS = 1_000_000


def replay_line(run: WorkflowId, events: Sequence[Event]) -> str:
    """What to say of `task.replayed`, once or more often."""
    tasks = sorted({str(event.task_id) for event in events})
    named = ", ".join(map(repr, tasks[:5])) + (f" and {len(tasks) - 5} more" if len(tasks) > 5 else "")
    failed = sum(event.fields["state"] != "succeeded" for event in events)
    forget = f"coterie runs forget {run}" + (f" {tasks[0]}" if len(tasks) == 1 else "")
    return (
        f"{_what(events, named, failed)}, not done again: {_whose(events)}; {_saved(events)}; to have it done anew: "
        f"{forget}, then clear this task; or trigger a run with coterie_force"
    )


def _what(events: Sequence[Event], named: str, failed: int) -> str:
    if len(events) == 1 and "item" not in events[0].fields:
        return f"replayed the failure of {named}" if failed else f"replayed {named}"
    items = sum("item" in event.fields for event in events)
    parts = [_count(items, "item")] if items else []
    parts += [_count(len(events) - items, "task")] if len(events) > items else []
    return f"replayed {' and '.join(parts)} ({named}{f'; {failed} of them failures' if failed else ''})"


def _whose(events: Sequence[Event]) -> str:
    """Which runs of engines did it, and between when and when."""
    by = sorted({str(event.fields["by"]) for event in events})
    first, last = (_clock(when(event.fields["at"] for event in events)) for when in (min, max))
    others = f" and {len(by) - 1} others" if len(by) > 1 else ""
    return f"{by[0]}{others} finished it " + (f"at {first}" if first == last else f"from {first} to {last}")


def _saved(events: Sequence[Event]) -> str:
    used = sum((_usage(event.fields["usage"]) for event in events), Usage())
    saved = [f"{sum(event.fields['duration_s'] for event in events):.3g} s"]
    tokens = used.input_tokens + used.output_tokens
    saved += [_count(tokens, "token")] if tokens else []
    saved += [f"{used.cost_micros / _MICROS:.6g} in money"] if used.cost_micros else []
    return f"saved {', '.join(saved)}"


def _usage(found: Mapping[str, Any]) -> Usage:
    return Usage.from_dict({name: value for name, value in found.items() if name in Usage().to_dict()})


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _clock(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="seconds")
