"""Instants and spans of time, in JSON and for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from coterie._rules.timeline import SECOND
from coterie.cli.words import seconds

__all__ = ["clock_time", "instant", "span"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Who waits for longer than calendars reach waits until their end.
_LAST_US = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def instant(at_us: int | None) -> str | None:
    """Microseconds since the epoch as ISO 8601, in UTC; None stays."""
    if at_us is None:
        return None
    return _moment(at_us).isoformat(timespec="microseconds").replace("+00:00", "Z")


def clock_time(at_us: int) -> str:
    """`2026-11-27 11:02:03 UTC`."""
    return f"{_moment(at_us):%Y-%m-%d %H:%M:%S} UTC"


def span(duration_us: int) -> str:
    """`0.1 s`, `12 s`, `3 min 20 s`, `5 h 3 min`, `2 d 4 h`."""
    duration_s = max(duration_us, 0) / SECOND
    if duration_s < 3600:
        return seconds(duration_s)
    minutes = round(duration_s / 60)
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def _moment(at_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=min(at_us, _LAST_US))
