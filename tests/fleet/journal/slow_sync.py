"""A server that says it syncs every second, does so when the test has it, and whose power can be cut.

Stands before a Valkey that syncs at once. What the file held when the test last had it synced is what is there after
the power was cut; the rest of the file is thrown away.

async with SlowSync(server) as slow:
    store = open_redis_journal(slow.url, "default")
    slow.sync()
    slow.cut_power()
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import hiredis

from tests.support.redis_servers import HOST, SYNCED, Server

__all__ = ["SLOWLY_SYNCED", "SlowSync"]

# No file is written anew meanwhile, so that it only grows.
SLOWLY_SYNCED = (*SYNCED, "--auto-aof-rewrite-percentage", "0")
_CHUNK = 2**16


class SlowSync:
    """every_s: how often it syncs by itself; None: only when told.

    lies: whether it answers WAITAOF at once, as some do. waiting: how many wait for the next sync.
    fails: what WAITAOF is answered instead, a line of the protocol.
    """

    def __init__(self, server: Server, *, every_s: float | None = None) -> None:
        self.lies = False
        self.fails: bytes | None = None
        self.asked = 0
        self.server = server
        self._every_s = every_s
        self._synced_bytes = 0
        self._next_sync = asyncio.Event()
        self._waiting = 0
        self._listening: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        assert self._listening is not None, "use `async with`"
        return f"redis://{HOST}:{self._listening.sockets[0].getsockname()[1]}/0"

    @property
    def waiting(self) -> int:
        """How many wait for the next sync."""
        return self._waiting

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._serve, HOST, 0)
        if self._every_s is not None:
            self._keep(asyncio.create_task(self._sync_by_itself(self._every_s)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listening is not None
        self._listening.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def texts(self, run: str) -> int:
        """How many texts it has taken, on disk or not."""
        with self.server.client() as client:
            return int(client.hlen(f"{{ns:run/{run}}}"))

    def sync(self) -> None:
        """What it has taken until now is on disk; who waits for that is told."""
        self._synced_bytes = self._file().stat().st_size
        done, self._next_sync = self._next_sync, asyncio.Event()
        done.set()

    def cut_power(self) -> None:
        """End it, lose what was not synced, and start it again."""
        self.server.kill()
        for writer in self._writers:
            writer.transport.abort()
        with self._file().open("r+b") as file:
            file.truncate(self._synced_bytes)
        self.server.start()

    def _file(self) -> Path:
        (file,) = (self.server.folder / "appendonlydir").glob("*.incr.aof")
        return file

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sync_by_itself(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            self.sync()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._keep(task)
        self._writers.add(writer)
        requests: asyncio.StreamWriter | None = None
        try:
            with suppress(OSError):
                answers, requests = await asyncio.open_connection(HOST, self.server.port)
                await self._converse(reader, writer, answers, requests)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()
            if requests is not None:
                requests.transport.abort()

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        requests: asyncio.StreamWriter,
    ) -> None:
        """One command after the other, so that each answer is known to be that to its command."""
        commands = hiredis.Reader()
        while data := await reader.read(_CHUNK):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                if command[0] == b"WAITAOF" and command[1] == b"1":
                    answer = await self._synced(float(command[3]) / 1000)
                else:
                    requests.write(hiredis.pack_command(tuple(command)))
                    answer = await _whole(answers)
                    if command[0] == b"CONFIG":
                        answer = answer.replace(b"$6\r\nalways\r\n", b"$8\r\neverysec\r\n")
                writer.write(answer)
                await writer.drain()

    async def _synced(self, timeout_s: float) -> bytes:
        self.asked += 1
        if self.fails is not None:
            return self.fails + b"\r\n"
        synced = self._next_sync
        self._waiting += 1
        try:
            if not self.lies:
                await asyncio.wait_for(synced.wait(), timeout_s)
        except TimeoutError:
            return b"*2\r\n:0\r\n:0\r\n"
        finally:
            self._waiting -= 1
        return b"*2\r\n:1\r\n:0\r\n"


async def _whole(answers: asyncio.StreamReader) -> bytes:
    """The next answer, as it was sent."""
    replies, whole = hiredis.Reader(replyError=ValueError), b""
    while True:
        data = await answers.read(_CHUNK)
        if not data:
            raise ConnectionError("the server has gone")
        whole += data
        replies.feed(data)
        if replies.gets() is not False:
            return whole
