"""What every log store checks, alike: names, messages, patterns, positions, numbers, and the words for failures."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TypeVar

from coterie._rules.log import Message, Position
from coterie._rules.timeline import SECOND, micros
from coterie.errors import Misuse, TopicFull
from coterie.errors.bus import OversizedMessage
from coterie.stores.texts import NUMBER, shown_name

__all__ = [
    "DIED",
    "FULL_RETRY_S",
    "MAX_MESSAGES",
    "MAX_PAGE",
    "MAX_PENDING",
    "MAX_TEXT_BYTES",
    "check_begin",
    "check_consumer",
    "check_delay",
    "check_group",
    "check_instant",
    "check_lease",
    "check_limit",
    "check_max_deliveries",
    "check_messages",
    "check_number",
    "check_positions",
    "check_reason",
    "check_topic",
    "check_types",
    "full",
    "matches",
    "no_position",
    "not_heard_of",
]

T = TypeVar("T")

MAX_TEXT_BYTES = 2**20
MAX_MESSAGES = 1000
# However many are asked for, so many come at most.
MAX_PAGE = 1000
# So many messages may wait in one group behind one of their key, or be due later; with more, no new ones are delivered.
MAX_PENDING = 10_000
MAX_REASON_CHARS = 2000
# Nobody knows when there will be room.
FULL_RETRY_S = 1.0
DIED = "the consumer died"

_MOST_DELIVERIES = 1000
_MOST_PRIORITY = 10**9
_MOST_LEASE_S = 86_400.0
_MOST_DELAY_S = 3_650 * 86_400.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}\Z")
_LABEL = shown_name(500)
_CONSUMER = shown_name(200)


def check_topic(topic: str) -> str:
    """Return `topic` if it may name one.

    Raises:
        Misuse: it is not 1 to 200 letters, digits, and `._-/`, beginning with a letter or digit.
    """
    return _check_name(topic, "the topic")


def check_group(group: str) -> str:
    """Return `group` if it may name one; as topics."""
    return _check_name(group, "the group")


def check_consumer(consumer: str) -> str:
    """Return `consumer` if it may name one.

    Raises:
        Misuse: it is not 1 to 200 characters, none of them a control character.
    """
    if not isinstance(consumer, str) or not _CONSUMER.match(consumer):
        raise Misuse(
            f"the consumer {consumer!r:.200} has no usable name; use 1 to 200 characters, no control characters"
        )
    return consumer


def check_types(types: Sequence[str]) -> tuple[str, ...]:
    """Patterns of types, each once, in order.

    Raises:
        Misuse: all are one text, or one could match no type.
    """
    if isinstance(types, str):
        raise Misuse(f"the types are one text, {types[:80]!r}; give a list of patterns")
    return tuple(dict.fromkeys(_check_label(pattern, "a pattern of types") for pattern in types))


def check_messages(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Messages that can be stored.

    Raises:
        OversizedMessage: a text is over 1 MiB as UTF-8.
        Misuse: there are over 1000, or one is none: an id, type or key that is not 1 to 500 characters without control
            characters (a key may be empty), no text, half of a character, or a priority that is no whole number.
    """
    if len(messages) > MAX_MESSAGES:
        raise Misuse(f"{len(messages)} messages are too many for one call; append at most {MAX_MESSAGES} at once")
    return tuple(_check_message(message) for message in messages)


def check_positions(positions: Sequence[Position], read: Callable[[Position], T]) -> list[T]:
    """What these positions are to a store, each once, in order. read: of one, raises Misuse where it is none.

    Raises:
        Misuse: they are one text, more than 1000, or one is "", or none.
    """
    if isinstance(positions, str):
        raise Misuse(f"the positions are one text, {positions[:80]!r}; give a list of positions")
    if len(positions) > MAX_MESSAGES:
        raise Misuse(f"{len(positions)} positions are too many for one call; give at most {MAX_MESSAGES} at once")
    return list(dict.fromkeys(read(_filled(position)) for position in positions))


def check_number(position: Position) -> int:
    """The number that a position is, where messages are numbered from 1; of "", 0.

    Raises:
        Misuse: it is none.
    """
    if position == "":
        return 0
    if not isinstance(position, str) or not NUMBER.match(position):
        raise no_position(position)
    return int(position)


def check_begin(begin: str) -> str | int:
    """Where a group begins: "begin", "end", or the number of the position behind which it does.

    Raises:
        Misuse: it is none of these.
    """
    return begin if begin in ("begin", "end") else check_number(begin)


def check_limit(limit: int, *, least: int = 1) -> int:
    """How many may come, at most 1000.

    Raises:
        Misuse: less than `least`, or no number.
    """
    if type(limit) is not int or limit < least:
        raise Misuse(f"limit={limit!r} is no number of messages; give {least} or more")
    return min(limit, MAX_PAGE)


