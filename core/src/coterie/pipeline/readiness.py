"""Whether this coterie reads what the fleet writes: found out once, before the first call."""

from __future__ import annotations

import asyncio

from coterie.errors import StateFormatError, Unavailable
from coterie.ports import StateStore

__all__ = ["Readiness"]

# After the store has failed it is looked at again, first so soon, then twice as long each time, up to the last.
FIRST_S = 0.1
LAST_S = 2.0
CLOSE_S = 1.0


class Readiness:
    """Of one store. Where it does not answer, it is looked at again in the background, and no call waits for that."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._known = False
        self._failure: Unavailable | StateFormatError | None = None
        self._answered = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def __call__(self, *, patient: bool = False) -> None:
        """Return once it is known that states can be read.

        patient: whether who comes while the store is away waits until it was looked at once more.

        Raises:
            Unavailable: the store does not answer; those who come later, and are not patient, hear it at once.
            StateFormatError: a newer coterie writes there, or a much older one.
        """
        if self._known:
            return
        if self._looking is None or self._looking.done():
            # Also where the event loop that looked has ended.
            self._failure, self._answered = None, asyncio.Event()
            self._looking = asyncio.get_running_loop().create_task(self._look())
        if self._failure is None or patient:
            await self._answered.wait()
        if self._failure is not None:
            raise type(self._failure)(str(self._failure)) from self._failure
        if not self._known:
            await self._looking

    async def aclose(self) -> None:
        """Look no more; safe to call twice."""
        if self._looking is not None and not self._looking.done():
            self._looking.cancel()
            await asyncio.wait({self._looking}, timeout=CLOSE_S)

    async def _look(self) -> None:
        from coterie.stores.format import check_format

        wait_s = FIRST_S
        try:
            while not self._known:
                try:
                    await check_format(self._store)
                except Unavailable as error:
                    self._failure = error
                    self._answered.set()
                    self._answered = asyncio.Event()
                    await asyncio.sleep(wait_s)
                    wait_s = min(2 * wait_s, LAST_S)
                else:
                    self._known, self._failure = True, None
        except StateFormatError as error:
            self._failure = error
        finally:
            self._answered.set()
