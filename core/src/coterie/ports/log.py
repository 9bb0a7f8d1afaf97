"""The port of log stores: topics of messages, and the groups that work through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from coterie._rules.log import (
    Appended,
    DeadPage,
    Delivery,
    GroupStatus,
    Message,
    Position,
    Reading,
    Retention,
    Taken,
    Terms,
    TopicStatus,
)
from coterie.ports.words import Durability, Notice, Scope

__all__ = ["LogStore"]


class LogStore(Protocol):
    """Topics of messages, and the groups that work through them. Async, for one event loop at a time.

    A topic's and a group's name are 1 to 200 letters, digits, and `._-/`, beginning with a letter or digit; a
    consumer's is any text of 1 to 200 characters without control characters, and belongs to one life of one process:
    another one never uses it again. The namespace is the store's own affair. Everything about one topic is atomic where
    it says so; nothing is across topics.

    **Delivery.** Each message goes to one consumer of each group, at least once: until it is acknowledged by who holds
    it. A consumer holds messages while it is heard of (`take`, `beat`); one that was not for `Terms.lease_s` is dead as
    soon as another's `take` finds that: what it held goes to others, with a failure noted ("... was not heard of ...")
    and its number grown. Of one key, one message at a time is held in a group, and while one is, or waits to be
    delivered again, no later one is delivered, not even to the same consumer; they come in the order of the log. A dead
    letter no longer stands in the way; requeued, it comes before later ones of its key, but not while one is held.

    When a call that writes returns, what it wrote is as durable as `durability` says. Every call has a deadline of the
    store's own.

    Raises, from every call:
        Unavailable: the store did not answer in time, or failed; `__cause__` is the driver's error. Whether something
            was written is then not known; appending the same ids again is safe within `Retention.dedup_s`.
        StateFormatError: what lies there is of a newer coterie, or damaged.
        Misuse: a name, position or number that cannot be.
    """

    @property
    def url(self) -> str:
        """Where the topics lie, without credentials."""
        ...

    @property
    def scope(self) -> Scope:
        """Who shares them."""
        ...

    @property
    def namespace(self) -> str:
        """What sets this deployment's topics apart."""
        ...

    @property
    def durability(self) -> Durability:
        """What survives."""
        ...

    async def append(self, topic: str, messages: Sequence[Message], *, retention: Retention) -> Sequence[Appended]:
        """Add messages at the end of a topic, all or none, in order; those who watch it are told.

        One whose id the topic remembers is not added again: its old position is the answer, also within one call, and
        it is not remembered for longer. Retention takes effect here: what is too much or too old goes when something is
        added, and only then. All who append to one topic ought to give the same.

        Raises:
            TopicFull: there is no room, and none is made; nothing was changed.
            OversizedMessage: a text is over 1 MiB as UTF-8. Misuse: over 1000 messages at once.
        """
        ...

    async def read(self, topic: str, *, after: Position = "", limit: int = 100, types: Sequence[str] = ()) -> Reading:
        """Messages from behind a position on, for anybody, in order. types: patterns, as of `Terms`.

        At most `limit`, and fewer where that would take long; `Reading.after` leads on. A topic that does not exist is
        empty. Who reads from the beginning, "", has lost nothing: the beginning is what is still there. A position that
        the topic has not reached is of an earlier topic of this name: all lies behind it.
        """
        ...

    async def locate(self, topic: str, at: int | None) -> Position:
        """The position behind which all messages lie that were appended at `at` (microseconds since the epoch, by the
        store's clock) or later; of None, the end: the position of the last message.
        """
        ...

    async def take(
        self,
        topic: str,
        group: str,
        consumer: str,
        *,
        terms: Terms,
        limit: int,
        done: Sequence[Position] = (),
    ) -> Taken:
        """Acknowledge what is done, be heard of, and take at most `limit` more messages, in one step.

        The group begins with the first call; limit 0 takes none, and may make it begin. First what is done is
        acknowledged, then those who were not heard of are found, then messages are delivered: what was given back or
        freed comes before what the group has not got to, unless by priority. One that was delivered
        `Terms.max_deliveries` times already is made a dead letter instead, and told as `Taken.dead`. `Taken.lost` are
        all that the group had not got to, whatever their type; of a group that begins behind a position, also those
        behind it that were gone by then.
        """
        ...

    async def acknowledge(
        self, topic: str, group: str, consumer: str, positions: Sequence[Position]
    ) -> Sequence[Position]:
        """Be done with messages; answers those that this consumer did not hold any more, which changes nothing."""
        ...

    async def give_back(
        self,
        topic: str,
        group: str,
        consumer: str,
        position: Position,
        *,
        delay_s: float = 0.0,
        reason: str | None = None,
        max_deliveries: int | None = None,
    ) -> Delivery | None:
        """Have a message delivered again, by whoever takes next, `delay_s` seconds from now at the earliest.

        reason: why it failed: noted, at most 2000 characters of it. Without one the delivery does not count.
        max_deliveries: where it has been delivered so often, it is made a dead letter instead, which is the answer; 0
        makes it one at once. A message that this consumer does not hold any more is left alone. By priority it stands
        where it stood.
        """
        ...

    async def beat(self, topic: str, group: str, consumer: str, *, lease_s: float) -> bool:
        """Be heard of. False: the consumer had been taken for dead, or has left; what it held is not its own now."""
        ...

    async def leave(self, topic: str, group: str, consumer: str, *, died: bool = False) -> int:
        """End a consumer: what it holds goes to others at once; answers how much that was.

        died: somebody else says so, who knows that it has: a failure is noted, as if its lease had ended. Else nothing
        of it counts.
        """
        ...

    async def groups(self, topic: str) -> Sequence[GroupStatus]:
        """The groups of a topic, by name."""
        ...

    async def drop_group(self, topic: str, group: str) -> bool:
        """End a group with its dead letters; whether there was one. Its consumers begin it anew when they take."""
        ...

    async def topics(self) -> Sequence[TopicStatus]:
        """All topics, by name."""
        ...

    async def drop_topic(self, topic: str) -> bool:
        """Remove a topic with all its groups; whether there was one."""
        ...

    async def dead_letters(self, topic: str, group: str, *, limit: int = 100, after: str | None = None) -> DeadPage:
        """What was given up, in the order of the log; it is kept until it is requeued or discarded, whatever the
        retention. after: the cursor of a page.
        """
        ...

    async def requeue(self, topic: str, group: str, positions: Sequence[Position]) -> Sequence[Position]:
        """Have dead letters delivered again in their group, with deliveries counted anew and their failures kept;
        answers those that were there.
        """
        ...

    async def discard(self, topic: str, group: str, positions: Sequence[Position]) -> Sequence[Position]:
        """Remove dead letters; answers those that were there."""
        ...

    async def watch(self, topic: str, notice: Notice) -> None:
        """Have `notice` called when there may be something new to take or read; with None, when that may have been
        missed. Once this returns, nothing that is appended is missed silently.
        """
        ...

    async def unwatch(self, topic: str, notice: Notice) -> None:
        """Stop calling `notice`; unknown ones are ignored."""
        ...

    async def aclose(self) -> None:
        """End what was begun, give up connections, within a bound; safe to call twice."""
        ...
