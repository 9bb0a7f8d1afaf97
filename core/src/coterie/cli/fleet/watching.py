"""Look again whenever the store says that something changed, and slowly besides; until a signal ends it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from coterie.cli.fleet.drawing import page
from coterie.cli.fleet.reach import Reach
from coterie.cli.fleet.snapshot import Snapshot
from coterie.cli.streams import write_json_line
from coterie.errors import Unavailable
from coterie.ports import StateStore

__all__ = ["Documents", "watch"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# However many changes there are, so long passes between two looks.
_PAUSE_S = 0.1
# What moves with time or with every call: not by itself worth a new document.
_MOVING = frozenset(
    {"clock", "free", "refilled", "wait_s", "not_before", "alive_until", "heartbeat_age_s", "standing_s", "lapses"}
)


class _Screen(Protocol):
    def show(self, snapshot: Snapshot, failure: str | None) -> None:
        """Show it; failure: why there is nothing newer."""
        ...


async def watch(
    reach: Reach,
    take: Callable[[StateStore], Awaitable[Snapshot]],
    draw: Callable[[Snapshot], RenderableType],
    *,
    as_json: bool,
    every_s: float,
) -> int:
    """Show the states until SIGINT or SIGTERM; 0 then. A store that fails meanwhile is told of, and asked again.

    Raises:
        Unavailable: the store fails at the first look. StateFormatError: a newer coterie writes here.
    """
    async with reach.opened() as store:
        with _screen(draw, as_json=as_json) as screen:
            going = asyncio.ensure_future(_go(store, partial(take, store), screen, every_s))
            with _signals(going.cancel):
                await asyncio.wait({going})
    # Cancelled is how it ends; all else is raised.
    return 0 if going.cancelled() else going.result()


async def _go(store: StateStore, look: Callable[[], Awaitable[Snapshot]], screen: _Screen, every_s: float) -> int:
    woken = asyncio.Event()
    ear = _Ear(store, woken)
    snapshot: Snapshot | None = None
    while True:
        try:
            snapshot = await look()
            screen.show(snapshot, None)
            if await ear.listen(set(snapshot.channels())):
                # What changed before anybody listened is seen by another look.
                woken.set()
        except Unavailable as error:
            if snapshot is None:
                raise
            screen.show(snapshot, str(error))
        await _woken(woken, every_s)
        await asyncio.sleep(_PAUSE_S)
        # Before the look: what changes during it makes for one more.
        woken.clear()


class _Ear:
    """Hears of changes. All it listens to ends with the store."""

    def __init__(self, store: StateStore, woken: asyncio.Event) -> None:
        self._store = store
        self._woken = woken
        self._heard: set[str] = set()

    async def listen(self, wanted: set[str]) -> bool:
        """Hear of these channels alone; whether some are new."""
        new = wanted - self._heard
        for channel in sorted(new):
            await self._store.subscribe(channel, self._notice)
            self._heard.add(channel)
        for channel in sorted(self._heard - wanted):
            self._heard.discard(channel)
            await self._store.unsubscribe(channel, self._notice)
        return bool(new)

    def _notice(self, _message: str | None) -> None:
        self._woken.set()


class Documents:
    """One JSON document a change, each in a line."""

    def __init__(self) -> None:
        self._last: object = None

    def show(self, snapshot: Snapshot, failure: str | None) -> None:
        """Write a document, unless it says what the last one said."""
        document = {**snapshot.document(), "failure": failure}
        still = _still(document)
        if still != self._last:
            self._last = still
            write_json_line(document)


class _Page:
    """Drawn in place on a terminal, and below each other elsewhere."""

    def __init__(self, console: Console, draw: Callable[[Snapshot], RenderableType], live: Live | None) -> None:
        self._console = console
        self._draw = draw
        self._live = live
        self._last: object = None

    def show(self, snapshot: Snapshot, failure: str | None) -> None:
        """Draw it; where nothing can be drawn in place, only if it says something new."""
        parts = [self._draw(snapshot)]
        parts += [Text(f"{one.key}: {one.error}", style="red") for one in snapshot.problems]
        if failure is not None:
            parts.append(Text(f"this was before: {failure}", style="bold red"))
        if self._live is not None:
            self._live.update(Group(*parts), refresh=True)
            return
        still = (_still(snapshot.document()), failure)
        if still == self._last:
            return
        if self._last is not None:
            self._console.print()
        self._last = still
        self._console.print(Group(*parts))
        self._console.file.flush()


@contextmanager
def _screen(draw: Callable[[Snapshot], RenderableType], *, as_json: bool) -> Iterator[_Screen]:
    if as_json:
        yield Documents()
        return
    console = page()
    if not console.is_terminal:
        yield _Page(console, draw, None)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield _Page(console, draw, live)


def _still(document: object) -> object:
    """What of a document does not move by itself."""
    if isinstance(document, Mapping):
        return {name: _still(value) for name, value in document.items() if name not in _MOVING}
    return [_still(value) for value in document] if isinstance(document, list) else document


async def _woken(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return


@contextmanager
def _signals(end: Callable[[], object]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
