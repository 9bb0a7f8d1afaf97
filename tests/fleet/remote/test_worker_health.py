"""What a worker answers to whoever asks for its health, and to whoever only disturbs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from coterie.remote import Worker
from tests.fleet.remote.fleet import Fleet
from tests.fleet.remote.held import Held


async def test_health_checks_say_whether_it_is_ready(fleet: Fleet):
    async with fleet.worker(Held().team, health=("127.0.0.1", 0), worker_id="w") as worker:
        live = await asked(worker, "GET /live HTTP/1.1\r\n\r\n")
        ready = await asked(worker, "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
        other = await asked(worker, "GET /other HTTP/1.1\r\n\r\n")
        wrong = await asked(worker, "nonsense\r\n\r\n")
        worker.stop()
        stopping = await asked(worker, "GET /ready HTTP/1.1\r\n\r\n")

    assert [found[0] for found in (live, ready, other, wrong, stopping)] == [200, 200, 404, 405, 503]
    assert ready[1] == {
        "ready": True,
        "worker": "w",
        "types": ["held"],
        "capacity": 4,
        "in_use": 0,
        "draining": False,
    }


async def test_whoever_leaves_connections_open_or_sends_nonsense_shuts_no_health_check_out(fleet: Fleet):
    async with fleet.worker(Held().team, health=("127.0.0.1", 0)) as worker:
        assert worker.health is not None
        port = worker.health.port
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(80)]
        for number, (_, writer) in enumerate(idle):
            writer.write(b"GET /ready HTTP/1.1\r\nX: " if number % 2 else b"\xff\x00" * 9000)
        found = await asked(worker, "GET /ready HTTP/1.1\r\n\r\n")
        # So many have given way.
        ends = await asyncio.gather(*(reader.read() for reader, _ in idle[:16]), return_exceptions=True)
        head, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HEAD /live HTTP/1.1\r\n\r\n")
        answer = await asyncio.wait_for(head.read(), 5)
        for _, each in [*idle, (head, writer)]:
            each.close()

    assert found[0] == 200
    assert all(end == b"" or isinstance(end, ConnectionError) for end in ends)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")


async def asked(worker: Worker, request: str) -> tuple[int, Any]:
    assert worker.health is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.health.port)
    writer.write(request.encode())
    answer = (await asyncio.wait_for(reader.read(), 5)).decode()
    writer.close()
    return int(answer.split(" ")[1]), json.loads(answer.partition("\r\n\r\n")[2])
