"""Workers for tests: in a thread of this process, or as `coterie worker` in a process of their own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

from coterie import Runtime
from coterie.remote import Worker

REPOSITORY = Path(__file__).resolve().parents[2]


@contextmanager
def worker_in_thread(team, *, store, artifacts, **options):
    """One that works until the block ends."""
    started, found = threading.Event(), {}

    async def work():
        async with Runtime(team, artifacts=artifacts, store=store, journal=True) as runtime:
            worker = found["worker"] = Worker(runtime, **options)
            found["loop"] = asyncio.get_running_loop()
            started.set()
            await worker.run()

    thread = threading.Thread(target=asyncio.run, args=(work(),), daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield found["worker"]
    finally:
        found["loop"].call_soon_threadsafe(found["worker"].stop)
        thread.join(30)
        assert not thread.is_alive()


async def until(condition):
    """Wait for what is to come, however busy the machine is; `condition` may be a coroutine function."""
    async with asyncio.timeout(60):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.02)


class WorkerProcess:
    """`coterie worker` in a process of its own; use it as a context manager."""

    def __init__(self, team_path, *, store, artifacts, log, name="tests", arguments=()):
        self.log = log
        self._command = [str(Path(sys.executable).parent / "coterie"), "worker", "--team", team_path]
        self._command += ["--store", store, "--artifacts", artifacts, "--id", name, *arguments]
        self._process = None

    def __enter__(self):
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                start_new_session=True,
            )
        return self

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def said(self):
        return self.log.read_text("utf-8", "replace")

    def kill(self):
        self._process.kill()
        self._process.wait()
