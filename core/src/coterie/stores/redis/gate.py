"""Waits until what a server has taken is on its disk, once for all who wait at the same time (group commit)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from coterie._rules.timeline import SECOND
from coterie.errors import Unavailable
from coterie.stores.redis.address import Address, Host
from coterie.stores.redis.dial import ask, dial_server
from coterie.stores.redis.lines import Line
from coterie.stores.redis.policy import RedisJournalPolicy
from coterie.stores.redis.scripts import plain_script
from coterie.stores.redis.wire import Command, Refusal, Reply, Wire

__all__ = ["Gate", "sync", "tells_the_truth"]

# A server that syncs once a second cannot have synced for two, one after the other, in less than that.
NEARLY_A_SECOND = 900_000
# So long after its last sync it is asked for the next: whoever comes later has to wait for the one after that.
_ASK_AFTER_S = 0.7
_GATHER_S = 0.01
_FIRST_WAIT_S = 0.02
_KNOWN = 4096

# Who waits, and the key that it is about.
_Waiter: TypeAlias = tuple[asyncio.Future[None], bytes]


async def sync(wire: Wire, key: bytes, *, replicas: int, timeout_s: float) -> None:
    """Return once all that the server took before is on disk. key: one of ours, in a slot of that server.

    WAITAOF waits for what its own connection wrote last, not for what others did, or what it has read; so something is
    written first that leaves nothing behind.

    Raises:
        TimeoutError: it was not on disk in time.
        Refusal, Lost: the server does not do it.
    """
    if replicas:
        await _sync_others(wire, key, replicas, timeout_s)
    else:
        _check(await _ask_all(wire, _barrier(key, 0, timeout_s)), 0, timeout_s)


async def _sync_others(wire: Wire, key: bytes, replicas: int, timeout_s: float) -> None:
    """WAITAOF has each replica asked once; one that has not synced yet says so, and nothing more for a second."""
    clock = asyncio.get_running_loop().time
    deadline, wait_s = clock() + timeout_s, _FIRST_WAIT_S
    (wrote,) = await _ask_all(wire, _barrier(key, replicas, timeout_s)[:1])
    while True:
        last = clock() + wait_s >= deadline
        (done,) = await _ask_all(wire, _barrier(key, replicas, max(0.0, min(wait_s, deadline - clock())))[1:])
        if last or (done[0] >= 1 and done[1] >= replicas):
            _check([wrote, done], replicas, timeout_s)
            return
        wait_s *= 2


async def tells_the_truth(wire: Wire, key: bytes, *, timeout_s: float) -> bool:
    """Whether the server waits for its sync, which it begins once a second at most, before it says that it has synced.

    Some do not: the defect came with Redis 7.4, was mended there in 2025, and is in Valkey 9.1 still. All is timed by
    the server, so that nobody is taken for honest because we are slow.

    Raises:
        TimeoutError, Refusal, Lost: nothing was found out.
    """
    barrier = _barrier(key, 0, timeout_s)
    begun, *told, ended = await _ask_all(wire, (("TIME",), *barrier, *barrier, ("TIME",)))
    _check(told[:2], 0, timeout_s)
    _check(told[2:], 0, timeout_s)
    return _micros(ended) - _micros(begun) >= NEARLY_A_SECOND


class Gate:
    """Of one server process: a connection of its own, since WAITAOF holds up whatever comes after it.

    run_id: of that process. Another one in its place knows nothing of what this one had taken.
    every_second: how often it syncs; else it does at once.
    """

    def __init__(
        self,
        address: Address,
        host: Host,
        policy: RedisJournalPolicy,
        *,
        run_id: str,
        every_second: bool,
        where: str,
    ) -> None:
        self._every_second = every_second
        self._synced_at = -math.inf
        self._address = address
        self.host = host
        self._policy = policy
        self._patient = replace(policy, op_timeout_s=policy.op_timeout_s + policy.durable_timeout_s)
        self._run_id = run_id
        self._where = where
        self._line = Line(self._connect, policy)
        self._waiting: list[_Waiter] = []
        self._task: asyncio.Task[None] | None = None
        # By run, the newest of its versions that is known to be on disk.
        self._known: dict[str, int] = {}

    async def is_to_be_trusted(self, key: bytes) -> bool:
        """See `tells_the_truth`; one that syncs at once is.

        Raises:
            OSError, Refusal: nothing was found out.
        """
        if not self._every_second:
            return True
        return await tells_the_truth(await self._line.wire(), key, timeout_s=self._policy.durable_timeout_s)

    async def passed(self, key: bytes, run: str, version: int | None) -> None:
        """Return once all that the server answered until now is on disk. version: of the run, as far as it is known.

        Raises:
            Unavailable: it is not known whether it is.
        """
        if version is not None and self._known.get(run) == version:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append((waiter, key))
        if self._task is None:
            self._task = asyncio.create_task(self._sync_all(), name="coterie-redis-durable")
        await waiter
        if version is not None and version > self._known.get(run, 0):
            self._remember(run, version)

    async def aclose(self) -> None:
        """End the connection; who waits is told that it is not known."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._close_on(self._waiting)
        await self._line.aclose()

    def _remember(self, run: str, version: int) -> None:
        self._known.pop(run, None)
        while len(self._known) >= _KNOWN:
            del self._known[next(iter(self._known))]
        self._known[run] = version

    async def _sync_all(self) -> None:
        taken: list[_Waiter] = []
        clock = asyncio.get_running_loop().time
        try:
            while self._waiting:
                if self._every_second:
                    await asyncio.sleep(max(_GATHER_S, self._synced_at + _ASK_AFTER_S - clock()))
                taken, self._waiting = self._waiting, []
                try:
                    wire = await self._line.wire()
                    timeout_s, replicas = self._policy.durable_timeout_s, self._policy.replicas
                    await sync(wire, taken[0][1], replicas=replicas, timeout_s=timeout_s)
                    self._synced_at = clock()
                except (OSError, Refusal) as error:
                    _fail(taken, self._where, error)
                else:
                    for waiter, _ in taken:
                        if not waiter.done():
                            waiter.set_result(None)
        finally:
            self._task = None
            self._close_on(taken)

    def _close_on(self, waiting: Iterable[_Waiter]) -> None:
        _fail(waiting, self._where, ConnectionError("the store was closed"))

    async def _connect(self) -> Wire:
        wire = await dial_server(self._address, self.host, self._patient)
        is_right = False
        try:
            is_right = f"run_id:{self._run_id}".encode() in await ask(wire, "INFO", "server")
        finally:
            if not is_right:
                # Also when cancelled or out of time: nobody else knows of the connection.
                wire.drop("it was given up while it was made ready")
        if not is_right:
            raise ConnectionError("another server has taken its place")
        return wire


