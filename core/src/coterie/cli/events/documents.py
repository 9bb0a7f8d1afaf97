"""Events and dead letters as JSON, and in the words that people are shown."""

from __future__ import annotations

import json
from typing import Any

from rich.text import Text

from coterie._rules.timeline import SECOND
from coterie.bus import DeadEvent, Recorded, short_type
from coterie.cli.events.dead_call import DeadCall
from coterie.cli.fleet.times import clock_time, instant
from coterie.cli.words import clipped

__all__ = ["event_document", "event_line", "letter_document", "letter_row"]

_DATA_CHARS, _REASON_CHARS, _NAME_CHARS = 200, 200, 120


def event_document(recorded: Recorded) -> dict[str, Any]:
    """An event in its place."""
    return {
        "position": recorded.position,
        "at": instant(round(recorded.at * SECOND)),
        "event": recorded.event.to_dict(),
    }


def event_line(recorded: Recorded) -> Text:
    """When, where, what, about what, and the beginning of its data."""
    event = recorded.event
    line = Text(clock_time(round(recorded.at * SECOND)), style="dim")
    line.append(f"  {recorded.position}  ")
    line.append(clipped(event.name, _NAME_CHARS), style="bold")
    if event.subject:
        line.append(f"  {clipped(event.subject, _NAME_CHARS)}")
    if event.data is not None:
        data = clipped(json.dumps(event.data, ensure_ascii=False), _DATA_CHARS)
        line.append(f"  {data}", style="dim")
    return line


def letter_document(topic: str, group: str, letter: DeadEvent, call: DeadCall | None) -> dict[str, Any]:
    """A dead letter; `event` is null where the message is none, and `text` is what was found. call: what that asks."""
    return {
        "topic": topic,
        "group": group,
        "position": letter.position,
        "at": instant(round(letter.at * SECOND)),
        "type": letter.message.type,
        "key": letter.message.key,
        "deliveries": letter.number,
        "failures": [
            {"at": instant(failure.at), "consumer": failure.consumer, "reason": failure.reason}
            for failure in letter.failures
        ],
        "event": letter.event.to_dict() if letter.event is not None else None,
        "call": call.document() if call is not None else None,
        "text": letter.message.text,
    }


def letter_row(topic: str, group: str, letter: DeadEvent, call: DeadCall | None) -> list[Text]:
    """Its cells in a listing."""
    about = short_type(letter.message.type) if call is None else call.name
    return [
        Text(topic),
        Text(group),
        Text(letter.position),
        Text(clipped(about, _NAME_CHARS)),
        Text(str(letter.number)),
        Text(clipped(letter.reason, _REASON_CHARS)),
    ]
