"""Processes share a bus, and what one of them held when it died goes to another at once."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from coterie.bus import EventBus
from tests.fleet.bus.buses import LONG_S

HOLDER = Path(__file__).with_name("holder.py")


@pytest.fixture(params=["sqlite", "redis"])
def log_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.getfixturevalue("bus_server")) if request.param == "redis" else f"sqlite://{tmp_path}/state.db"


async def test_what_a_killed_process_held_goes_to_another_long_before_its_lease_ends(
    bus: EventBus, log_url: str, namespace: str
):
    await bus.publish_all([bus.event("com.example.a", number, key=f"k{number}") for number in range(3)])
    holder = await asyncio.create_subprocess_exec(
        sys.executable, str(HOLDER), log_url, namespace, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    async with asyncio.timeout(LONG_S):
        assert [int(await holder.stdout.readline()) for _ in range(3)] == [0, 1, 2]

    async with bus.subscribe(group="g", lease_s=3600) as events, asyncio.timeout(LONG_S):
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.1)
        assert not waiting.done()

        holder.send_signal(signal.SIGKILL)
        await holder.wait()
        first = await waiting
        got = [first, *[await anext(events) for _ in range(2)]]

        assert sorted((one.event.data, one.number) for one in got) == [(0, 2), (1, 2), (2, 2)]
        assert [failure.reason for failure in first.failures] == ["the consumer died"]


async def test_a_process_that_ends_orderly_gives_back_what_it_holds_uncounted(
    bus: EventBus, log_url: str, namespace: str
):
    await bus.publish_all([bus.event("com.example.a", number) for number in range(3)])
    holder = await asyncio.create_subprocess_exec(
        sys.executable, str(HOLDER), log_url, namespace, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    async with asyncio.timeout(LONG_S):
        await holder.stdout.readuntil(b"2\n")
    # As Ctrl-C: the event loop cancels what runs.
    holder.send_signal(signal.SIGINT)
    await holder.wait()

    async with bus.subscribe(group="g", lease_s=3600) as events, asyncio.timeout(LONG_S):
        assert [(one.number, one.failures) for one in [await anext(events) for _ in range(3)]] == [(1, ())] * 3
