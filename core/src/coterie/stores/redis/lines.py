"""Connections that are made when first needed and made again once lost, one for each server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from coterie.stores.redis.policy import RedisPolicy
from coterie.stores.redis.wire import Lost, Wire

__all__ = ["Line"]

_CLOSED = "the store was closed"


class Line:
    """The one connection to a server, shared by all tasks. `connect` opens one, and takes as long as it likes."""

    def __init__(self, connect: Callable[[], Awaitable[Wire]], policy: RedisPolicy) -> None:
        self._connect = connect
        self._policy = policy
        self._wire: Wire | None = None
        self._opening: asyncio.Task[Wire] | None = None
        self._closed = False

    def open_wire(self) -> Wire | None:
        """The connection, if there is one: the quick way."""
        wire = self._wire
        return wire if wire is not None and wire.is_open else None

    @property
    def is_used(self) -> bool:
        """Whether there is a connection, or an attempt at one."""
        return self._opening is not None or self.open_wire() is not None

    async def wire(self) -> Wire:
        """The connection, opened if need be. All who wait for it share one attempt, and what it fails with.

        Raises:
            OSError, Refusal: no connection within `connect_timeout_s`, or closed.
        """
        if (wire := self.open_wire()) is not None:
            return wire
        if self._closed:
            raise Lost(_CLOSED, sent=False)
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="coterie-redis-connect")
            self._opening.add_done_callback(_heard)
        attempt = self._opening
        # A caller who is cancelled leaves the attempt to the others.
        await asyncio.wait([attempt])
        if attempt.cancelled():
            raise Lost(_CLOSED, sent=False)
        return attempt.result()

    async def aclose(self) -> None:
        """End the connection, or the attempt at one, for good."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if self._wire is not None:
            await self._wire.aclose(self._policy.close_timeout_s)

    async def _open(self) -> Wire:
        try:
            async with asyncio.timeout(self._policy.connect_timeout_s):
                self._wire = await self._connect()
        except TimeoutError as error:
            raise TimeoutError(f"no connection within {self._policy.connect_timeout_s:g} s") from error
        finally:
            self._opening = None
        return self._wire


def _heard(attempt: asyncio.Task[Wire]) -> None:
    """Where all who waited were cancelled, nobody is left to be told why it failed."""
    if not attempt.cancelled():
        attempt.exception()
