"""Which server a command goes to, and when it is sent again, where one server has all keys at a time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from coterie.stores.redis.address import Address
from coterie.stores.redis.dial import dial_server
from coterie.stores.redis.lines import Line
from coterie.stores.redis.policy import RedisPolicy
from coterie.stores.redis.wire import Command, Lost, Push, Refusal, Reply, Wire

__all__ = ["Connect", "Inspector", "On", "Route", "SingleRoute", "pause", "scan", "server_route"]

# Called with each connection that a command is sent on: the last one is that which answered.
On: TypeAlias = Callable[[Wire], object]

# Answers of a server that is no primary any more: nothing was done.
_DEMOTED = frozenset({"READONLY", "MASTERDOWN"})
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.01, 0.5


class Inspector(Protocol):
    """Looks at each connection before the first command about a key is sent on it."""

    def knows(self, wire: Wire) -> bool:
        """Whether it has looked at this one: the quick way."""
        ...

    async def inspect(self, wire: Wire, key: bytes) -> None:
        """Look at it; what this raises is raised to who would have sent the command. key: one that lies there."""
        ...


class Route(Protocol):
    """Brings commands to the right server. Raises what `coterie.stores.redis.failures` translates."""

    async def run(self, key: bytes, command: Command, *, again: bool = False, on: On | None = None) -> Reply:
        """The answer to a command about one key; a server's error is raised.

        again: it may be sent again though it may have been carried out; without, it is sent again only where it
            certainly was not.
        on: told which connection it is sent on.
        """
        ...

    async def scan(self, pattern: bytes) -> set[bytes]:
        """All keys that match, on every server."""
        ...

    async def listen(self, on_push: Push) -> Wire:
        """A connection of one's own, to any server that hears of every message."""
        ...

    async def aclose(self) -> None:
        """End all connections."""
        ...


async def pause(tries: int) -> None:
    """Back off, with full jitter, before the try that follows `tries` others."""
    longest = min(_LAST_PAUSE_S, _FIRST_PAUSE_S * 2**tries)
    await asyncio.sleep(random.uniform(0, longest))  # noqa: S311  # no secret: it only spreads tries


class SingleRoute:
    """All keys on one server; `connect` finds it anew each time.

    may_move: another server may take over, so that one that is no primary any more is left.
    """

    def __init__(
        self, connect: Connect, policy: RedisPolicy, *, may_move: bool, inspector: Inspector | None = None
    ) -> None:
        self._connect = connect
        self._inspector = inspector
        self._policy = policy
        self._may_move = may_move
        self._line = Line(lambda: connect(None), policy)

    async def run(self, key: bytes, command: Command, *, again: bool = False, on: On | None = None) -> Reply:
        """See `Route.run`."""
        deadline = asyncio.get_running_loop().time() + self._policy.op_timeout_s
        tries = 0
        while True:
            wire = self._line.open_wire() or await self._line.wire()
            if on is not None:
                on(wire)
            try:
                if self._inspector is not None and not self._inspector.knows(wire):
                    await self._inspector.inspect(wire, key)
                reply = await wire.send(command)
            except Lost as lost:
                if (lost.sent and not again) or _over(deadline):
                    raise
                continue
            if not isinstance(reply, Refusal):
                return reply
            if not (self._may_move and reply.code in _DEMOTED) or _over(deadline):
                raise reply
            wire.drop("the server is no primary any more")
            await pause(tries)
            tries += 1

    async def scan(self, pattern: bytes) -> set[bytes]:
        """See `Route.scan`."""
        return await scan(lambda command: self.run(b"", command, again=True), pattern)

    async def listen(self, on_push: Push) -> Wire:
        """See `Route.listen`."""
        return await self._connect(on_push)

    async def aclose(self) -> None:
        """See `Route.aclose`."""
        await self._line.aclose()


class Connect(Protocol):
    """Opens a connection to the server that has the keys now. The caller bounds the time."""

    async def __call__(self, on_push: Push | None) -> Wire:
        """on_push: as `Wire` takes it."""
        ...


async def scan(run: Callable[[Command], Awaitable[Reply]], pattern: bytes) -> set[bytes]:
    """All keys of one server that match."""
    found: set[bytes] = set()
    cursor: bytes = b"0"
    while True:
        cursor, keys = await run(("SCAN", cursor, "MATCH", pattern, "COUNT", 1000))
        found.update(keys)
        if cursor == b"0":
            return found


def server_route(address: Address, policy: RedisPolicy, *, inspector: Inspector | None = None) -> SingleRoute:
    """One server, at the address's host or unix socket."""

    async def connect(on_push: Push | None) -> Wire:
        return await dial_server(address, address.hosts[0], policy, on_push=on_push)

    return SingleRoute(connect, policy, may_move=False, inspector=inspector)


def _over(deadline: float) -> bool:
    return asyncio.get_running_loop().time() >= deadline
