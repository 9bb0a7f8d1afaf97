"""`coterie events publish` and `topics`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from coterie._json import JsonValue
from coterie._rules.log import GroupStatus, TopicStatus
from coterie.bus import Published
from coterie.cli.events.dead_call import is_queue
from coterie.cli.events.place import EventPlace
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console, print_listing
from coterie.errors import Misuse
from coterie.ports import LogStore
from coterie.remote.queue import GROUP

__all__ = ["Sent", "publish_command", "topics_command"]


@dataclass(frozen=True, slots=True)
class Sent:
    """An event as the command line has it. data: JSON; `-`: standard input; None: none."""

    type: str
    data: str | None = None
    key: str = ""
    subject: str | None = None
    id: str | None = None
    correlation_id: str | None = None
    source: str = "coterie"
    priority: int = 0


def publish_command(place: EventPlace, sent: Sent, *, as_json: bool) -> int:
    """Publish one event."""
    data = _data(sent.data)

    async def publish() -> tuple[str, Published]:
        async with place.opened(begins=True) as log:
            bus = place.bus(log)
            bus.source = sent.source
            return log.url, await bus.publish(
                sent.type,
                data,
                key=sent.key,
                subject=sent.subject,
                id=sent.id,
                correlation_id=sent.correlation_id,
                priority=sent.priority,
            )

    url, published = asyncio.run(publish())
    event = published.event
    if as_json:
        write_json(
            {
                "store": url,
                "topic": place.topic,
                "position": published.position,
                "is_duplicate": published.is_duplicate,
                "event": event.to_dict(),
            }
        )
    else:
        twice = " (it was there already)" if published.is_duplicate else ""
        lines = f"{event.name} {event.id} at {published.position} of {place.topic}{twice}\n  in {url}"
        output_console().print(Text(lines), soft_wrap=True)
    return 0


def topics_command(place: EventPlace, *, as_json: bool) -> int:
    """All topics, and who works through them."""

    async def found() -> tuple[str, list[tuple[TopicStatus, Sequence[GroupStatus]]]]:
        async with place.opened() as log:
            return log.url, [(topic, await _groups(log, topic)) for topic in await log.topics()]

    url, topics = asyncio.run(found())
    if as_json:
        write_json({"store": url, "topics": [_document(topic, groups) for topic, groups in topics]})
        return 0
    console = output_console()
    if not topics:
        console.print(f"no topics in {url}", markup=False, soft_wrap=True)
        return 0
    table = Table(box=None, pad_edge=False)
    for title in ("topic", "messages", "group", "unread", "held", "waiting", "dead", "consumers"):
        name = title in ("topic", "group")
        table.add_column(title, justify="left" if name else "right", no_wrap=name, overflow="fold")
    for topic, groups in topics:
        table.add_row(Text(topic.name), f"{topic.messages:,}")
        for group in groups:
            numbers = (group.unread, group.held, group.waiting, group.dead, len(group.consumers))
            table.add_row("", "", Text(group.name), *(f"{number:,}" for number in numbers))
    print_listing(console, table)
    return 0


async def _groups(log: LogStore, topic: TopicStatus) -> Sequence[GroupStatus]:
    """Who works through a topic.

    To a queue of tasks belong workers, also before the first one has come: what waits for them is told in one place.
    """
    groups = await log.groups(topic.name)
    if not is_queue(topic.name) or any(group.name == GROUP for group in groups):
        return groups
    return [*groups, GroupStatus(GROUP, "", unread=topic.messages, held=0, waiting=0, dead=0)]


def _data(text: str | None) -> JsonValue:
    if text is None:
        return None
    try:
        found: JsonValue = json.loads(sys.stdin.read() if text == "-" else text)
    # Also what is nested too deep.
    except (ValueError, RecursionError) as error:
        raise Misuse(f"the data are no JSON: {error}; a text needs its own quotes: '\"text\"'") from None
    return found


def _document(topic: TopicStatus, groups: Sequence[GroupStatus]) -> dict[str, object]:
    return {
        "name": topic.name,
        "messages": topic.messages,
        "appended": topic.appended,
        "first": topic.first or None,
        "last": topic.last or None,
        "groups": [
            {
                "name": group.name,
                "position": group.position or None,
                "unread": group.unread,
                "held": group.held,
                "waiting": group.waiting,
                "dead": group.dead,
                "consumers": [{"name": one.name, "held": one.held} for one in group.consumers],
            }
            for group in groups
        ],
    }
