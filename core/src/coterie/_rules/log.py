"""What is appended to a log and taken from it, and the forms in which log stores are asked and answer.

A log is a named sequence of messages (a topic) that everybody may read, and that groups of consumers work through: each
message goes to one consumer of each group, until one of them has acknowledged it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from coterie.errors import PolicyError

__all__ = [
    "Appended",
    "ConsumerStatus",
    "DeadPage",
    "Delivery",
    "Failure",
    "GroupStatus",
    "Logged",
    "Message",
    "Position",
    "Reading",
    "Retention",
    "Taken",
    "Terms",
    "TopicStatus",
]

# Where a message lies in its topic: opaque, of the store that gave it; only that store can compare two. "" is before
# the first one.
Position: TypeAlias = str
# What becomes of messages that no longer fit: the oldest go, or new ones are refused.
WhenFull = Literal["drop_oldest", "refuse"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    id: sets it apart from all others of its topic; appended again within `Retention.dedup_s`, it is the same message.
    type: what consumers choose by. text: its content. key: messages of one key are delivered to a group in their order;
    "" has none. priority: higher ones are delivered first, where a group's terms say so.
    """

    id: str
    type: str
    text: str
    key: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """For how long a topic keeps messages.

    max_messages, max_age_s: beyond either, the oldest go; None: no such bound.
    when_full: "drop_oldest": they go whether they were acknowledged or not, and groups that had not got to them are
        told how many they have lost. "refuse": beyond `max_messages`, only those go that every group is done with, and
        that there is a group at all; if there are none of these, new ones are refused. `max_age_s` holds either way.
    dedup_s: for how long an id is remembered.
    idle_s: after so long without a new message, the topic may be dropped with all that belongs to it; None: never.
    """

    max_messages: int | None = 100_000
    max_age_s: float | None = 7 * 86_400.0
    when_full: WhenFull = "drop_oldest"
    dedup_s: float = 600.0
    idle_s: float | None = None

    def __post_init__(self) -> None:
        if self.max_messages is not None and (type(self.max_messages) is not int or self.max_messages < 1):
            raise PolicyError(f"max_messages is {self.max_messages!r}; give a whole number >= 1, or None")
        for name in ("max_age_s", "idle_s"):
            value = getattr(self, name)
            if value is not None and not 1.0 <= value <= 3_650 * 86_400.0:
                raise PolicyError(f"{name} is {value!r}; give seconds >= 1, or None")
        if not 0.0 <= self.dedup_s <= 30 * 86_400.0:
            raise PolicyError(f"dedup_s is {self.dedup_s!r}; give 0 to {30 * 86_400} seconds")
        if self.when_full not in ("drop_oldest", "refuse"):
            raise PolicyError(f"when_full is {self.when_full!r}; use 'drop_oldest' or 'refuse'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a group's consumers take messages; all of one group ought to give the same.

    types: patterns of the types that it wants: names, in which `*` stands for any characters; empty: all. What matches
        none is passed over for good.
    lease_s: a consumer that has not been heard of for so long is taken for dead, and what it held goes to others.
    max_deliveries: after so many without acknowledgement a message is dead, and kept as a dead letter.
    by_priority: by `Message.priority`, where one step is worth `ageing_s` of waiting, so that nothing starves; else in
        the order of the log.
    begin: where a group begins that does not exist yet: "begin", "end", or behind a position.
    """

    types: tuple[str, ...] = ()
    lease_s: float = 15.0
    max_deliveries: int = 5
    by_priority: bool = False
    ageing_s: float = 60.0
    begin: Literal["begin", "end"] | Position = "begin"

    def __post_init__(self) -> None:
        if not 1.0 <= self.lease_s <= 86_400.0:
            raise PolicyError(f"lease_s is {self.lease_s!r}; give 1 to 86400 seconds")
        if type(self.max_deliveries) is not int or not 1 <= self.max_deliveries <= 1000:
            raise PolicyError(f"max_deliveries is {self.max_deliveries!r}; give a whole number from 1 to 1000")
        if not 0.0 < self.ageing_s <= 86_400.0:
            raise PolicyError(f"ageing_s is {self.ageing_s!r}; give seconds > 0, at most a day")


class Appended(NamedTuple):
    """Where a message lies; is_duplicate: it did already."""

    position: Position
    is_duplicate: bool = False


class Logged(NamedTuple):
    """A message in its place. at: when it was appended, in microseconds since the epoch by the store's clock."""

    position: Position
    at: int
    message: Message


class Failure(NamedTuple):
    """Why a delivery came to nothing. at: microseconds since the epoch, by the store's clock."""

    at: int
    consumer: str
    reason: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that a consumer holds, or that is a dead letter. number: of the delivery, from 1. failures: so far."""

    logged: Logged
    number: int
    failures: tuple[Failure, ...] = ()


class Reading(NamedTuple):
    """Some messages, and the position behind all that was looked at. lost: how many had gone before they were read.

    is_all: whether nothing lay behind that position.
    """

    messages: tuple[Logged, ...]
    after: Position
    lost: int
    is_all: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """What a consumer got.

    deliveries: what it holds now, in the order in which to begin. dead: what this call found to have been delivered too
    often, and made a dead letter: its taker tells whom it concerns. lost: how many had gone before the group got to
    them. stale: of those that were to be acknowledged, which this consumer no longer held. due_s: in how many seconds
    there may be more without any new message; None: not before one is appended, acknowledged, or given back.
    """

    deliveries: tuple[Delivery, ...] = ()
    dead: tuple[Delivery, ...] = ()
    lost: int = 0
    stale: tuple[Position, ...] = ()
    due_s: float | None = None


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """held: how many messages it holds. until: when it is taken for dead, in microseconds since the epoch."""

    name: str
    held: int
    until: int


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """unread: how many messages lie behind `position`. held: how many consumers hold; waiting: how many are behind one
    of their key, or due later; dead: how many dead letters there are.
    """

    name: str
    position: Position
    unread: int
    held: int
    waiting: int
    dead: int
    consumers: tuple[ConsumerStatus, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """messages: how many it keeps. appended: how many there ever were. first, last: "" where it keeps none."""

    name: str
    messages: int
    appended: int
    first: Position
    last: Position


class DeadPage(NamedTuple):
    """Some dead letters, the oldest first, and the cursor behind them; None where there are no more."""

    letters: tuple[Delivery, ...]
    after: str | None
