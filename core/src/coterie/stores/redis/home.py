"""Connections belong to one event loop of one process: who opens them anew after a fork, and in the next loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Generic, TypeVar

from coterie.errors import Misuse
from coterie.stores.scopes import closed

__all__ = ["Home"]

T = TypeVar("T")

# Connections that belong to the process this one was forked from. To close them would end them over there.
_inherited: list[object] = []


class Home(Generic[T]):
    """What a store has in the event loop that uses it now, made by `make` when first needed. kind: "state", "log"."""

    def __init__(self, make: Callable[[], T], kind: str) -> None:
        self._make = make
        self._kind = kind
        self._here: tuple[int, asyncio.AbstractEventLoop, T] | None = None
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether it was left for good."""
        return self._closed

    def here(self) -> T:
        """What belongs to this process and event loop.

        Raises:
            Misuse: it was left for good, or another loop of this process still uses it.
        """
        found, loop = self._here, asyncio.get_running_loop()
        if found is not None and found[1] is loop and found[0] == os.getpid():
            return found[2]
        if self._closed:
            raise closed(self._kind)
        if found is not None:
            if found[0] == os.getpid() and not found[1].is_closed():
                raise Misuse(f"this {self._kind} store is in use in another event loop; open one for each loop")
            _inherited.append(found)
        made = self._make()
        self._here = os.getpid(), loop, made
        return made

    def leave(self) -> T | None:
        """Leave for good; answers what is to be closed here, if anything is."""
        self._closed = True
        found, self._here = self._here, None
        if found is None:
            return None
        if found[0] != os.getpid() or found[1] is not asyncio.get_running_loop():
            _inherited.append(found)
            return None
        return found[2]