def _barrier(key: bytes, replicas: int, timeout_s: float) -> tuple[Command, Command]:
    within_ms = max(1, round(timeout_s * 1000))
    return ("EVAL", plain_script("_journal_sync").text, 1, key), ("WAITAOF", 1, replicas, within_ms)


async def _ask_all(wire: Wire, commands: Iterable[Command]) -> list[Reply]:
    """The answers to commands that leave together; the first error among them is raised."""
    replies = await asyncio.gather(*(wire.send(command) for command in commands))
    for reply in replies:
        if isinstance(reply, Refusal):
            raise reply
    return replies


def _check(told: list[Reply], replicas: int, timeout_s: float) -> None:
    _, (local, others) = told
    if local < 1 or others < replicas:
        besides = f", and on that of {others} of {replicas} replicas" if replicas else ""
        raise TimeoutError(f"within {timeout_s:g} s it was on the disk of {local} of 1 servers{besides}")


def _micros(time: Sequence[bytes]) -> int:
    return int(time[0]) * SECOND + int(time[1])


def _fail(waiting: Iterable[_Waiter], where: str, reason: Exception) -> None:
    """Each gets an error of its own: one that is shared would gather the traces of all."""
    for waiter, _ in waiting:
        if not waiter.done():
            why = str(reason) or type(reason).__name__
            error = Unavailable(
                f"{where} has answered, but whether that is durable is not known: {why}; try again later"
            )
            error.__cause__ = reason
            waiter.set_exception(error)
