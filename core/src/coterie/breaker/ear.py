"""What a store tells of one breaker: its signals, and its state when it is looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from coterie._rules.breaker import View, look, read_view
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.timeline import go_on, stands_still
from coterie.breaker.shadow import Shadow
from coterie.errors import CoterieError
from coterie.ports import StateStore
from coterie.work import Work

__all__ = ["Ear"]


class _Learned(Protocol):
    def __call__(self, view: View, *, since: int | None = None) -> None:
        """A view has come; `since`: the generation that was known when it was asked for."""


class Ear:
    """Listens in one event loop.

    attentive: whether signals can be believed now. One that comes while they cannot may be newer than what is being
        read, and is made good by `look_if_passed_over`.
    """

    def __init__(
        self,
        name: str,
        policy: BreakerPolicy,
        store: StateStore,
        shadow: Shadow,
        work: Work,
        *,
        attentive: Callable[[], bool],
        learned: _Learned,
        lost: Callable[[CoterieError], None],
    ) -> None:
        self._key = f"breaker/{name}"
        self._look = look(name, policy)
        self._store = store
        self._shadow = shadow
        self._work = work
        self._attentive = attentive
        self._learned = learned
        self._lost = lost
        self._listening = False
        self._looking = False
        self._passed_over = False

    async def listen(self) -> None:
        """Hear signals from now on. Raises `Unavailable`."""
        if not self._listening:
            await self._store.subscribe(self._key, self._notice)
            self._listening = True

    async def close(self) -> None:
        """Hear nothing more."""
        if self._listening:
            self._listening = False
            # A store that fails now has nobody left to tell.
            with contextlib.suppress(CoterieError):
                await self._store.unsubscribe(self._key, self._notice)

    async def read(self) -> View:
        """What holds now; signals passed over until now are in it. Raises `Unavailable`."""
        self._passed_over = False
        state, now = await self._store.read(self._key)
        if stands_still(state, now):
            # An open breaker would have as much rest left at each look as at the first one.
            await self._store.update(self._key, go_on)
            state, now = await self._store.read(self._key)
        return self._look(state, now).result

    async def look(self) -> None:
        """Learn what holds now."""
        known = self._shadow.view.generation
        try:
            view = await self.read()
        except CoterieError as error:
            self._lost(error)
        else:
            self._learned(view, since=known)
        finally:
            self._looking = False

    def pass_over(self) -> None:
        """Something was told that cannot be believed now."""
        self._passed_over = True

    def look_if_passed_over(self) -> None:
        """Make good what was passed over."""
        if self._passed_over and self._attentive():
            self._start_look()

    def _notice(self, message: str | None) -> None:
        if not self._attentive():
            self._passed_over = True
        elif message is None:
            self._start_look()
        else:
            self._hear(message)

    def _hear(self, message: str) -> None:
        try:
            view = read_view(message)
        except (ValueError, LookupError, TypeError):
            # Of another version, or nobody's: the state itself tells.
            self._start_look()
            return
        known = self._shadow.view.generation
        # Of the same generation, only what is no transition is news: a permit of the trial has come back.
        if view.generation > known or (view.generation == known and view.changed is None):
            self._learned(view)

    def _start_look(self) -> None:
        if not self._looking:
            self._looking = True
            self._work.start(self.look())
