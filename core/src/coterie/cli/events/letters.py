"""`coterie dlq`: what groups have given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, TypeAlias

from rich.table import Table

from coterie.bus import DeadEvent, EventBus
from coterie.cli.events.dead_call import DeadCall, dead_calls, is_queue
from coterie.cli.events.documents import letter_document, letter_row
from coterie.cli.events.letter import letter_lines
from coterie.cli.events.place import EventPlace
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console, print_listing
from coterie.cli.words import clipped, count_of
from coterie.errors import Misuse
from coterie.ports import LogStore

__all__ = ["drop_command", "list_command", "requeue_command", "show_command"]

_NAMES_CHARS = 2000
_DONE = {"requeue": "delivered again", "drop": "removed"}
# A dead letter in its topic and group, and what it asks for, if that is a task.
_Found: TypeAlias = tuple[str, str, DeadEvent, DeadCall | None]


def list_command(place: EventPlace, *, group: str | None, all_topics: bool, limit: int, as_json: bool) -> int:
    """Dead letters, of all groups or one, of one topic or all."""
    elsewhere: dict[str, int] = {}

    async def found() -> tuple[str, list[_Found]]:
        async with place.opened() as log:
            topics = [topic.name for topic in await log.topics()] if all_topics else [place.topic]
            letters: list[_Found] = []
            for topic in topics:
                letters += await _letters(replace(place, topic=topic), log, group, limit + 1 - len(letters))
            if not letters and not all_topics:
                elsewhere.update(await _counted(log, group))
            return log.url, letters

    url, letters = asyncio.run(found())
    has_more = len(letters) > limit
    letters = letters[:limit]
    if as_json:
        documents = [letter_document(*each) for each in letters]
        write_json({"store": url, "dead_letters": documents, "more": has_more})
        return 0
    console = output_console()
    if not letters:
        where = "" if all_topics else f" of the topic {place.topic!r}"
        who = "" if group is None else f" of the group {group!r}"
        console.print(f"no dead letters{who}{where} in {url}{_told(elsewhere)}", markup=False, soft_wrap=True)
        return 0
    table = Table(box=None, pad_edge=False)
    for title in ("topic", "group", "position", "type", "deliveries", "reason"):
        table.add_column(title, overflow="fold", no_wrap=title in ("topic", "group", "position"))
    for each in letters:
        table.add_row(*letter_row(*each))
    print_listing(console, table)
    if has_more:
        console.print(f"and more; --limit {2 * limit} shows them", style="dim", markup=False)
    return 0


def show_command(place: EventPlace, group: str, position: str, *, as_json: bool) -> int:
    """One dead letter with all its failures and its content."""

    async def found() -> tuple[DeadEvent, DeadCall | None]:
        async with place.opened() as log:
            await _check_group(place, log, group)
            for letter in await place.bus(log).dead_letters(group, limit=None):
                if letter.position == position:
                    return letter, (await dead_calls(place, [letter])).get(position)
            raise _no_letter(place, group, position)

    letter, call = asyncio.run(found())
    if as_json:
        write_json(letter_document(place.topic, group, letter, call))
        return 0
    console = output_console()
    for line in letter_lines(place.topic, group, letter, call):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def requeue_command(
    place: EventPlace, group: str, positions: Sequence[str], *, everything: bool, anyway: bool, as_json: bool
) -> int:
    """Have dead letters delivered again. anyway: also tasks of runs."""
    guard = None if anyway else partial(_check_of_no_run, place, group)
    return _act(place, group, positions, act="requeue", guard=guard, everything=everything, as_json=as_json)


def drop_command(place: EventPlace, group: str, positions: Sequence[str], *, everything: bool, as_json: bool) -> int:
    """Remove dead letters."""
    return _act(place, group, positions, act="drop", guard=None, everything=everything, as_json=as_json)


def _act(
    place: EventPlace,
    group: str,
    positions: Sequence[str],
    *,
    act: Literal["requeue", "drop"],
    guard: Callable[[EventBus, Sequence[str] | None], Awaitable[None]] | None,
    everything: bool,
    as_json: bool,
) -> int:
    if bool(positions) == everything:
        raise Misuse(f"say which dead letters of {group!r} are meant: their positions, or --all")

    async def done() -> list[str]:
        async with place.opened() as log:
            await _check_group(place, log, group)
            bus = place.bus(log)
            chosen = list(positions) if positions else None
            if guard is not None:
                await guard(bus, chosen)
            return await (bus.requeue(group, chosen) if act == "requeue" else bus.discard(group, chosen))

    found = asyncio.run(done())
    missing = [position for position in positions if position not in found]
    if missing:
        raise _no_letter(place, group, missing[0])
    if as_json:
        write_json({"topic": place.topic, "group": group, "act": act, "positions": found})
    else:
        output_console().print(
            f"{count_of(len(found), 'dead letter')} of {group} {_DONE[act]}", markup=False, soft_wrap=True
        )
    return 0


async def _check_of_no_run(place: EventPlace, group: str, bus: EventBus, chosen: Sequence[str] | None) -> None:
    """See that none of them is a task that a run has asked for: it would be done once more beside it.

    Raises:
        Misuse: one is.
    """
    if not is_queue(place.topic):
        return
    letters = await bus.dead_letters(group, limit=None)
    calls = await dead_calls(place, [one for one in letters if chosen is None or one.position in chosen])
    for position, call in calls.items():
        if call.is_of_a_run and call.would_be_done:
            run = call.record.run if call.record is not None else ""
            raise Misuse(
                f"the {call.name} at {position} is no call by hand: its run has failed with it, and takes no notice if "
                f"it is done now; go on with the run (coterie runs resume {run}), or clear the scheduler's task, then "
                f"'coterie dlq drop {group} {position} --topic {place.topic}'; --anyway has it done all the same"
            )


async def _letters(place: EventPlace, log: LogStore, group: str | None, limit: int) -> list[_Found]:
    bus = place.bus(log)
    found: list[_Found] = []
    for status in await log.groups(place.topic):
        if status.dead and group in (None, status.name) and len(found) < limit:
            letters = await bus.dead_letters(status.name, limit=limit - len(found))
            calls = await dead_calls(place, letters)
            found += [(place.topic, status.name, letter, calls.get(letter.position)) for letter in letters]
    return found


async def _counted(log: LogStore, group: str | None) -> dict[str, int]:
    """How many dead letters each topic has, if it has any."""
    counts = {}
    for topic in await log.topics():
        groups = await log.groups(topic.name)
        counts[topic.name] = sum(status.dead for status in groups if group in (None, status.name))
    return {name: count for name, count in counts.items() if count}


def _told(counts: Mapping[str, int]) -> str:
    """Where else there are dead letters, after what else is said."""
    if not counts:
        return ""
    if len(counts) == 1:
        ((topic, count),) = counts.items()
        return f"; {count:,} in the topic {topic!r}: --topic {topic}, or --all-topics"
    names = clipped(", ".join(map(repr, counts)), _NAMES_CHARS)
    return f"; {sum(counts.values()):,} in the topics {names}: --topic NAME, or --all-topics"


async def _check_group(place: EventPlace, log: LogStore, group: str) -> None:
    """See that a topic has a group.

    Raises:
        Misuse: it has not.
    """
    names = [status.name for status in await log.groups(place.topic)]
    if group in names:
        return
    topics = [topic.name for topic in await log.topics()]
    known = f"it has {', '.join(map(repr, names))}" if names else "it has none"
    others = [name for name in topics if group in [status.name for status in await log.groups(name)]]
    if others:
        known += f"; one of that name is in {', '.join(map(repr, others))}: --topic"
    raise Misuse(f"the topic {place.topic!r} has no group {group!r}; {known}; 'coterie events topics' lists all")


def _no_letter(place: EventPlace, group: str, position: str) -> Misuse:
    return Misuse(
        f"the group {group!r} has no dead letter at {position!r} of the topic {place.topic!r}; "
        "'coterie dlq list --all-topics' tells which there are"
    )
