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

__all__ = ["drained", "graceful", "stand_by"]

_log = logging.getLogger("coterie.shutdown")

_Previous: TypeAlias = "Callable[[int, FrameType | None], Any] | int | None"

# A flow of which nothing is left to do ends, and one that has ended reports that, before the signal goes on.
_CONCLUDE_S = _REPORT_S = 5.0
_LOOK_S = 0.05
# A loop that calls something is soon done; one that somebody blocks is not.
_PUT_OFF_S, _MOST_PUT_OFF = 0.005, 400

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
            _installed.end_elsewhere()
        yield
    finally:
        _live.discard(entry)


@contextmanager
def graceful(*, ends_flow: bool = False) -> Iterator[None]:
    """Hear SIGTERM before Prefect does; in the main thread, elsewhere this does nothing.

    ends_flow: whether the flow has nothing more to do after this, so that it may still report that it succeeded.
    """
    global _installed  # noqa: PLW0603
    if threading.current_thread() is not threading.main_thread() or _is_heard():
        yield
        return
    before, handler = _installed, _install(has_threads=False)
    try:
        yield
    finally:
        _installed = before
        handler.leave(late_s=_REPORT_S if ends_flow else 0.0)


def stand_by() -> None:
    """As `graceful`, for what goes on in other threads, until the flow run ends: then Prefect puts back its own."""
    if threading.current_thread() is threading.main_thread() and not _is_heard():
        _install(has_threads=True)


def _is_heard() -> bool:
    # What Prefect, or a flow within the flow, has put in its place is gone, whatever became of it.
    found: object = signal.getsignal(signal.SIGTERM)
    return _installed is not None and found is _installed


def _install(*, has_threads: bool) -> _Handler:
    global _installed  # noqa: PLW0603
    flow = FlowRunContext.get()
    run_id = flow.flow_run.id if flow is not None and flow.flow_run is not None else None
    _installed = _Handler(run_id, has_threads=has_threads)
    return _installed


class _Handler:
    """Stands before the handler that it finds.

    flow_run_id: whose state tells whether a person has cancelled it. has_threads: whether it ends what goes on in other
    loops than the flow's, too.
    """

    def __init__(self, flow_run_id: UUID | None, *, has_threads: bool) -> None:
        self._flow_run_id = flow_run_id
        self._has_threads = has_threads
        self._context: Context = copy_context()
        self._loop = _running_loop()
        self.begun = self._left = False
        self._put_off = 0
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
            _later(late_s, _send)
        elif self.begun:
            _send()

    def _send_again(self) -> None:
        if not self._left:
            _send()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        # What another thread is about to begin does not.
        self.begun = True
        if _is_in_a_callback(frame) and self._put_off < _MOST_PUT_OFF:
            # What Prefect's handler raises there would be an error of the callback, and the loop would go on.
            self._put_off += 1
            _later(_PUT_OFF_S, self._send_again)
            return
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
        self._stop_elsewhere()
        until = time.monotonic() + _CONCLUDE_S
        while not (self._left or pending & drains or self._has_left_undone()) and time.monotonic() < until:
            time.sleep(_LOOK_S)
        if not self._left:
            _send()

    def end_elsewhere(self) -> None:
        """Cancel the task that calls this, if it is in another loop: the signal ends those of the flow's own."""
        task = asyncio.current_task()
        if self._has_threads and task is not None and task.get_loop() is not self._loop:
            task.cancel()

    def _stop_elsewhere(self) -> None:
        """What Prefect does not interrupt: it waits for the threads of its task runners."""
        for loop, orchestrator in tuple(_live):
            # A loop that has closed in the meantime has nothing left to stop.
            if self._has_threads and loop is not self._loop and not loop.is_closed():
                asyncio.run_coroutine_threadsafe(orchestrator.stop(grace_s=0.0), loop)

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


def _is_in_a_callback(frame: FrameType | None) -> bool:
    """Whether the signal interrupts what a loop of this thread calls, not the loop that waits."""
    if frame is None or _running_loop() is None:
        return False
    return not (frame.f_code.co_name == "select" and frame.f_globals.get("__name__") == "selectors")


def _later(seconds: float, what: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, what)
    timer.daemon = True
    timer.start()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _longest_s() -> float:
    return max((each.graceful_shutdown_timeout_s for _, each in tuple(_live)), default=0.0)


def _send() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
