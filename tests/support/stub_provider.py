"""A stand-in for a remote agent: an HTTP server that answers as it was told, and remembers every request.

In a test, `with serving() as provider:` runs it in a thread. As a program, which needs nothing but Python,
`python -m tests.support.stub_provider --port 0` prints its address and runs until SIGTERM or SIGINT.

It echoes what it is sent, and speaks chat completions on paths that end with `/chat/completions`, until told
otherwise:

    POST /-/script   {"path": "/a", "behaviours": [{"status": 503, "retry_after": "2", "times": 3}, {}]}
    POST /-/fail     {"status": 503}      every path, until healed; any field of `Behaviour` (default: 503)
    POST /-/heal                          forget what it was told
    POST /-/release                       answer what is held
    GET  /-/requests                      what it was asked, as JSON; DELETE forgets it
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any, Literal

__all__ = ["Behaviour", "Seen", "StubProvider", "serving"]

EVERY_PATH = "*"
WAIT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How a request is answered.

    body: JSON; None for an echo. text: instead of it, as it is. chat: instead of it, a chat completion saying this.
    usage: of a chat completion, prompt and completion tokens; None leaves them out.
    delay_s: before the answer. hold: not before `release`, whatever `delay_s` says.
    fault: `reset` and `close` give no answer, `cut` half of one, `half_json` a whole one with half the JSON,
        `endless` one without end.
    times: for so many requests; None for all that follow.
    """

    status: int = 200
    body: Any = None
    text: str | None = None
    chat: str | None = None
    usage: tuple[int, int] | None = (100, 20)
    finish_reason: str = "stop"
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: str | None = None
    location: str | None = None
    delay_s: float = 0.0
    hold: bool = False
    fault: Literal["reset", "close", "cut", "half_json", "endless"] | None = None
    times: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """One request. at: seconds since the epoch. connection: counts from 1. headers: names in lower case."""

    at: float
    connection: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: str

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class StubProvider:
    """The server. `requests` holds what it was asked; every method may be called from any thread."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Seen] = []
        self.sent_bytes = 0
        self._scripts: dict[str, deque[Behaviour]] = {}
        self._given: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._connections = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._held: list[asyncio.Event] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def script(self, *behaviours: Behaviour, path: str = EVERY_PATH) -> None:
        """Answer so from now on, one behaviour after the other; the last one stays."""
        with self._changed:
            self._scripts[path] = deque(behaviours)
            self._given[path] = 0

    def heal(self) -> None:
        """Forget every script."""
        with self._changed:
            self._scripts.clear()

    def release(self) -> None:
        """Answer what is held."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._let_go)

    def wait_for_requests(self, count: int) -> None:
        """Block until so many requests have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, WAIT_S), f"{len(self.requests)} came"

    def wait_for_disconnect(self) -> None:
        """Block until no connection is open."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._open, WAIT_S), f"{len(self._open)} are still open"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> asyncio.Server:
        """Listen in the running event loop."""
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._serve, host, port)
        self.url = f"http://{host}:{server.sockets[0].getsockname()[1]}"
        return server

    def disconnect(self) -> None:
        """In its loop: end every connection at once."""
        self._let_go()
        for writer in list(self._open):
            writer.transport.abort()

    def _let_go(self) -> None:
        for event in self._held:
            event.set()
        self._held.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._changed:
            self._connections += 1
            number = self._connections
            self._open.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one(reader, writer, number):
                    pass
        finally:
            writer.transport.abort()
            with self._changed:
                self._open.discard(writer)
                self._changed.notify_all()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> bool:
        """Answer one request; whether the connection stays open."""
        method, path, _ = (await reader.readuntil(b"\r\n")).decode().split()
        headers = {}
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
        if path.startswith("/-/"):
            status, answer = self._obey(method, path, json.loads(body or "{}"))
            await self._send(writer, status, json.dumps(answer).encode(), {})
            return True
        behaviour = self._next(path)
        with self._changed:
            self.requests.append(Seen(time.time(), connection, method, path, headers, body))
            self._changed.notify_all()
        return await self._behave(behaviour, path, body, reader, writer)

    def _obey(self, method: str, path: str, told: dict[str, Any]) -> tuple[int, Any]:
        match method, path:
            case "POST", "/-/script":
                self.script(*(Behaviour(**each) for each in told["behaviours"]), path=told.get("path", EVERY_PATH))
            case "POST", "/-/fail":
                self.heal()
                self.script(Behaviour(**{"status": 503, **told}))
            case "POST", "/-/heal":
                self.heal()
            case "POST", "/-/release":
                self._let_go()
            case "GET", "/-/requests":
                return 200, [asdict(seen) for seen in self.requests]
            case "DELETE", "/-/requests":
                self.requests.clear()
            case _:
                return 404, {"error": f"there is no {method} {path}"}
        return 200, {}

    def _next(self, path: str) -> Behaviour:
        with self._changed:
            key = path if path in self._scripts else EVERY_PATH
            script = self._scripts.get(key)
            if not script:
                return Behaviour()
            behaviour = script[0]
            self._given[key] += 1
            # The last one stays, unless it was counted too.
            if self._given[key] >= (behaviour.times or 1) and (len(script) > 1 or behaviour.times is not None):
                script.popleft()
                self._given[key] = 0
            return behaviour

    async def _wait(self, behaviour: Behaviour, reader: asyncio.StreamReader) -> bool:
        """Hold the answer back; whether the other end is still there then."""
        event = asyncio.Event()
        if behaviour.hold:
            self._held.append(event)
        released = asyncio.ensure_future(event.wait() if behaviour.hold else asyncio.sleep(behaviour.delay_s))
        # Nothing more comes before the answer: what can be read is the end.
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait([released, gone], return_when=asyncio.FIRST_COMPLETED)
            return not gone.done()
        finally:
            released.cancel()
            gone.cancel()
            await asyncio.gather(released, gone, return_exceptions=True)

    async def _behave(
        self,
        behaviour: Behaviour,
        path: str,
        body: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        if (behaviour.hold or behaviour.delay_s) and not await self._wait(behaviour, reader):
            return False
        if behaviour.fault == "reset":
            # Closed with no time to linger, the connection is reset.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if behaviour.fault == "close":
            return False
        headers = {"Content-Type": behaviour.content_type, **behaviour.headers}
        if behaviour.retry_after is not None:
            headers["Retry-After"] = behaviour.retry_after
        if behaviour.location is not None:
            headers["Location"] = behaviour.location
        if behaviour.fault == "endless":
            await self._send_for_ever(writer, behaviour.status, headers)
        content = _content(behaviour, path, body)
        if behaviour.fault == "half_json":
            content = content[: len(content) // 2]
        if behaviour.fault == "cut":
            await self._send(writer, behaviour.status, content[: len(content) // 2], headers, said=len(content))
            writer.close()
            return False
        await self._send(writer, behaviour.status, content, headers)
        return True

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        content: bytes,
        headers: Mapping[str, str],
        *,
        said: int | None = None,
    ) -> None:
        length = (
            {} if status == HTTPStatus.NO_CONTENT else {"Content-Length": str(len(content) if said is None else said)}
        )
        writer.write(_head(status, {**headers, **length}) + content)
        await writer.drain()

    async def _send_for_ever(self, writer: asyncio.StreamWriter, status: int, headers: Mapping[str, str]) -> None:
        writer.write(_head(status, {**headers, "Transfer-Encoding": "chunked"}))
        while True:
            writer.write(b"1000\r\n" + b"[" * 4096 + b"\r\n")
            self.sent_bytes += 4096
            await writer.drain()


def _content(behaviour: Behaviour, path: str, body: str) -> bytes:
    if behaviour.status == HTTPStatus.NO_CONTENT:
        return b""
    if behaviour.text is not None:
        return behaviour.text.encode()
    if behaviour.body is not None:
        return json.dumps(behaviour.body).encode()
    asked = json.loads(body or "null")
    if behaviour.chat is None and not path.partition("?")[0].endswith("/chat/completions"):
        return json.dumps({"echo": asked}).encode()
    answer: dict[str, Any] = {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": asked["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": behaviour.chat or asked["messages"][-1]["content"]},
                "finish_reason": behaviour.finish_reason,
            }
        ],
    }
    if behaviour.usage is not None:
        prompt, completion = behaviour.usage
        answer["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
    return json.dumps(answer).encode()


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    # Of 204 HTTP allows no length.
    kept = {n: v for n, v in headers.items() if n != "Content-Length" or status != HTTPStatus.NO_CONTENT}
    lines = [f"HTTP/1.1 {status} Stub", *(f"{name}: {value}" for name, value in kept.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@contextmanager
def serving() -> Iterator[StubProvider]:
    """A server in a thread of its own, on a free port; ended with the block, connections and all."""
    provider = StubProvider()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="stub-provider")
    thread.start()

    async def stop() -> None:
        server.close()
        provider.disconnect()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        server = asyncio.run_coroutine_threadsafe(provider.start(), loop).result(WAIT_S)
        try:
            yield provider
        finally:
            asyncio.run_coroutine_threadsafe(stop(), loop).result(WAIT_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _run(host: str, port: int) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    provider = StubProvider()
    server = await provider.start(host, port)
    sys.stdout.write(f"{provider.url}\n")
    sys.stdout.flush()
    await ended.wait()
    server.close()
    provider.disconnect()


def main() -> None:
    """Run the server until told to end."""
    parser = argparse.ArgumentParser(description="A remote agent that answers as it is told; see POST /-/script.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.host, arguments.port))


if __name__ == "__main__":
    main()
