"""How states, counts and times are written, the same in progress and summaries."""

from __future__ import annotations

__all__ = ["MARKS", "STYLES", "count_of", "seconds"]

MARKS = {
    "waiting": "·",
    "running": "▶",
    "retrying": "↻",
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
    "succeeded": "green",
    "failed": "bold red",
    "upstream_failed": "red",
    "skipped": "dim",
    "cancelled": "yellow",
    "partial": "bold yellow",
}


def count_of(number: int, thing: str) -> str:
    """`1 task`, `2,000 tasks`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def seconds(duration_s: float) -> str:
    """`0.1 s`, `12 s`, `3 min 20 s`."""
    if duration_s < 60:
        return f"{duration_s:.1f} s" if duration_s < 10 else f"{duration_s:.0f} s"
    minutes, rest = divmod(round(duration_s), 60)
    return f"{minutes} min {rest} s"
