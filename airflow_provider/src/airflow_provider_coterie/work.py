"""Run a coroutine from a blocking Airflow task so that a kill or a time-out ends it, with its child processes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

# It ships no types; Airflow itself depends on it.
import psutil  # type: ignore[import-untyped]
from airflow.sdk.exceptions import AirflowTaskTerminated

from airflow_provider_coterie.executor import is_in_process
from coterie import sync

__all__ = ["Work"]

T = TypeVar("T")

# Airflow kills the task's own process five seconds after the first signal: be done before.
KILL_S = 3.0
TIMEOUT_S = 10.0


class Work:
    """One coroutine at a time, which `stop` may end from a signal handler of the same thread."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = threading.Event()
        self._ended.set()
        self._stopped = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work` in coterie's background loop and return its result.

        Raises:
            AirflowTaskTerminated: `stop` ended it. Whatever Airflow raises in this thread passes through, after
                the work was cancelled and has ended.
        """
        self._ended.clear()
        try:
            return sync.run(self._watched(work))
        except (asyncio.CancelledError, concurrent.futures.CancelledError) as error:
            raise AirflowTaskTerminated("the task was stopped; its agent was ended first") from error
        except BaseException:
            self._end(TIMEOUT_S)
            raise

    def stop(self) -> None:
        """Cancel the work and wait until it has ended; what outlives that is killed. None begins afterwards."""
        self._stopped = True
        self._end(KILL_S)

    async def _watched(self, work: Coroutine[Any, Any, T]) -> T:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            if self._stopped:
                work.close()
                raise asyncio.CancelledError
            return await work
        finally:
            self._task = None
            self._ended.set()

    def _end(self, patience_s: float) -> None:
        task, loop = self._task, self._loop
        if task is None or loop is None:
            return
        children = _descendants()
        loop.call_soon_threadsafe(task.cancel)
        if not self._ended.wait(patience_s):
            for child in {*children, *_descendants()}:
                with suppress(psutil.Error):
                    child.kill()


def _descendants() -> list[psutil.Process]:
    """The processes below this one; none under `dag.test()`, where they may be anybody's."""
    if is_in_process():
        return []
    with suppress(psutil.Error):
        return list(psutil.Process().children(recursive=True))
    return []
