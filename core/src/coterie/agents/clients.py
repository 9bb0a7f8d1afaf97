"""One HTTP client for each event loop: connections are reused, never shared with another loop or process.

A client ends with its loop (`asyncio.run` and every runner like it close the loop's asynchronous generators; the
client lives in one), or when `aclose_clients` is called. After a fork the child leaves its parent's alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from coterie.errors import Misuse

if TYPE_CHECKING:
    import ssl

    import httpx

__all__ = ["aclose_clients", "borrow_client", "import_httpx"]

_KEPT_ALIVE = 100
_KEEP_ALIVE_S = 30.0


class _Shared:
    """A client, how many calls use it, and whether it closes after the last of them."""

    __slots__ = ("client", "closing", "holder", "loop", "users")

    def __init__(self, loop: asyncio.AbstractEventLoop, client: httpx.AsyncClient) -> None:
        self.loop = loop
        self.client = client
        self.users = 0
        self.closing = False
        self.holder: AsyncGenerator[None, None] = self._hold()

    async def _hold(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if _clients.get(self.loop) is self:
                del _clients[self.loop]
            await self.client.aclose()


_clients: dict[asyncio.AbstractEventLoop, _Shared] = {}
# Of the process this one was forked from. Kept, since even dropping them would touch its sockets.
_inherited: list[dict[asyncio.AbstractEventLoop, _Shared]] = []


@asynccontextmanager
async def borrow_client() -> AsyncIterator[httpx.AsyncClient]:
    """The client of the running event loop, open until the block ends.

    Raises:
        Misuse: httpx is not installed.
    """
    shared = await _of_this_loop()
    shared.users += 1
    try:
        yield shared.client
    finally:
        shared.users -= 1
        if shared.closing and not shared.users:
            await shared.holder.aclose()


async def aclose_clients() -> None:
    """Close the running loop's client: at once, or after the last call that uses it. Later calls get a new one."""
    shared = _clients.pop(asyncio.get_running_loop(), None)
    if shared is None:
        return
    shared.closing = True
    if not shared.users:
        await shared.holder.aclose()


async def _of_this_loop() -> _Shared:
    loop = asyncio.get_running_loop()
    shared = _clients.get(loop)
    if shared is None:
        # Copied first: loops of other threads come and go meanwhile.
        for other in list(_clients):
            if other.is_closed():
                _clients.pop(other, None)
        shared = _clients[loop] = _Shared(loop, _new_client())
        # Begun here, so that this loop knows the generator and closes it when it ends.
        await anext(shared.holder)
    return shared


def import_httpx() -> ModuleType:
    """The module httpx, which the extra `http` brings.

    Raises:
        Misuse: it is not installed.
    """
    try:
        import httpx
    except ImportError as error:
        raise Misuse(f"agents behind HTTP need httpx ({error}); run: pip install 'coterie[http]'") from error
    return httpx


def _new_client() -> httpx.AsyncClient:
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    module = import_httpx()
    client: httpx.AsyncClient = module.AsyncClient(
        verify=_tls(),
        # A cookie of one task's answer must not travel with another's request.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        # How many calls run at a time is the agents' capacity, not a connection pool's.
        limits=module.Limits(
            max_connections=None, max_keepalive_connections=_KEPT_ALIVE, keepalive_expiry=_KEEP_ALIVE_S
        ),
    )
    return client


@cache
def _tls() -> ssl.SSLContext:
    """Made once a process: it reads every root certificate, which takes longer than many a call."""
    context: ssl.SSLContext = import_httpx().create_ssl_context()
    return context


def _leave_to_parent() -> None:
    global _clients  # noqa: PLW0603
    if _clients:
        _inherited.append(_clients)
        _clients = {}


os.register_at_fork(after_in_child=_leave_to_parent)
