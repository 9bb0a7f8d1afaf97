"""A call on its way: its code runs where it was called from, its way through the gate in the background loop.

So one object serves every event loop and thread of a process, and what is held is kept alive whatever blocks them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from coterie import sync
from coterie.errors import Misuse, PolicyError
from coterie.pipeline import Admitted
from coterie.protect.call import Call
from coterie.task import Retry

__all__ = ["Manner", "Turn", "Visit", "heard"]

# How long a caller that leaves waits until what it held is given back.
LEAVE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a call is made; see `Protected` and `Protected.asking`."""

    priority: int = 0
    key: str = ""
    wait_s: float | None = None
    retry: Retry | None = None
    ignored: tuple[type[Exception], ...] = ()
    meaning: Callable[[Exception], Exception | None] | None = None

    def __post_init__(self) -> None:
        if type(self.priority) is not int:
            raise PolicyError(f"priority is {self.priority!r}; give a whole number")
        if not isinstance(self.key, str):
            raise PolicyError(f"key is {self.key!r}; give a text")
        if self.wait_s is not None and (_is_no_number(self.wait_s) or not self.wait_s >= 0):
            raise PolicyError(f"wait_s is {self.wait_s!r}; give seconds >= 0")
        if not (self.retry is None or isinstance(self.retry, Retry)):
            raise PolicyError(f"retry is {self.retry!r}; give a Retry, such as Retry(max_attempts=3)")
        if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in self.ignored):
            raise PolicyError(f"ignored is {self.ignored!r}; give a tuple of exception types")


class Turn:
    """Leave to do it, once. after: what comes then."""

    __slots__ = ("_meaning", "_outcome", "after", "done", "error", "meant", "value")

    def __init__(self, meaning: Callable[[Exception], Exception | None] | None) -> None:
        self._meaning = meaning
        self._outcome: Future[Exception | None] = Future()
        self.after: Future[Turn | None] = Future()
        self.done = False
        self.value: Any = None
        self.error: Exception | None = None
        self.meant: Exception | None = None

    def succeeded(self, value: Any = None) -> None:
        """It was done, with this result."""
        self.value, self.done = value, True
        self._say(None)

    def failed(self, error: Exception) -> None:
        """It was tried."""
        self.error = error
        self.meant = (self._meaning(error) if self._meaning is not None else None) or error
        self._say(self.meant)

    async def outcome(self) -> Exception | None:
        """In the background loop: how it went."""
        return await asyncio.wrap_future(self._outcome)

    def _say(self, outcome: Exception | None) -> None:
        # Where the object was closed meanwhile, nobody listens any more.
        with suppress(InvalidStateError):
            self._outcome.set_result(outcome)


class Visit:
    """One call, seen from both sides.

    cache_key: names equal calls, whose results may stand in for each other. retry: None once it cannot be repeated.
    """

    def __init__(self, call: Call, manner: Manner, *, cache_key: str | None = None, repeats: bool = True) -> None:
        self.call = call
        self.manner = manner
        self.cache_key = cache_key
        self.retry = manner.retry if repeats else None
        self._turn: Turn | None = None
        # What the caller waits for, and what the way answers next: the way may be ahead.
        self._awaited: Future[Turn | None] = Future()
        self._news = self._awaited
        self._ended: Future[None] | None = None
        self._left = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    # Where the call is made.

    def start(self, way: Coroutine[Any, Any, None]) -> None:
        """Set out."""
        self._ended = sync.begin(self._go(way))

    async def turn(self) -> Turn | None:
        """Wait until it may be done, or done again; None: that was all.

        Raises:
            What the last attempt raised, or what stood in its way.
        """
        await heard(self._awaited)
        return self._told()

    def blocking_turn(self) -> Turn | None:
        """As `turn`, in a thread without an event loop."""
        wait([self._awaited])
        return self._told()

    @contextmanager
    def trying(self, turn: Turn) -> Iterator[None]:
        """The block does it. Its failure is told, and raised by the next `turn` unless it may be done again."""
        try:
            yield
        except self.manner.ignored:
            raise
        # Handed to the gate, which gives another turn, or has it raised.
        except Exception as error:  # noqa: BLE001
            turn.failed(error)

    async def leave(self) -> None:
        """End it: what is held is given back, and that is waited for within a bound."""
        ended = self._leave()
        if ended is not None:
            await heard(ended, timeout_s=LEAVE_S)

    def blocking_leave(self) -> None:
        """As `leave`, in a thread without an event loop."""
        ended = self._leave()
        if ended is not None:
            wait([ended], timeout=LEAVE_S)

    def _told(self) -> Turn | None:
        error, last = self._awaited.exception(), self._turn
        if error is None:
            turn = self._awaited.result()
            if turn is not None:
                self._turn, self._awaited = turn, turn.after
            return turn
        if last is not None and last.error is not None and error is last.meant:
            error = last.error
        raise error

    def _leave(self) -> Future[None] | None:
        if self._ended is not None and self._ended.done():
            return None
        self._left = True
        # Once it is done, what follows is told to the end: it was a success.
        done = self._turn is not None and self._turn.done
        if not done and self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        return self._ended

    # In the background loop.

    async def attempt(self, admitted: Admitted) -> None:
        """Let the caller do it, once; raises what it means that it failed."""
        self.call.agent_id, self.call.token = admitted.agent_id, admitted.token
        turn = Turn(self.manner.meaning)
        news, self._news = self._news, turn.after
        news.set_result(turn)
        error = await turn.outcome()
        if error is not None:
            raise error

    @property
    def result(self) -> Any:
        """What the last attempt gave."""
        return self._turn.value if self._turn is not None else None

    async def _go(self, way: Coroutine[Any, Any, None]) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            if self._left:
                way.close()
            else:
                await way
        except asyncio.CancelledError:
            self._news.set_exception(Misuse(f"{self.call.task_id!r} was closed while a call of it was in progress"))
            raise
        # Raised where the call was made, whatever it is: there somebody waits.
        except BaseException as error:  # noqa: BLE001
            self._news.set_exception(error)
        else:
            self._news.set_result(None)


async def heard(future: Future[Any], *, timeout_s: float | None = None) -> None:
    """Wait for a future of another thread, which goes on if this is cancelled."""
    inner = asyncio.wrap_future(future)
    inner.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    await asyncio.wait({inner}, timeout=timeout_s)


def _is_no_number(value: object) -> bool:
    return isinstance(value, bool) or not isinstance(value, (int, float))
