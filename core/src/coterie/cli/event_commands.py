"""The commands about events: their arguments and help texts. What they do lies in `coterie.cli.events`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from coterie.cli.failure import told
from coterie.cli.fleet_usage import Listing
from coterie.cli.run_commands import JsonOption, NamespaceOption
from coterie.cli.usage import Command, Group

if TYPE_CHECKING:
    from coterie.cli.events.place import EventPlace

__all__ = ["add_event_commands"]

StoreOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Where the events lie. By default COTERIE_STORE, else this machine's own file."),
]
TopicOption = Annotated[str, typer.Option(metavar="NAME", help="The topic.")]
LinesOption = Annotated[
    bool, typer.Option("--json", help="Write one JSON document a line, and nothing else, to standard output.")
]
PatternArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATTERN",
        help="Types of events, in which `*` stands for any characters, such as `'task.*'`; all by default.",
        show_default=False,
    ),
]
CorrelationOption = Annotated[
    str | None,
    typer.Option("--correlation-id", metavar="ID", help="Only what belongs together under this id, such as a run's."),
]
MOMENT = "`begin`, `end`, an age such as `15m`, a time such as `2026-11-27T10:00:00Z`, or a position"
GroupArgument = Annotated[str, typer.Argument(metavar="GROUP", help="The group that gave them up.")]
PositionArguments = Annotated[
    list[str] | None, typer.Argument(metavar="POSITION", help="Which, as `list` shows them.", show_default=False)
]
AllOption = Annotated[bool, typer.Option("--all", help="All of the group.")]

events = typer.Typer(
    name="events",
    cls=Group,
    help="Look at events and publish them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
dlq = typer.Typer(
    name="dlq",
    cls=Listing,
    help="Look at dead letters: events that a group has given up; have them delivered again, or remove them.",
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def add_event_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    app.add_typer(events)
    app.add_typer(dlq)


@events.command(cls=Command)
@told
def tail(
    patterns: PatternArguments = None,
    *,
    since: Annotated[str, typer.Option(metavar="WHEN", help=f"Begin there: {MOMENT}.")] = "end",
    correlation_id: CorrelationOption = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after so many.")] = None,
    topic: TopicOption = "events",
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    as_json: LinesOption = False,
) -> int:
    """Show events as they come, until Ctrl-C. Nobody else gets fewer by it."""
    from coterie.cli.events.reading import tail_command

    place = _place(store, namespace, topic)
    return tail_command(place, patterns or [], since=since, correlation_id=correlation_id, limit=limit, as_json=as_json)


@events.command(cls=Command)
@told
def replay(
    patterns: PatternArguments = None,
    *,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help=f"Begin there: {MOMENT}.")] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="End there, in the same forms.")] = None,
    correlation_id: CorrelationOption = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="So many at most.")] = None,
    topic: TopicOption = "events",
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    as_json: LinesOption = False,
) -> int:
    """Show the events that are kept, in their order. Nobody else gets fewer by it."""
    from coterie.cli.events.reading import replay_command

    place = _place(store, namespace, topic)
    return replay_command(
        place,
        patterns or [],
        since=since,
        until=until,
        correlation_id=correlation_id,
        limit=limit,
        as_json=as_json,
    )


@events.command(cls=Command)
@told
def publish(
    type_: Annotated[
        str, typer.Argument(metavar="TYPE", help="The event's type: `com.example.order.placed`, or `task.completed`.")
    ],
    data: Annotated[
        str | None, typer.Argument(metavar="JSON", help="Its data; `-` reads them from standard input.")
    ] = None,
    *,
    key: Annotated[str, typer.Option(metavar="TEXT", help="Events of one key are received in their order.")] = "",
    subject: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is about.")] = None,
    source: Annotated[str, typer.Option(metavar="URI", help="Who says so.")] = "coterie",
    event_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="The same id again is the same event; by default a new one."),
    ] = None,
    correlation_id: Annotated[str | None, typer.Option(metavar="ID", help="What it belongs to, such as a run.")] = None,
    priority: Annotated[int, typer.Option(metavar="N", help="Higher ones come first, where that is wanted.")] = 0,
    topic: TopicOption = "events",
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> int:
    """Publish an event."""
    from coterie.cli.events.topics import Sent, publish_command

    sent = Sent(type_, data, key, subject, event_id, correlation_id, source, priority)
    return publish_command(_place(store, namespace, topic), sent, as_json=as_json)


@events.command(cls=Command)
@told
def topics(*, store: StoreOption = None, namespace: NamespaceOption = None, as_json: JsonOption = False) -> int:
    """List topics, and the groups that work through them.

    Of each group: what lies behind its place in the topic (unread: also what none of its patterns will match), is being
    handled (held), is due later or behind another of its key (waiting), and was given up (dead). To the queue of a type
    of tasks belongs the group of the workers, whether one has been there or not.
    """
    from coterie.cli.events.topics import topics_command

    return topics_command(_place(store, namespace, "events"), as_json=as_json)


@dlq.command("list", cls=Command)
@told
def list_letters(
    *,
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Of this group alone.")] = None,
    topic: TopicOption = "events",
    all_topics: Annotated[bool, typer.Option("--all-topics", help="Of all topics, tasks included.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many at most.")] = 100,
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> int:
    """List dead letters, the oldest of each group first."""
    from coterie.cli.events.letters import list_command

    place = _place(store, namespace, topic)
    return list_command(place, group=group, all_topics=all_topics, limit=limit, as_json=as_json)


@dlq.command(cls=Command)
@told
def show(
    group: GroupArgument,
    position: Annotated[str, typer.Argument(metavar="POSITION", help="Which, as `list` shows it.")],
    *,
    topic: TopicOption = "events",
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show one dead letter: why each of its deliveries came to nothing, and what it says."""
    from coterie.cli.events.letters import show_command

    return show_command(_place(store, namespace, topic), group, position, as_json=as_json)


@dlq.command(cls=Command)
@told
def requeue(
    group: GroupArgument,
    positions: PositionArguments = None,
    *,
    everything: AllOption = False,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Also tasks of runs, which would be done once more beside what the run does."),
    ] = False,
    topic: TopicOption = "events",
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> int:
    """Have dead letters delivered to their group again, with deliveries counted anew.

    Not tasks that a run has asked for: that has failed, and does them when somebody goes on with it.
    """
    from coterie.cli.events.letters import requeue_command

    place = _place(store, namespace, topic)
    return requeue_command(place, group, positions or [], everything=everything, anyway=anyway, as_json=as_json)


@dlq.command(cls=Command)
@told
def drop(
    group: GroupArgument,
    positions: PositionArguments = None,
    *,
    everything: AllOption = False,
    topic: TopicOption = "events",
    store: StoreOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> int:
    """Remove dead letters for good."""
    from coterie.cli.events.letters import drop_command

    place = _place(store, namespace, topic)
    return drop_command(place, group, positions or [], everything=everything, as_json=as_json)


def _place(store: str | None, namespace: str | None, topic: str) -> EventPlace:
    from coterie.cli.events.place import EventPlace

    return EventPlace(store, namespace, topic)
