"""What the outside must offer: the Protocols that stores implement and shells are built on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal, Protocol, TypeAlias, TypeVar

from coterie._rules.decided import Decide, State
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
from coterie._rules.written import Change, Guard, Page

__all__ = ["Blob", "BlobStore", "Durability", "JournalStore", "LogStore", "Notice", "Scope", "StateStore"]

T = TypeVar("T")

# Who shares a store's state: the tasks of one process, the processes of one machine, all machines.
Scope = Literal["process", "machine", "fleet"]
# What has been acknowledged survives: a power cut ("strict"), the end of a process ("relaxed"), nothing ("none").
Durability = Literal["strict", "relaxed", "none"]
# Called in the event loop with each message; with None when some may have been missed: look at the state again.
Notice: TypeAlias = Callable[[str | None], None]


@dataclass(frozen=True, slots=True)
class Blob:
    """One entry of a listing: an object, or a write that has not ended and perhaps never will.

    modified_s: when it was last written or refreshed, in seconds since the epoch by the store's own clock.
    upload: names an unfinished write to `name`; None for an object. size_bytes: of an unfinished write what is known.
    """

    name: str
    size_bytes: int
    modified_s: float
    upload: str | None = None


class BlobStore(Protocol):
    """Bytes by name, below one root. Blocking: shells call it in threads.

    Names are relative and `/`-separated; each part is of letters, digits and `._=@+-`, and does not begin with a dot:
    others are `ForbiddenLocation`, as is whatever would lead out of the root. A write is seen whole or not at all.
    Drivers' errors come out as `Unavailable` (the store) or `MissingArtifact` (the object).
    """

    @property
    def root(self) -> str:
        """The root's URL, without a trailing slash and without credentials."""
        ...

    def size_bytes(self, name: str) -> int | None:
        """The object's size, or None if there is none."""
        ...

    def write(self, name: str, source: BinaryIO, *, size_bytes: int | None = None) -> None:
        """Store all that `source` holds, replacing what was there. size_bytes: how much that is, if it is known.

        When this returns, the object is as safe as the store keeps anything.
        """
        ...

    def chunks(self, name: str, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
        """The object's bytes, in order, at most `chunk_bytes` at a time. Closed half way, it holds nothing open."""
        ...

    def refresh(self, name: str) -> bool:
        """Begin the object's age anew, as writing it again would.

        False: it is not there, or this store has no way; then write it.
        """
        ...

    def entries(self, folder: str) -> Iterator[Blob]:
        """All objects and unfinished writes below a folder, in any order, in bounded memory.

        Those that come or go meanwhile may be in it or not.
        """
        ...

    def delete(self, blobs: Sequence[Blob]) -> Sequence[Blob]:
        """Delete those that were neither written nor refreshed since they were listed; return all that are gone now."""
        ...

    def clock_s(self) -> float:
        """The clock that `Blob.modified_s` is of."""
        ...


class StateStore(Protocol):
    """Small shared states by key, each changed atomically, with wake-ups. Async, for one event loop at a time.

    Keys are `kind/name`, the names checked by `coterie.ids.check_name`; the namespace is the store's own affair, so
    that keys of two namespaces never meet. Nothing is atomic across keys. Every call has a deadline of the store's own.

    Raises, from every call:
        Unavailable: the store did not answer in time, or failed; `__cause__` is the driver's error. Whether a change
            was made is then not known.
    """

    @property
    def url(self) -> str:
        """Where the state lies, without credentials."""
        ...

    @property
    def scope(self) -> Scope:
        """Who shares the state."""
        ...

    @property
    def namespace(self) -> str:
        """What sets this deployment's keys apart."""
        ...

    async def update(self, key: str, decide: Decide[T], *, keep_s: float | None = None) -> T:
        """Apply a decision to the state of `key`, atomically, and return its result.

        `decide` is synchronous and pure: it may be run several times, also together with others that wait for the same
        key. What it raises is raised here, and nothing is changed by it. Where it returns the state that it was given,
        nothing is written.

        keep_s: after that many seconds without a change the state may be dropped, and no sooner.
        """
        ...

    async def read(self, key: str) -> tuple[State | None, int]:
        """The state of `key`, and the store's clock in microseconds since the epoch."""
        ...

    async def keys(self, kind: str) -> Sequence[str]:
        """All keys that begin with `kind/`, sorted; those that come or go meanwhile may be in it or not."""
        ...

    async def publish(self, channel: str, message: str) -> None:
        """Tell all who listen on a channel now; nobody else will ever learn of it."""
        ...

    async def subscribe(self, channel: str, notice: Notice) -> None:
        """Have `notice` called for each message from now on. Once this returns, no message is missed silently."""
        ...

    async def unsubscribe(self, channel: str, notice: Notice) -> None:
        """Stop calling `notice`; unknown ones are ignored."""
        ...

    async def aclose(self) -> None:
        """Give up connections and wake-ups, within a bound; safe to call twice."""
        ...


class JournalStore(Protocol):
    """Durable texts of runs. Async, for one event loop at a time.

    A run's texts lie on shelves, each text under a path: the main shelf is `""`, others have names. Runs are named as
    `coterie.ids.check_workflow_id` allows; the namespace is the store's own affair. A path, or the name of a shelf, is
    1 to 512 characters without control characters; a text is at most 4 MiB. Everything about one run is atomic where
    it says so; nothing is across runs.

    When a call that writes returns, what it wrote is as durable as `durability` says. Calls that wait at the same time
    are made durable together (group commit), in no particular order. Every call has a deadline of the store's own.

    Raises, from every call:
        Unavailable: the store did not answer in time, or failed; `__cause__` is the driver's error. Whether something
            was written is then not known; it may be written again.
        StateFormatError: what lies there is of a newer coterie, or damaged.
    """

    @property
    def url(self) -> str:
        """Where the texts lie, without credentials."""
        ...

    @property
    def scope(self) -> Scope:
        """Who shares them."""
        ...

    @property
    def namespace(self) -> str:
        """What sets this deployment's runs apart."""
        ...

    @property
    def durability(self) -> Durability:
        """What survives."""
        ...

    async def change(self, run: str, paths: Sequence[str], decide: Change[T]) -> T:
        """Apply a decision to texts of the main shelf, atomically, and return its result.

        `decide` gets the texts at `paths` (None where there is none) and the store's clock, and says what to write,
        at any of these paths. It is synchronous and pure, and may be run several times. What it raises is raised here,
        and nothing is written. A run exists from its first text on.

        Raises:
            Misuse: it would write at a path that it was not given.
        """
        ...

    async def write(
        self, run: str, texts: Mapping[str, str | None], *, guard: Guard | None = None, shelf: str = ""
    ) -> None:
        """Write texts (None: remove) to one shelf, atomically, if the guard holds.

        Raises:
            StaleToken: it does not hold; nothing was written.
        """
        ...

    async def get(self, run: str, paths: Sequence[str]) -> tuple[dict[str, str], int]:
        """Those of these texts of the main shelf that are there, as they were at one moment, and the store's clock, in
        microseconds.
        """
        ...

    async def read(self, run: str, shelf: str = "") -> dict[str, str]:
        """All texts of a shelf, as they were at one moment, or each at some moment during the call; empty if none."""
        ...

    async def runs(self, *, limit: int, after: str | None = None) -> Page:
        """Runs, the one begun last first, at most `limit` from behind the cursor `after` on.

        A run is listed until it is removed.
        """
        ...

    async def remove(self, run: str) -> bool:
        """Remove a run with all that belongs to it; whether there was one."""
        ...

    async def aclose(self) -> None:
        """End what was begun, give up connections, within a bound; safe to call twice."""
        ...


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
