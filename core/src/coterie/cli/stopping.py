"""Signals while a run is at work: SIGTERM lets agents finish, Ctrl-C does not, and who repeats himself is impatient."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from coterie.cli.survivors import kill_children
from coterie.errors import Misuse
from coterie.orchestrator import Orchestrator

__all__ = ["Stopping", "Teller"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Teller(Protocol):
    """Whoever tells people how a run goes on."""

    def say(self, line: str) -> None:
        """Say a line on standard error."""
        ...

    def abandon(self) -> None:
        """Leave the terminal as it was: the process ends now."""
        ...


class Stopping:
    """What signals do to one run, in the event loop and the asyncio task that it is made in.

    The first SIGTERM has the orchestrator shut down, which lets agents that are at work finish within its time. SIGINT,
    or a second signal, cancels the run. One more ends the process, and all that it started, at once.

    plan_run: the id of a plan's run, which ends with a result when it is cancelled; without, the task is cancelled.
    """

    def __init__(self, orchestrator: Orchestrator, teller: Teller, *, plan_run: str | None = None) -> None:
        self._orchestrator = orchestrator
        self._teller = teller
        self._plan_run = plan_run
        self._main = asyncio.current_task()
        self._shutting_down: asyncio.Task[None] | None = None
        self._cancelled = False
        self._at_work = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear signals; before and after `at_work` each ends the process by KeyboardInterrupt."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Around the run itself."""
        self._at_work = True
        try:
            yield
        finally:
            self._at_work = False

    def _stop(self, number: int) -> None:
        if self._cancelled:
            self._teller.abandon()
            kill_children()
            os._exit(130)
        timeout_s = self._orchestrator.graceful_shutdown_timeout_s
        if number == signal.SIGTERM and self._shutting_down is None and self._at_work and timeout_s > 0:
            self._teller.say(
                f"stopping: no task begins any more, and those at work have {timeout_s:g} s to finish; "
                "once more to cancel them"
            )
            self._shutting_down = asyncio.get_running_loop().create_task(self._orchestrator.shut_down())
        else:
            self._cancel()

    def _cancel(self) -> None:
        self._cancelled = True
        self._teller.say("cancelling: agents are ended first; once more to end at once")
        if self._plan_run is not None:
            try:
                self._orchestrator.cancel(self._plan_run)
            except Misuse:
                # The run has not begun, or is over, or is being undone.
                pass
            else:
                return
        if self._main is not None:
            self._main.cancel()
