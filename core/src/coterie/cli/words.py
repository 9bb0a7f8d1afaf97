"""How states, counts and times are written, the same in progress and summaries."""

from __future__ import annotations

from coterie.approval import Approval
from coterie.markdown import harmless

__all__ = ["MARKS", "STYLES", "answer_line", "clipped", "count_of", "seconds"]

MARKS = {
    "waiting": "·",
    "running": "▶",
    "retrying": "↻",
    "asking": "?",
    "succeeded": "✓",
    "failed": "✗",
    "upstream_failed": "✗",
    "skipped": "-",
    "cancelled": "■",
    "partial": "!",
}
STYLES = {
    "waiting": "dim",
    "running": "cyan",
    "retrying": "yellow",
    "asking": "bold yellow",
    "succeeded": "green",
    "failed": "bold red",
    "upstream_failed": "red",
    "skipped": "dim",
    "cancelled": "yellow",
    "partial": "bold yellow",
}


def answer_line(run: str, task_id: str, approval: Approval) -> str:
    """What a person types to say yes to a task. No name needs quotes in any shell."""
    asked = [name for name, field in approval.fields.items() if field.required and field.default is None]
    return " ".join([f"coterie approve {run} {task_id}", *(f"--set {name}=…" for name in asked)])


def clipped(text: str, most: int) -> str:
    """Anybody's text in one line, at most so long."""
    line = harmless(" ".join(text.split()))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def count_of(number: int, thing: str) -> str:
    """`1 task`, `2,000 tasks`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def seconds(duration_s: float) -> str:
    """`0.1 s`, `12 s`, `3 min 20 s`."""
    if duration_s < 60:
        return f"{duration_s:.1f} s" if duration_s < 10 else f"{duration_s:.0f} s"
    minutes, rest = divmod(round(duration_s), 60)
    return f"{minutes} min {rest} s"
