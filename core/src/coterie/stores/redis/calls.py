"""What a store asks of its servers, as commands: keys and channels by their names there, scripts, numbers as text."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any

from coterie._json import JsonValue
from coterie._rules.decided import Operation, Signal
from coterie._rules.timeline import SECOND
from coterie.stores.redis.evaluate import evaluate
from coterie.stores.redis.failures import translated
from coterie.stores.redis.flight import Seen
from coterie.stores.redis.route import Route
from coterie.stores.redis.scripts import Script, plain_script
from coterie.stores.redis.wire import Reply
from coterie.stores.states import check_key, encoded

__all__ = ["Calls"]

_KEYS = 4096
# What an operation does, where its failure is told.
_WORDS = {
    "pool.turn": "lease or give back slots of",
    "pool.set": "change an agent of",
    "pool.suspend": "suspend an agent of",
    "quota.reserve": "take a turn of",
    "quota.settle": "settle a turn of",
    "quota.cancel": "give back a turn of",
    "quota.pause": "pause",
}


class Calls:
    """Every command of one store, each with its errors translated.

    prefix: of channels. where: the store's URL, without credentials. clock: microseconds, instead of the server's.
    """

    def __init__(
        self, route: Route, *, namespace: str, prefix: str, where: str, clock: Callable[[], int] | None
    ) -> None:
        self._route = route
        self._namespace = namespace
        self._prefix = prefix
        self._where = where
        self._clock = clock
        # Keys are few and used often; to check and to name one costs as much as to send it.
        self._name = lru_cache(_KEYS)(self._checked_name)

    async def run_twin(
        self, script: Script, key: str, operation: Operation[Any], keep_s: float | None
    ) -> tuple[JsonValue] | None:
        """What the operation's twin answers; None where it leaves the decision to the rule."""
        now = "" if self._clock is None else self._clock()
        if not operation.texts:
            operation.texts.extend(map(encoded, operation.args))
        arguments: list[str | bytes | int] = [now, _keep_ms(keep_s), self._prefix, *operation.texts]
        what = _WORDS.get(operation.name, operation.name)
        reply = await self._evaluate(script, key, arguments, what=what)
        return None if isinstance(reply, list) else (json.loads(reply.decode()),)

    async def read(self, key: str) -> Seen:
        """What lies at the key, and the time."""
        raw, seconds, micros = await self._evaluate(plain_script("_read"), key, (), what="read", again=True)
        return Seen(raw, self._now(seconds, micros))

    async def swap(
        self, key: str, expected: bytes | None, text: str | None, keep_s: float | None, signals: Sequence[Signal]
    ) -> tuple[bool, Seen]:
        """See `flight.Trips`."""
        told = [part for channel, message in signals for part in (self._prefix + channel, message)]
        arguments: list[str | bytes | int] = [expected or b"", text or "", _keep_ms(keep_s), *told]
        reply = await self._evaluate(plain_script("_swap"), key, arguments, what="update")
        done, seconds, micros, *other = reply
        now = self._now(seconds, micros)
        if done == b"1":
            return True, Seen(None if text is None else text.encode(), now)
        return False, Seen(other[0] if other else None, now)

    async def names(self, kind: str) -> list[str]:
        """The keys of a kind, sorted."""
        pattern = f"{{{self._namespace}:{kind}/*}}".encode()
        with translated(f"list the keys of {kind!r}", self._where):
            found = await self._route.scan(pattern)
        return sorted(name[len(self._namespace) + 2 : -1].decode() for name in found)

    async def publish(self, channel: str, message: str) -> None:
        """Tell all who listen."""
        name = (self._prefix + channel).encode()
        with translated(f"publish to {channel!r}", self._where):
            await self._route.run(name, ("PUBLISH", name, message))

    def _checked_name(self, key: str) -> bytes:
        return f"{{{self._namespace}:{check_key(key)}}}".encode()

    def _now(self, seconds: bytes, micros: bytes) -> int:
        return int(seconds) * SECOND + int(micros) if self._clock is None else self._clock()

    def _evaluate(
        self, script: Script, key: str, arguments: Sequence[str | bytes | int], *, what: str, again: bool = False
    ) -> Awaitable[Reply]:
        """Run a script on a key."""
        return evaluate(
            self._route, script, (self._name(key),), arguments, what=what, of=key, where=self._where, again=again
        )


def _keep_ms(keep_s: float | None) -> str:
    return "" if keep_s is None else str(max(1, math.ceil(keep_s * 1000)))
