"""SIGTERM to a flow run's process: agents that are at work may finish, before Prefect ends the run as ever.

Prefect's own handler ends the event loop on the spot. While agents may be at work here, another stands before it: it
has nothing begin any more, waits for those that are at work, and then passes the signal on. Where a person has
cancelled the flow run, which its state tells, nobody waits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context, copy_context
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.states import Cancelled

if TYPE_CHECKING:
    from coterie import Orchestrator

__all__ = ["drained", "graceful"]

_log = logging.getLogger("coterie.shutdown")

_Previous: TypeAlias = "Callable[[int, FrameType | None], Any] | int | None"

# A flow of which nothing is left to do ends, and one that has ended reports that, before the signal goes on.
_CONCLUDE_S = _REPORT_S = 5.0
_LOOK_S = 0.05

_live: set[tuple[asyncio.AbstractEventLoop, Orchestrator]] = set()
_installed: _Handler | None = None


@asynccontextmanager
async def drained(orchestrator: Orchestrator) -> AsyncIterator[None]:
    """Have a SIGTERM let the agents of this orchestrator finish, which works in this event loop.

    After a SIGTERM nothing begins on it.
    """
    entry = asyncio.get_running_loop(), orchestrator
    _live.add(entry)
    try:
        if _installed is not None and _installed.begun:
            await orchestrator.drain(timeout_s=0)
        yield
    finally:
        _live.discard(entry)


@contextmanager
def graceful(*, ends_flow: bool = False) -> Iterator[None]:
    """Hear SIGTERM before Prefect does; in the main thread, elsewhere this does nothing.

    ends_flow: whether the flow has nothing more to do after this, so that it may still report that it succeeded.
    """
    global _installed  # noqa: PLW0603
    if _installed is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    flow = FlowRunContext.get()
    run_id = flow.flow_run.id if flow is not None and flow.flow_run is not None else None
    handler = _installed = _Handler(run_id)
    try:
        yield
    finally:
        _installed = None
        handler.leave(late_s=_REPORT_S if ends_flow else 0.0)


class _Handler:
    """Stands before the handler that it finds. flow_run_id: whose state tells whether a person has cancelled it."""

    def __init__(self, flow_run_id: UUID | None) -> None:
        self._flow_run_id = flow_run_id
        self._context: Context = copy_context()
        self.begun = self._left = False
        self._previous: _Previous = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.begun or not _live:
            self._pass_on(number, frame)
            return
        self.begun = True
        threading.Thread(target=self._context.run, args=(self._wind_down,), daemon=True).start()

    def leave(self, *, late_s: float) -> None:
        """Stand there no longer; a signal that was heard is passed on, so much later."""
        self._left = True
        found: object = signal.getsignal(signal.SIGTERM)
        # What was put in its place meanwhile stays.
        if found is not self:
            return
        signal.signal(signal.SIGTERM, self._previous)
        if self.begun and late_s:
            timer = threading.Timer(late_s, _send)
            timer.daemon = True
            timer.start()
        elif self.begun:
            _send()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, self._previous)
        if callable(self._previous):
            self._previous(number, frame)
        else:
            _send()

    def _wind_down(self) -> None:
        """In a thread of its own: wait until no agent is at work, unless a person wants the run to stop."""
        _log.info("shutdown.begun: no task begins any more, and those at work may finish")
        drains = {asyncio.run_coroutine_threadsafe(each.drain(), loop) for loop, each in tuple(_live)}
        person: Future[bool] = Future()
        threading.Thread(target=copy_context().run, args=(self._ask, person), daemon=True).start()
        pending: set[Future[Any]] = {person, *drains}
        # A loop that somebody blocks answers nobody.
        until = time.monotonic() + _longest_s() + _CONCLUDE_S
        while pending & drains and not (person.done() and person.result()) and time.monotonic() < until:
            _, pending = wait(pending, timeout=until - time.monotonic(), return_when=FIRST_COMPLETED)
        until = time.monotonic() + _CONCLUDE_S
        while not (self._left or pending & drains or self._has_left_undone()) and time.monotonic() < until:
            time.sleep(_LOOK_S)
        if not self._left:
            _send()

    def _has_left_undone(self) -> bool:
        return any(orchestrator.has_left_undone for _, orchestrator in tuple(_live))

    def _ask(self, person: Future[bool]) -> None:
        """Whether a person has cancelled the flow run; then it is, whatever its process says at its end."""
        found = False
        try:
            if self._flow_run_id is not None:
                with get_client(sync_client=True) as client:
                    state = client.read_flow_run(self._flow_run_id).state
                    found = state is not None and (state.is_cancelling() or state.is_cancelled())
                    if found:
                        client.set_flow_run_state(self._flow_run_id, Cancelled(message="A person cancelled the run."))
        # Whatever the server says, or does not: agents that are at work finish, as if a worker was shut down.
        except Exception as error:  # noqa: BLE001
            _log.warning("shutdown.not_asked: %r", error)
        finally:
            person.set_result(found)


def _longest_s() -> float:
    return max((each.graceful_shutdown_timeout_s for _, each in tuple(_live)), default=0.0)


def _send() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
