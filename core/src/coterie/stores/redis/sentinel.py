"""Keeps to the primary that sentinels name: finds it, and leaves it as soon as they name another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TypeVar

from coterie.stores.redis.address import Address, Host
from coterie.stores.redis.dial import ask, dial_server
from coterie.stores.redis.policy import RedisPolicy
from coterie.stores.redis.route import Inspector, SingleRoute, pause
from coterie.stores.redis.wire import Push, Refusal, Wire

__all__ = ["SentinelRoute"]

T = TypeVar("T")

_SWITCH = "+switch-master"


class SentinelRoute(SingleRoute):
    """All keys on one primary.

    A primary that was replaced goes on as if nothing had happened until somebody tells it, seconds later, and what it
    takes until then is lost. So one connection listens to a sentinel: at the word that there is another, those to the
    old one are cut.
    """

    def __init__(self, address: Address, policy: RedisPolicy, *, inspector: Inspector | None = None) -> None:
        super().__init__(self._dial, policy, may_move=True, inspector=inspector)
        self._address = address
        self._sentinels = list(address.hosts)
        # Connections to servers, each with where it leads.
        self._wires: list[tuple[Host, Wire]] = []
        self._lookout: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """See `Route.aclose`."""
        if self._lookout is not None:
            self._lookout.cancel()
            await asyncio.wait([self._lookout])
        await super().aclose()

    async def _dial(self, on_push: Push | None) -> Wire:
        if self._lookout is None:
            self._lookout = asyncio.create_task(self._look_out(), name="coterie-redis-sentinel")
        host = await self._first(self._named)
        wire = await dial_server(self._address, host, self._policy, on_push=on_push)
        async with _kept_if_ready(wire):
            role = await ask(wire, "ROLE")
            if role[0] != b"master":
                # The sentinels have not heard yet.
                raise ConnectionError(f"the sentinels name {host} as the primary of {self._service!r}, which it is not")
        self._wires = [(to, other) for to, other in self._wires if other.is_open]
        self._wires.append((host, wire))
        return wire

    @property
    def _service(self) -> str:
        return self._address.service

    async def _look_out(self) -> None:
        """Listen to some sentinel for as long as the store is open."""
        tries = 0
        while True:
            wire: Wire | None = None
            try:
                async with asyncio.timeout(self._policy.connect_timeout_s):
                    wire = await self._first(self._listening)
                tries = 0
                while wire.is_open:
                    # Also what was missed while nobody listened.
                    self._keep_to(await self._asked(wire))
                    await asyncio.wait([wire.ended], timeout=self._policy.ping_every_s)
            except (OSError, Refusal):
                # Callers of the store hear of it by their own commands.
                tries += 1
            finally:
                if wire is not None:
                    wire.drop("the sentinel is not listened to any more")
            await pause(tries)

    async def _listening(self, sentinel: Host) -> Wire:
        wire = await self._reached(sentinel, self._heard)
        async with _kept_if_ready(wire):
            await ask(wire, "SUBSCRIBE", _SWITCH)
        return wire

    def _heard(self, _: bytes, message: bytes) -> None:
        """`service old-host old-port new-host new-port`."""
        with suppress(ValueError):
            service, _old, _port, name, port = message.decode().split(" ")
            if service == self._service:
                self._keep_to(Host(name, int(port)))

    def _keep_to(self, primary: Host | None) -> None:
        for host, wire in self._wires:
            if primary is not None and host != primary:
                wire.drop("the sentinels name another primary")

    async def _named(self, sentinel: Host) -> Host:
        wire = await self._reached(sentinel, None)
        try:
            found = await self._asked(wire)
        finally:
            wire.drop("the sentinel has answered")
        if found is None:
            raise ConnectionError("it knows of none")
        return found

    async def _asked(self, wire: Wire) -> Host | None:
        found = await ask(wire, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        return None if found is None else Host(found[0].decode(), int(found[1]))

    async def _reached(self, sentinel: Host, on_push: Push | None) -> Wire:
        # In RESP3 whatever the servers speak: it lets us ask on the connection that listens.
        address = replace(self._address, protocol=3, login=self._address.sentinel_login, db=0)
        return await dial_server(address, sentinel, self._policy, on_push=on_push)

    async def _first(self, use: Callable[[Host], Awaitable[T]]) -> T:
        """What the first sentinel that can be reached gives; that one is asked first from then on."""
        reasons: list[str] = []
        last: Exception | None = None
        for sentinel in tuple(self._sentinels):
            try:
                async with asyncio.timeout(self._policy.connect_timeout_s / (len(self._sentinels) + 1)):
                    found = await use(sentinel)
            except OSError as error:
                reasons.append(f"{sentinel}: {str(error) or 'no answer'}")
                last = error
                continue
            self._sentinels.remove(sentinel)
            self._sentinels.insert(0, sentinel)
            return found
        raise ConnectionError(f"no sentinel names a primary of {self._service!r} ({'; '.join(reasons)})") from last


@asynccontextmanager
async def _kept_if_ready(wire: Wire) -> AsyncIterator[None]:
    """Also where we are cancelled, or out of time, nobody else knows of the connection."""
    try:
        yield
    except BaseException:
        wire.drop("it was given up while it was made ready")
        raise
