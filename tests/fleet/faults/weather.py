"""Bad weather between shells and their store: what may befall a connection, a server and its clock, one at a time.

Each fault ends by itself, and leaves the store reachable again. All chance comes from a seed, which failures name.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from coterie.stores.redis import RedisPolicy, RedisStateStore, open_redis
from tests.fleet.faults.skewed import SkewedServer
from tests.support.redis_servers import HOST
from tests.support.tcp_proxy import TcpProxy

__all__ = ["BRIEF", "HASTY", "LONG", "Strikes", "Weather", "seeded", "until"]

# Short, so that tests of silence are.
HASTY = RedisPolicy(
    connect_timeout_s=0.5, op_timeout_s=0.5, update_timeout_s=1.0, ping_every_s=0.2, close_timeout_s=0.2
)
# What takes no time, and what takes longer than an operation may.
BRIEF = ("cut", "request lost", "request torn", "answer lost", "answer torn", "half closed", "scripts flushed")
LONG = ("slow", "silent", "refusing", "frozen", "killed")
# Longer than anything takes that is not wedged, on a machine that is busy.
PATIENCE_S = 30.0


class Strikes(Protocol):
    """Whatever may befall a store."""

    async def strike(self, fault: str) -> None:
        """Have it happen, and wait until it is over."""


class Weather:
    """A server that keeps its state over a kill, and a proxy before it. `strikes`: how many faults there were."""

    def __init__(self, server: SkewedServer, proxy: TcpProxy) -> None:
        self.server = server
        self.proxy = proxy
        self.strikes = 0
        self._faults: Mapping[str, Callable[[], Awaitable[None]]] = {
            "cut": self._now(proxy.cut),
            "request lost": self._at_next(proxy.cut_at_next_request, torn=False),
            "request torn": self._at_next(proxy.cut_at_next_request, torn=True),
            "answer lost": self._at_next(proxy.cut_at_next_answer, torn=False),
            "answer torn": self._at_next(proxy.cut_at_next_answer, torn=True),
            "half closed": self._now(proxy.half_close),
            "scripts flushed": self._flush_scripts,
            "slow": self._slow,
            "silent": self._silent,
            "refusing": self._refusing,
            "frozen": self._frozen,
            "killed": self._killed,
            "killed and emptied": self._emptied,
            "clock set forward": lambda: self._leap(3600.0),
            "clock set back": lambda: self._leap(-3600.0),
        }

    def open(self, namespace: str) -> RedisStateStore:
        """A store of its own connections, as another process would have them."""
        return open_redis(f"redis://{HOST}:{self.proxy.port}", namespace, policy=HASTY)

    async def strike(self, fault: str) -> None:
        """Have it happen, and wait until it is over."""
        self.strikes += 1
        await self._faults[fault]()

    @staticmethod
    def _now(how: Callable[[], None]) -> Callable[[], Awaitable[None]]:
        async def strike() -> None:
            how()
            await asyncio.sleep(0.05)

        return strike

    @staticmethod
    def _at_next(how: Callable[..., None], *, torn: bool) -> Callable[[], Awaitable[None]]:
        async def strike() -> None:
            # Several in a row, so that whatever is said next to set things right is struck too.
            for _ in range(3):
                how(torn=torn)
                await asyncio.sleep(0.03)

        return strike

    async def _flush_scripts(self) -> None:
        await asyncio.to_thread(self._flush)

    def _flush(self) -> None:
        with self.server.client() as client:
            client.script_flush()

    async def _slow(self) -> None:
        self.proxy.delay_s = 0.1
        await asyncio.sleep(0.5)
        self.proxy.delay_s = 0.0

    async def _silent(self) -> None:
        self.proxy.stall()
        await asyncio.sleep(1.3)
        self.proxy.flow()

    async def _refusing(self) -> None:
        self.proxy.refuse()
        self.proxy.cut()
        await asyncio.sleep(0.5)
        self.proxy.accept()

    async def _frozen(self) -> None:
        self.server.pause()
        await asyncio.sleep(1.3)
        self.server.resume()

    async def _killed(self) -> None:
        await asyncio.to_thread(self.server.kill)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(self.server.start)

    async def _emptied(self) -> None:
        await asyncio.to_thread(self.server.kill)
        for path in (self.server.folder / "appendonlydir").glob("*"):
            path.unlink()
        await asyncio.to_thread(self.server.start)

    async def _leap(self, seconds: float) -> None:
        self.server.skew_s += seconds
        await asyncio.sleep(0.2)


@contextmanager
def seeded(seed: int | None) -> Iterator[random.Random]:
    """All chance of one test; a failure says what to run it with again."""
    seed = random.randrange(10**6) if seed is None else seed
    try:
        yield random.Random(seed)
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise


async def until(holds: Callable[[], Any], what: str, *, within_s: float = PATIENCE_S) -> None:
    """Look again and again until it holds; it may be a coroutine function."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                seen = holds()
                if await seen if isinstance(seen, Awaitable) else seen:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never came: {what}") from None
