"""What a decision over shared state comes to, and the form in which stores keep that state.

A decision is a pure function `(state, now) -> Decided`. A store applies it atomically to one key, perhaps more than
once, and hands in its own clock, so that hosts whose clocks differ agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from coterie._json import JsonValue

__all__ = ["Decide", "Decided", "Operation", "Signal", "State"]

T = TypeVar("T")

# Integers, texts, booleans and objects of them; never a list that may be empty (Lua writes it as an object), never a
# number of more than 14 digits (Lua writes no more). To be treated as immutable: a decision returns a new one.
State: TypeAlias = dict[str, JsonValue]


class Signal(NamedTuple):
    """A message to whoever listens on a channel; sent if, and only if, the decision it belongs to is stored."""

    channel: str
    message: str


class Decided(NamedTuple, Generic[T]):
    """state: the new one; the very object that was given, if nothing changes; None to remove it."""

    state: State | None
    result: T
    signals: tuple[Signal, ...] = ()


# `now`: whole microseconds since the epoch, on the store's clock.
Decide: TypeAlias = Callable[[State | None, int], Decided[T]]


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """A decision with a name and arguments, so that a store may run a twin of it written in its own language.

    rule: `(state, now, *args)`, whose result is JSON; what a twin answers must be equal to it.
    read: makes of that JSON what the caller gets.
    texts: the arguments as a store sends them, once it has; some operations are asked thousands of times.
    """

    name: str
    args: tuple[JsonValue, ...]
    rule: Callable[..., Decided[JsonValue]]
    read: Callable[[JsonValue], T]
    texts: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def __call__(self, state: State | None, now: int) -> Decided[T]:
        decided = self.rule(state, now, *self.args)
        return Decided(decided.state, self.read(decided.result), decided.signals)
