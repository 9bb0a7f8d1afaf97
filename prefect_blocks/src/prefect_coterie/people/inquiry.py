"""One question to a person: asked until an answer is taken, in every attempt of a flow run, or until it is settled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

from prefect.client.orchestration import get_client
from prefect.exceptions import Pause

from prefect_coterie.people.showing import Question, response_of, show
from prefect_coterie.people.standstill import Person, flow_run_here, pause, start_again, suspend

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

__all__ = ["LOOK_S", "Answer", "Inquiry", "ended"]

T = TypeVar("T")

# How often it is looked whether somebody is still needed: each time after a longer while.
LOOK_S, _LONGEST_LOOK_S, _GROWTH = 0.5, 2.0, 1.2

# By event loop and flow run: a flow run can show one form at a time.
_turns: WeakValueDictionary[tuple[asyncio.AbstractEventLoop, UUID], asyncio.Lock] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person filled in. name: of this very answer, however often it is read. at: seconds since the epoch."""

    name: str
    values: Mapping[str, Any]
    at: float


_Ask: TypeAlias = Callable[[], Awaitable[Question]]
_Look: TypeAlias = Callable[[], Awaitable[bool]]


class Inquiry:
    """One question of the surrounding flow run.

    key: names the question; the same in every attempt of the flow run, so that what was answered is never asked again.
    poll_s: how often a paused run looks for its answer. waiting: entered while nothing but a person is waited for;
    left before another question of the flow run has its turn.
    """

    def __init__(
        self, key: str, *, poll_s: float, waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._key = key
        self._poll_s = poll_s
        self._waiting = waiting
        self._round = -1

    async def answer(self, how: Person, question: _Ask, is_settled: _Look) -> Answer | None:
        """The next answer of a person; None once it is settled without one.

        An answer that is there is given at once, the last one if there are several: those before it were refused.
        question: asked for when no other question of the flow run is asked. is_settled: whether nobody need answer any
        more; looked at until then.

        Raises:
            Pause: the flow run is suspended now; only with "suspend". Abort: it was ended elsewhere.
        """
        while True:
            settled = asyncio.create_task(_until(is_settled))
            asking = asyncio.create_task(self._ask(how, question, is_settled))
            try:
                await asyncio.wait({asking, settled}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await ended(asking)
                await ended(settled)
            if not asking.cancelled() and (found := asking.result()) is not None:
                return found
            if not settled.cancelled():
                settled.result()
                # One that came in while the pause was left.
                return await self._last()
            # Resumed without an answer.
            await asyncio.sleep(LOOK_S)

    async def _ask(self, how: Person, question: _Ask, is_settled: _Look) -> Answer | None:
        with self._waiting():
            async with _asking_alone():
                found = await self._last()
                if found is not None:
                    return found
                if how == "wait":
                    await asyncio.Event().wait()
                name = f"{self._key}-{self._round + 1}"
                asked = await question()
                async with get_client() as client:
                    await show(client, flow_run_here().id, name, asked)
                if how == "pause":
                    await pause(name, asked, poll_s=self._poll_s)
                    return await self._last()
                raise Pause(state=await _finished(_suspended(name, asked, is_settled)))

    async def _last(self) -> Answer | None:
        """The last answer that was not given yet; None if there is none."""
        found, number, run_id = None, self._round, flow_run_here().id
        async with get_client() as client:
            while (given := await response_of(client, run_id, name := f"{self._key}-{number + 1}")) is not None:
                number += 1
                told = given.created
                found = Answer(name, json.loads(given.value), told.timestamp() if told is not None else 0.0)
        # Cancelled before, nothing counts as given.
        self._round = number
        return found


@asynccontextmanager
async def _asking_alone() -> AsyncIterator[None]:
    """Wait until no other question of this flow run is asked."""
    place = asyncio.get_running_loop(), flow_run_here().id
    lock = _turns.setdefault(place, asyncio.Lock())
    async with lock:
        yield


async def _until(is_settled: _Look) -> None:
    look_s = LOOK_S
    while not await is_settled():
        await asyncio.sleep(look_s)
        look_s = min(look_s * _GROWTH, _LONGEST_LOOK_S)


async def _suspended(name: str, question: Question, is_settled: _Look) -> State[Any]:
    state = await suspend(name, question)
    if await is_settled():
        # Nobody would notice once this process has ended.
        await start_again(flow_run_here().id, state)
    return state


async def _finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, also where this is cancelled meanwhile."""
    task = asyncio.create_task(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    return task.result()


async def ended(task: asyncio.Future[Any]) -> None:
    """Cancel it, and wait until it has ended."""
    task.cancel()
    await asyncio.wait({task})
