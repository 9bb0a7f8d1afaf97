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
from airflow.sdk.exceptions import AirflowException

from airflow_provider_coterie.executor import is_in_process
from coterie import Orchestrator, sync

__all__ = ["Work"]

T = TypeVar("T")

# Airflow kills the process of a task that a person has ended five seconds after the first signal: with the default
# `graceful_shutdown_timeout_s` of two seconds all is done before.
KILL_S = 2.0
# Between the last agent's end and that of the work: an output is stored, a runtime is closed.
CONCLUDE_S = 0.5
TIMEOUT_S = 10.0


class Work:
    """One coroutine at a time, which `stop` may end from a signal handler of the same thread."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._orchestrator: Orchestrator | None = None
        self._ended = threading.Event()
        self._ended.set()
        self._stopped = False

    def drains(self, orchestrator: Orchestrator) -> None:
        """Have `stop` let the agents of this orchestrator finish first."""
        self._orchestrator = orchestrator

    def run(self, work: Coroutine[Any, Any, T], *, though_stopped: bool = False) -> T:
        """Await `work` in coterie's background loop and return its result.

        though_stopped: also after `stop`: to record what came of the work that it let finish.

        Raises:
            AirflowException: `stop` ended it; a retry goes on with what was not done. Whatever Airflow raises in this
                thread passes through, after the work was cancelled and has ended.
        """
        self._ended.clear()
        try:
            return sync.run(self._watched(work, though_stopped=though_stopped))
        except (asyncio.CancelledError, concurrent.futures.CancelledError) as error:
            # Not "terminated", which Airflow never tries again: a worker that is stopped is no reason to fail.
            raise AirflowException(
                "the task was stopped; its agents were ended first, and what they had not finished was handed back: "
                "a retry goes on with it"
            ) from error
        except BaseException:
            self._end(TIMEOUT_S)
            raise

    def stop(self) -> None:
        """Let agents finish for a while, then cancel the work and wait for its end; what outlives that is killed.

        Nothing begins meanwhile or afterwards. Called again, as by a second signal, it cancels at once.
        """
        again, self._stopped = self._stopped, True
        if again or not self._finishes():
            self._end(KILL_S)

    async def _watched(self, work: Coroutine[Any, Any, T], *, though_stopped: bool) -> T:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            # Looked at only now that `stop` finds the task: it may have come since the work was asked for.
            if self._stopped and not though_stopped:
                work.close()
                raise asyncio.CancelledError
            return await work
        finally:
            self._task = None
            self._ended.set()

    def _finishes(self) -> bool:
        """Have nothing begin any more; whether the work has ended by itself, with those that were at it."""
        task, loop, orchestrator = self._task, self._loop, self._orchestrator
        if task is None or loop is None or orchestrator is None or not orchestrator.graceful_shutdown_timeout_s:
            return False
        draining = asyncio.run_coroutine_threadsafe(orchestrator.drain(), loop)
        concurrent.futures.wait([draining], timeout=orchestrator.graceful_shutdown_timeout_s + CONCLUDE_S)
        return self._ended.wait(CONCLUDE_S)

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
