"""The live loop: snapshots in their time, keys and the terminal's size at once, and a terminal left as it was."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal, TypeAlias

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from coterie.cli.fleet.times import span
from coterie.cli.top.drawing import Tree, deepest, frame
from coterie.cli.top.keys import Keyboard
from coterie.cli.top.layout import BLOCKS, PLAIN, Signs
from coterie.cli.top.place import Seat, TopPlace
from coterie.cli.top.snapshot import Head, Snapshot
from coterie.cli.top.tree import Reader, drawn
from coterie.cli.top.view import View, pressed
from coterie.cli.top.watch import Places
from coterie.timeline import Timeline

__all__ = ["is_possible", "live"]

_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Between two frames that nobody caused by a key: so that ages are seen to grow while a store does not answer.
_TICK_S = 1.0
_MICROS = 1_000_000
_Left: TypeAlias = Literal["", "end", "suspend"]


def is_possible(console: Console) -> bool:
    """Whether there is a terminal to draw on, and to hear keys from."""
    return console.is_terminal and not console.is_dumb_terminal and sys.stdin.isatty()


async def live(place: TopPlace, view: View, every_s: float, console: Console) -> int:
    """Show the team until `q`, SIGINT, SIGTERM or SIGHUP; 0 then. Ctrl-Z works as everywhere.

    Raises:
        Misuse: there is no such store or team.
    """
    async with place.opened() as seat:
        screen = _Screen(seat, view, every_s, console)
        while await screen.session() == "suspend":
            os.kill(os.getpid(), signal.SIGSTOP)
    return 0


class _Screen:
    """What is shown, and what changes it."""

    def __init__(self, seat: Seat, view: View, every_s: float, console: Console) -> None:
        self._seat = seat
        self._view = view
        self._every_s = every_s
        self._console = console
        self._is_utf8 = console.encoding.lower().startswith("utf")
        self._signs: Signs = BLOCKS if self._is_utf8 else PLAIN
        places = seat.places
        self._snapshot = Snapshot(head=Head("", "" if places is None else f"reading {places.store.url} …"))
        self._readers: tuple[Places, Reader] | None = None
        self._timeline: Timeline | None = None
        self._trouble: str | None = None
        self._tree: Tree | None = None
        self._drawn: tuple[object, ...] = ()
        self._asked_s: float | None = None
        self._left: _Left = ""
        self._changed = asyncio.Event()
        # Something is to be read before its time.
        self._wanted = asyncio.Event()

    async def session(self) -> _Left:
        """Have the terminal, until it is to be given back; why."""
        self._left = ""
        keyboard = Keyboard(sys.stdin.fileno())
        with ExitStack() as held:
            held.enter_context(_quiet())
            held.enter_context(keyboard.listening())
            shown = held.enter_context(
                Live(
                    console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
                )
            )
            held.enter_context(self._hearing(keyboard))
            reading = asyncio.create_task(self._read())
            try:
                await self._draw_on(shown, reading)
            finally:
                reading.cancel()
                await asyncio.wait({reading})
        return self._left

    async def _draw_on(self, shown: Live, reading: asyncio.Task[None]) -> None:
        while not self._left:
            if reading.done():
                reading.result()
            self._changed.clear()
            shown.update(Group(*self._lines()), refresh=True)
            await _until(self._changed, _TICK_S)

    def _lines(self) -> list[Text]:
        width, height = self._console.size
        self._draw_tree(width)
        lines = frame(self._snapshot, self._view, width, height, tree=self._tree, signs=self._signs, note=self._note())
        for line in lines:
            line.no_wrap, line.overflow = True, "crop"
        return lines

    def _note(self) -> str:
        """What is said of an answer that is long in coming."""
        if self._asked_s is None:
            return ""
        waited_s = asyncio.get_running_loop().time() - self._asked_s
        return f"asking for {span(round(waited_s * _MICROS))}" if waited_s > max(_TICK_S, self._every_s) else ""

    # Reading

    async def _read(self) -> None:
        while True:
            if not self._view.paused:
                await self._take()
            self._changed.set()
            await _until(self._wanted, self._every_s)
            self._wanted.clear()

    async def _take(self) -> None:
        self._asked_s = asyncio.get_running_loop().time()
        try:
            watch = await self._seat.watch()
            await self._take_tree()
            self._snapshot = await watch.take()
        finally:
            self._asked_s = None

    async def _take_tree(self) -> None:
        """Read the run that is open."""
        run, places = self._view.opened, self._seat.places
        if run is None or places is None:
            return
        if self._readers is None or self._readers[0] is not places:
            self._readers = places, Reader(places.journal, places.artifacts)
        self._timeline, self._trouble = await self._readers[1].read(run)
        self._changed.set()

    def _draw_tree(self, width: int) -> None:
        """Draw the run that is open, if it is another, or another size, than was drawn last."""
        run = self._view.opened
        wanted = (run, self._timeline, self._trouble, width)
        if run is None:
            self._tree, self._drawn = None, ()
        elif wanted != self._drawn:
            timeline = self._timeline if self._timeline is not None and self._timeline.run == run else None
            self._tree = drawn(timeline, self._trouble, width, is_utf8=self._is_utf8)
            self._drawn = wanted

    # Hearing

    @contextmanager
    def _hearing(self, keyboard: Keyboard) -> Iterator[None]:
        """Within, keys and signals do what they are for."""
        loop = asyncio.get_running_loop()
        signals: dict[signal.Signals, Callable[[], None]] = {
            **dict.fromkeys(_END, lambda: self._leave("end")),
            signal.SIGTSTP: lambda: self._leave("suspend"),
            signal.SIGWINCH: self._changed.set,
        }
        loop.add_reader(sys.stdin.fileno(), self._press, keyboard)
        for number, act in signals.items():
            loop.add_signal_handler(number, act)
        try:
            yield
        finally:
            loop.remove_reader(sys.stdin.fileno())
            for number in signals:
                loop.remove_signal_handler(number)

    def _press(self, keyboard: Keyboard) -> None:
        keys = keyboard.read()
        if keys is None:
            self._leave("end")
            return
        for key in keys:
            before, height = self._view, self._console.size[1]
            self._view = pressed(before, key, self._snapshot, deepest=deepest(self._tree, height))
            if self._view.opened != before.opened or self._view.paused != before.paused:
                self._trouble = None
                self._wanted.set()
        if self._view.quits:
            self._leave("end")
        self._changed.set()

    def _leave(self, why: _Left) -> None:
        self._left = why
        self._changed.set()


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, no warning of a library is written over the frame: what fails is shown in it."""
    handler = logging.NullHandler()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


async def _until(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
