"""A command that is cancelled while it starts: at whatever step, nothing of it survives, and nobody hangs."""

from __future__ import annotations

import asyncio
import os

import pytest

from coterie.command import run_command


@pytest.mark.parametrize("steps", range(12))
async def test_a_command_cancelled_while_it_starts_leaves_nothing(tmp_path, steps):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    work = asyncio.create_task(run_command(["sh", "-c", f"exec 9>{pipe}; sleep 1000 & wait"], kill_grace_s=0.1))
    for _ in range(steps):
        await asyncio.sleep(0)

    work.cancel()
    async with asyncio.timeout(30):
        with pytest.raises(asyncio.CancelledError):
            await work

    # An error would say that somebody still holds the other end.
    assert os.read(descriptor, 1) == b""
    os.close(descriptor)
