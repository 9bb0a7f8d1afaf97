"""State of one process, in memory: for tests, and for runs that nothing else shares."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from coterie._rules.decided import Decide, Signal, State
from coterie._rules.timeline import micros
from coterie.clock import Clock
from coterie.errors import Misuse
from coterie.ports import Notice
from coterie.stores.listeners import Listeners
from coterie.stores.scopes import ProcessStore
from coterie.stores.states import check_channel, check_keep, check_key, check_kind, check_message, from_text, to_text

__all__ = ["MemoryStateStore"]

T = TypeVar("T")

# What every store can keep: Lua's numbers have 14 digits.
_LIMIT = 10**14


class _Kept(NamedTuple):
    """expires: on the store's clock, in microseconds; None for never."""

    text: str
    expires: float


class MemoryStateStore(ProcessStore):
    """A `StateStore` that is a dictionary, for one event loop.

    It is the strictest of all stores, so that tests find what another store would bend: it refuses what is not an
    integer of at most 14 digits, a text, a boolean, or an object or filled list of them, and a decision that changes
    the state it was given.

    clock: its wall clock; a test's may also go back.
    """

    def __init__(self, namespace: str = "default", *, clock: Clock | None = None) -> None:
        super().__init__("state", namespace, clock)
        self._kept: dict[str, _Kept] = {}
        self._listeners = Listeners()

    def __repr__(self) -> str:
        return f"MemoryStateStore({self._namespace!r}, keys={len(self._kept)})"

    async def update(self, key: str, decide: Decide[T], *, keep_s: float | None = None) -> T:
        """Apply a decision; see `StateStore.update`.

        Raises:
            Misuse: also where the decision changed the state that it was given.
        """
        self._check_open()
        check_key(key)
        check_keep(keep_s)
        now = self._now()
        text = self._text(key, now)
        old = from_text(text, key) if text is not None else None
        state, result, signals = decide(old, now)
        if text is not None and json.loads(text) != old:
            raise Misuse(f"a decision changed the state of {key!r} that it was given; it must return a new one instead")
        if state is not old:
            for signal in signals:
                check_channel(signal.channel)
                check_message(signal.message)
            self._keep(key, state, math.inf if keep_s is None else now + micros(keep_s))
            self._send(signals)
        return result

    async def read(self, key: str) -> tuple[State | None, int]:
        """The state, and the clock in microseconds."""
        self._check_open()
        now = self._now()
        text = self._text(check_key(key), now)
        return (None if text is None else from_text(text, key)), now

    async def keys(self, kind: str) -> Sequence[str]:
        """All keys of a kind, sorted."""
        self._check_open()
        begin, now = f"{check_kind(kind)}/", self._now()
        return sorted(key for key, kept in self._kept.items() if key.startswith(begin) and kept.expires > now)

    async def publish(self, channel: str, message: str) -> None:
        """Tell all who listen now."""
        self._check_open()
        self._send((Signal(check_channel(channel), check_message(message)),))

    async def subscribe(self, channel: str, notice: Notice) -> None:
        """Have `notice` called from the event loop, never inside of an `update`."""
        self._check_open()
        self._listeners.add(check_channel(channel), notice)

    async def unsubscribe(self, channel: str, notice: Notice) -> None:
        """Stop calling `notice`."""
        self._listeners.remove(channel, notice)

    async def aclose(self) -> None:
        """Forget everything."""
        self._closed = True
        self._listeners.clear()
        self._kept.clear()

    def _text(self, key: str, now: int) -> str | None:
        kept = self._kept.get(key)
        if kept is not None and kept.expires <= now:
            del self._kept[key]
            return None
        return kept.text if kept is not None else None

    def _keep(self, key: str, state: State | None, expires: float) -> None:
        if state is None:
            self._kept.pop(key, None)
        else:
            text = to_text(state, key)
            _check_plain(state, key)
            self._kept[key] = _Kept(text, expires)

    def _send(self, signals: Sequence[Signal]) -> None:
        for channel, message in signals:
            self._listeners.tell_soon(channel, message)


def _check_plain(value: object, where: str) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            if type(name) is not str:
                raise Misuse(f"{where} has the key {name!r}, which is not a text; JSON has no others")
            _check_plain(item, f"{where}/{name}")
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            _check_plain(item, f"{where}/{number}")
    elif type(value) is int:
        if not -_LIMIT < value < _LIMIT:
            raise Misuse(f"{where} is {value}; stores keep integers of at most 14 digits: count in larger units")
    elif type(value) not in (str, bool):
        raise Misuse(
            f"{where} is {value!r}, which not every store can keep; "
            "use integers, texts, booleans, objects and filled lists"
        )