def check_instant(at: int | None) -> int | None:
    """Return `at` if it may be microseconds since the epoch, or None.

    Raises:
        Misuse: it may not.
    """
    if at is not None and (type(at) is not int or not 0 <= at < 10**17):
        raise Misuse(f"{at!r} is no instant; give whole microseconds since the epoch, or None for the end")
    return at


def check_lease(lease_s: float) -> int:
    """A lease in microseconds.

    Raises:
        Misuse: it is not 1 to 86400 seconds.
    """
    if not 1.0 <= lease_s <= _MOST_LEASE_S:
        raise Misuse(f"lease_s is {lease_s!r}; give 1 to 86400 seconds")
    return micros(lease_s)


def check_delay(delay_s: float) -> int:
    """A delay in microseconds.

    Raises:
        Misuse: it is negative, over ten years, or no number.
    """
    if not (math.isfinite(delay_s) and 0.0 <= delay_s <= _MOST_DELAY_S):
        raise Misuse(f"delay_s is {delay_s!r}; give 0 or more seconds, at most ten years")
    return micros(delay_s)


def check_max_deliveries(number: int | None) -> int | None:
    """Return `number` if it may be the most deliveries of a message, or 0, or None.

    Raises:
        Misuse: it may not.
    """
    if number is not None and (type(number) is not int or not 0 <= number <= _MOST_DELIVERIES):
        raise Misuse(f"max_deliveries is {number!r}; give a whole number from 0 to {_MOST_DELIVERIES}, or None")
    return number


def check_reason(reason: str | None) -> str | None:
    """What is kept of a reason: 2000 characters, half characters replaced.

    Raises:
        Misuse: it is no text.
    """
    if reason is None:
        return None
    if not isinstance(reason, str):
        raise Misuse(f"the reason is {reason!r:.80}; give text, or None")
    return reason[:MAX_REASON_CHARS].encode("utf-8", "replace").decode()


def matches(types: tuple[str, ...], type: str) -> bool:  # noqa: A002  # as the message has it
    """Whether a type is among what these patterns stand for; without any, every type is."""
    return not types or _compiled(types)(type) is not None


def not_heard_of(lease_us: int) -> str:
    """The reason noted where a consumer's lease has ended."""
    return f"the consumer was not heard of for {lease_us / SECOND:g} s"


def no_position(position: Position) -> Misuse:
    """What is raised where a position cannot be one of the store."""
    return Misuse(f"{position!r:.80} is no position of this store; give one that it answered")


def full(topic: str, max_messages: int) -> TopicFull:
    """What is raised where a topic has no room, and makes none."""
    return TopicFull(
        f"the topic {topic!r} keeps {max_messages} messages, and none of them is done with; nothing was appended: "
        "wait for its consumers, add some, or let it keep more (Retention)",
        retry_after_s=FULL_RETRY_S,
    )


@lru_cache(maxsize=1000)
def _compiled(types: tuple[str, ...]) -> Callable[[str], re.Match[str] | None]:
    return re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in types), re.DOTALL).fullmatch


def _expression(pattern: str) -> str:
    return ".*".join(re.escape(part) for part in _parts(pattern))


def _parts(pattern: str) -> Iterable[str]:
    # Several stars in a row are one: `.*.*.*` would take long to fail.
    return re.split(r"\*+", pattern)


def _check_name(name: str, what: str) -> str:
    if not isinstance(name, str) or not _NAME.match(name):
        raise Misuse(
            f"{what} {name!r:.220} is not a usable name; use 1 to 200 letters, digits, '.', '_', '-' or '/', "
            "beginning with a letter or digit"
        )
    return name


def _check_label(label: str, what: str) -> str:
    if not isinstance(label, str) or not _LABEL.match(label):
        raise Misuse(
            f"{what}, {label!r:.100}, is not usable; use 1 to 500 characters, none of them a control character"
        )
    return label


def _check_message(message: Message) -> Message:
    _check_label(message.id, "the id of a message")
    _check_label(message.type, f"the type of the message {message.id!r}")
    if message.key != "":
        _check_label(message.key, f"the key of the message {message.id!r}")
    if type(message.priority) is not int or not -_MOST_PRIORITY <= message.priority <= _MOST_PRIORITY:
        raise Misuse(
            f"the priority of the message {message.id!r} is {message.priority!r}; "
            f"give a whole number, at most {_MOST_PRIORITY} and at least its negative"
        )
    size = _text_bytes(message)
    if size > MAX_TEXT_BYTES:
        raise OversizedMessage(f"the message {message.id!r}", size_bytes=size, limit_bytes=MAX_TEXT_BYTES)
    return message


def _text_bytes(message: Message) -> int:
    if not isinstance(message.text, str):
        raise Misuse(f"the text of the message {message.id!r} is {message.text!r:.80}; give text")
    try:
        return len(message.text) if message.text.isascii() else len(message.text.encode())
    except UnicodeEncodeError as error:
        raise Misuse(f"the text of the message {message.id!r} holds half of a character: {error}") from error


def _filled(position: Position) -> Position:
    if position == "":
        raise Misuse("'' is no position of a message; give one that a message was delivered with")
    return position
