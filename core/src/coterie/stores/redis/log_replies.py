"""What the scripts of a log answer, as the port has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from coterie._rules.log import (
    Appended,
    ConsumerStatus,
    DeadPage,
    Delivery,
    Failure,
    GroupStatus,
    Logged,
    Message,
    Position,
    Reading,
    Taken,
    TopicStatus,
)
from coterie.errors import StateFormatError
from coterie.stores.redis.wire import Reply

__all__ = ["appended", "dead_page", "group_status", "letter", "positions", "reading", "taken", "topic_status"]

# Of a message without key and priority: one field, its name and its value.
_PLAIN = 2
_new_tuple = tuple.__new__


class _OpenMessage:
    """The same attributes, not frozen yet; see `_first_deliveries`."""

    __slots__ = Message.__slots__


class _OpenDelivery:
    """As `_OpenMessage`."""

    __slots__ = Delivery.__slots__


def appended(reply: Reply) -> list[Appended]:
    """Of `_log_append`."""
    return [Appended(text[1:], is_duplicate=True) if text[0] == "=" else Appended(text) for text in _texts(reply)]


def positions(reply: Reply) -> list[Position]:
    """A list of positions."""
    return _texts(reply)


def reading(reply: Reply) -> Reading:
    """Of `_log_read`."""
    after, lost, is_all, messages = reply
    return Reading(tuple(map(_logged, messages)), after.decode(), lost, is_all == b"1")


def taken(reply: Reply) -> Taken:
    """Of `_log_take`."""
    entries, again, buried, lost, stale, wakes, _, _ = reply
    deliveries = _first_deliveries(entries)
    for index, number, failures in zip(again[::3], again[1::3], again[2::3], strict=True):
        deliveries[index] = Delivery(deliveries[index].logged, number, _failures(failures))
    dead = sorted(map(letter, buried), key=_order) if buried else ()
    due_s = float(wakes) if wakes else None
    return Taken(tuple(deliveries), tuple(dead), lost, tuple(_texts(stale)), due_s)


def letter(reply: Reply) -> Delivery:
    """A dead letter."""
    entry, number, failures = reply
    return Delivery(_logged(entry), number, _failures(failures))


def dead_page(reply: Reply) -> DeadPage:
    """Of `_log_dead`."""
    has_more, *found = reply
    letters = tuple(map(letter, found))
    return DeadPage(letters, letters[-1].logged.position if has_more else None)


def group_status(name: str, reply: Reply) -> GroupStatus:
    """Of `_log_group_status`."""
    position, unread, held, waiting, dead, *rest = reply
    members = zip(rest[::3], rest[1::3], rest[2::3], strict=True)
    consumers = [ConsumerStatus(member.decode(), count, int(until)) for member, count, until in members]
    consumers.sort(key=lambda consumer: consumer.name)
    return GroupStatus(name, _position(position), unread, held, waiting, dead, tuple(consumers))


def topic_status(name: str, reply: Reply) -> TopicStatus:
    """Of `_log_status`."""
    _, messages, ever, first, last, _ = reply
    return TopicStatus(name, messages, ever, first.decode(), last.decode())


def _position(reply: bytes) -> Position:
    return "" if reply == b"0-0" else reply.decode()


def _texts(reply: Sequence[bytes]) -> list[str]:
    return [text.decode() for text in reply]


def _order(dead: Delivery) -> tuple[int, int]:
    at, _, number = dead.logged.position.partition("-")
    return int(at), int(number)


def _first_deliveries(entries: Reply) -> list[Delivery]:
    """What was delivered once. Most messages of a log come this way, and to be made of them costs most of the time.

    Records are filled here before they are frozen, which takes a third as long as to call them does; what they are is
    the same.
    """
    found = []
    message: Any
    delivery: Any
    try:
        for where, fields in entries:
            if len(fields) != _PLAIN:
                found.append(Delivery(_logged((where, fields)), 1))
                continue
            head, text = fields
            message = _OpenMessage()
            message.id, message.type = head.decode().split("\n")
            message.text = text.decode()
            message.key = ""
            message.priority = 0
            message.__class__ = Message
            delivery = _OpenDelivery()
            delivery.logged = _new_tuple(Logged, (where.decode(), int(where[: where.index(b"-")]), message))
            delivery.number = 1
            delivery.failures = ()
            delivery.__class__ = Delivery
            found.append(delivery)
    except (ValueError, TypeError, AttributeError) as error:
        raise _no_message(error) from error
    return found


def _logged(entry: Reply) -> Logged:
    try:
        where, fields = entry
        position: str = where.decode()
        at = int(position[: position.index("-")])
        name, type_ = fields[0].decode().split("\n")
        text = fields[1].decode()
        if len(fields) == _PLAIN:
            return Logged(position, at, Message(name, type_, text))
        _, _, key, priority = fields
        return Logged(position, at, Message(name, type_, text, key.decode(), int(priority)))
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise _no_message(error) from error


def _no_message(error: Exception) -> StateFormatError:
    return StateFormatError(f"what lies in the log is no message of ours: {error}; is the namespace ours alone?")


def _failures(text: bytes) -> tuple[Failure, ...]:
    return tuple(Failure(*item) for item in json.loads(b"[" + text + b"]"))
