"""What a wait for an event waits for, in one line of a task's log."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from coterie.ports import LogStore

__all__ = ["awaited"]


def awaited(
    log: LogStore,
    topic: str,
    types: Sequence[str],
    where: Mapping[str, Any],
    *,
    since: str | float,
    until: datetime | None = None,
) -> str:
    """Types, topic, store, what must be true, since when, and until when if that is known; and where to look for it."""
    place = f"the topic {topic!r} of {log.url}, namespace {log.namespace!r}"
    parts = [f"waits for {' or '.join(types) or 'any event'} on {place}"]
    if where:
        parts.append(f"where {json.dumps(dict(where), default=str)}")
    parts.append(f"since {_instant(since)}" if isinstance(since, float) else f"behind the position {since!r}")
    if until is not None:
        parts.append(f"until {until.astimezone(UTC).isoformat(timespec='seconds')}")
    return f"{', '.join(parts)}; 'coterie events tail --topic {topic}' shows what comes"


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
