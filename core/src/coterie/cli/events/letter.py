"""One dead letter, in the words that people are shown."""

from __future__ import annotations

import json

from coterie.bus import DeadEvent, short_type
from coterie.bus.wire import event_id
from coterie.cli.events.dead_call import DeadCall
from coterie.cli.fleet.times import clock_time
from coterie.cli.words import clipped, count_of

__all__ = ["letter_lines"]

_REASON_CHARS, _TEXT_CHARS = 2000, 20_000


def letter_lines(topic: str, group: str, letter: DeadEvent, call: DeadCall | None) -> list[str]:
    """What it is about, why each delivery came to nothing, and what to type next. call: what it asks for, if a task."""
    message = letter.message
    name = clipped(short_type(message.type) if call is None else call.name, _REASON_CHARS)
    key = f", key {clipped(message.key, _REASON_CHARS)}" if message.key else ""
    return [
        f"{name} at {letter.position} of {topic}, given up by {group}",
        f"  published {clock_time(round(letter.at * 1_000_000))}, id {clipped(event_id(message), _REASON_CHARS)}{key}",
        f"  delivered {count_of(letter.number, 'time')}",
        *(f"  {clock_time(one.at)}  {clipped(one.reason, _REASON_CHARS)}" for one in letter.failures),
        *(_content(letter) if call is None else _about(call)),
        *_next(group, letter.position, "" if topic == "events" else f" --topic {topic}", call),
    ]


def _content(letter: DeadEvent) -> list[str]:
    if letter.event is not None:
        return [f"  {clipped(json.dumps(letter.event.data, ensure_ascii=False), _TEXT_CHARS)}"]
    found = clipped(letter.message.text, _TEXT_CHARS)
    return ["  it is no event that may be handed out; what was found:", f"  {found}"]


def _about(call: DeadCall) -> list[str]:
    record = call.record
    if record is None:
        return [f"  nothing is known of the call {call.asking.call_id} any more: workers would drop it"]
    given_up = ", given up" if record.given_up == "abandoned" else ""
    return [
        f"  run     {record.run or 'none'}",
        f"  task    {record.task or 'not said'}, of the type {record.agent_type}",
        f"  worker  {record.worker or 'not known any more'}, who had it last",
        f"  call    {call.asking.call_id}: {record.phase}{given_up}",
    ]


def _next(group: str, position: str, topic: str, call: DeadCall | None) -> list[str]:
    if call is None or (call.would_be_done and not call.is_of_a_run):
        return [f"deliver it again: coterie dlq requeue {group} {position}{topic}"]
    drop = f"coterie dlq drop {group} {position}{topic}"
    if not call.would_be_done or call.record is None:
        return [f"its call has ended, or was asked for anew; remove it: {drop}"]
    run = f" (coterie runs resume {call.record.run})" if call.record.run else ""
    return [f"mend the cause, and go on with its run{run}, or clear the scheduler's task; then remove it: {drop}"]
