"""`coterie top` in a real terminal: what is seen, what keys do, and how the terminal is left."""

from __future__ import annotations

import os
import re
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.core.timeline.written import write
from tests.fleet.top.terminal import GONE, SHOWN, Terminal
from tests.support.redis_servers import valkey

NEWS = """
import asyncio
from pathlib import Path
from coterie import Plan, Task, Team

team = Team("news")

@team.agent("fetcher", agent_id="fetcher-1")
async def fetch(task_input):
    return 1

@team.agent("printer", agent_id="printer-1")
async def print_it(task_input):
    while not Path("go").exists():
        await asyncio.sleep(0.02)

plan = Plan("news", [Task("fetch", "fetcher"), Task("print", "printer", depends_on=["fetch"])])
"""
BOOM = """
import sys
from coterie.cli import main
from coterie.cli.top.watch import Watch

async def take(self):
    raise RuntimeError("a planted fault")

Watch.take = take
sys.exit(main(["top"]))
"""
Top = Callable[..., Terminal]


@pytest.fixture
def top(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Top]:
    """Have the command, or another program, in a terminal."""
    (folder / "news.py").write_text(NEWS)
    monkeypatch.setenv("COTERIE_STORE", f"sqlite://{folder}/state.db")
    begun: list[Terminal] = []

    def started(*options: str, size: tuple[int, int] = (110, 30), program: str | None = None, **env: str) -> Terminal:
        argv = ["-m", "coterie", "top", "--interval", "0.2", *options] if program is None else ["-c", program]
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        known = {**kept, "TERM": "xterm-256color", "PYTHONUTF8": "1", **env}
        begun.append(Terminal([sys.executable, *argv], cwd=folder, env=known, size=size))
        return begun[-1]

    yield started
    for each in begun:
        each.close()


@pytest.fixture
def running(folder: Path, start) -> Iterator[None]:
    """A run that goes on until the file `go` is there."""
    process = start("run", "news:plan", "--team", "news:team", "--run-id", "news-1", "--quiet", "--journal", "relaxed")
    yield
    (folder / "go").touch()
    process.communicate(timeout=60)


def is_as_before(terminal: Terminal) -> bool:
    """Whether the terminal is as a shell wants it: its settings, its first screen, its cursor."""
    left = terminal.output.rfind(GONE) > terminal.output.rfind(SHOWN)
    cursor = terminal.output.rfind(b"\x1b[?25h") > terminal.output.rfind(b"\x1b[?25l")
    return terminal.attributes == terminal.before and left and cursor


def test_a_run_is_watched_opened_and_left(top, running, folder):
    terminal = top("--team", "news:team")

    shown = terminal.until(lambda frame: "news-1  news  running" in frame and "print" in frame, "the run")
    terminal.press("\r")
    tree = terminal.until(lambda frame: "took" in frame and "fetch" in frame, "its tree")
    terminal.press("\x1b")
    back = terminal.until(lambda frame: "1 RUNS" in frame, "all sections")
    (folder / "go").touch()
    ended = terminal.until(lambda frame: re.search(r"news-1 +news +succeeded +2/2", frame), "its end")
    terminal.press("q")

    assert terminal.ended() == 0
    assert is_as_before(terminal)
    assert "? help" in shown
    assert "escape back" in tree
    assert "2 AGENTS" in back
    assert "1 succeeded" in ended


def test_a_run_that_is_opened_in_a_small_terminal_has_all_columns(top, folder, monkeypatch):
    monkeypatch.delenv("COTERIE_STORE")
    items = {f"document-{n:02}": (n, n + 10.0) for n in range(12)}
    write({"collect": (0.0, 0.4), "each": (0.0, 0.0), "publish": (20.0, 21.0)}, items=items)

    terminal = top(size=(80, 24))
    terminal.until(lambda frame: "big" in frame, "the run")
    terminal.press("\r")
    tree = terminal.until(lambda frame: "publish" in frame, "its tree").splitlines()
    terminal.press("q")

    assert terminal.ended() == 0
    assert max(len(line) for line in tree) <= 80
    assert any(re.fullmatch(r" {3}collect +✓ succeeded +400 ms +█+", line) for line in tree)
    assert any(re.fullmatch(r"\* {2}each +✓ succeeded +21 s +█{20,} +12 items", line) for line in tree)
    assert any(re.fullmatch(r" {3}publish +✓ succeeded +1.0 s +█+", line) for line in tree)
    assert any(line.strip() == "7 succeeded; 10 s each" for line in tree)


def test_keys_choose_sections_sort_and_pause(top, running):
    terminal = top()
    terminal.until(lambda frame: "news-1" in frame, "the run")

    terminal.press("66")
    terminal.until(lambda frame: "6 QUEUES" in frame and "1 RUNS" not in frame, "one section alone")
    terminal.press("\x1b")
    terminal.until(lambda frame: "1 RUNS" in frame, "all sections")
    terminal.press("s")
    terminal.until(lambda frame: "sort: age" in frame, "another order")
    terminal.press("\t")
    terminal.until(lambda frame: "▸1 RUNS" in frame, "the section after the last")
    terminal.press("p")
    terminal.until(lambda frame: "paused" in frame, "that it pauses")
    terminal.press("?")
    terminal.until(lambda frame: "page up" in frame, "help")
    terminal.press("?q")

    assert terminal.ended() == 0


def test_a_terminal_that_changes_its_size_gets_frames_of_that_size(top, running):
    terminal = top(size=(140, 40))
    wide = terminal.until(lambda frame: "news-1" in frame, "the run")

    terminal.resize(80, 24)
    small = terminal.until(lambda frame: "? help" in frame, "a small frame")
    terminal.resize(20, 5)
    tiny = terminal.until(lambda frame: "q quit" in frame, "a tiny frame")

    assert max(len(line) for line in wide.splitlines()) > 80
    assert all(len(line) <= 80 for line in small.splitlines())
    assert all(len(line) <= 20 for line in tiny.splitlines())


@pytest.mark.parametrize("how", ["ctrl-c", "SIGTERM", "SIGHUP"])
def test_however_it_is_ended_the_terminal_is_as_it_was(top, how):
    terminal = top()
    terminal.until(lambda frame: "? help" in frame, "a frame")
    assert not terminal.attributes[3] & termios.ECHO

    if how == "ctrl-c":
        terminal.press("\x03")
    else:
        terminal.process.send_signal(signal.Signals[how])

    assert terminal.ended() == 0
    assert is_as_before(terminal)


def test_a_fault_of_ours_gives_the_terminal_back_and_is_told(top):
    terminal = top(program=BOOM)

    assert terminal.ended() == 1
    assert is_as_before(terminal)
    assert "a planted fault" in terminal.output.rpartition(GONE)[2].decode()


def test_ctrl_z_gives_the_terminal_back_until_it_goes_on(top):
    terminal = top()
    terminal.until(lambda frame: "? help" in frame, "a frame")

    terminal.press("\x1a")
    status = terminal.stopped()
    given_back = is_as_before(terminal)
    terminal.output = b""
    terminal.process.send_signal(signal.SIGCONT)
    terminal.until(lambda frame: "? help" in frame, "another frame")
    terminal.press("q")

    assert os.WIFSTOPPED(status)
    assert given_back
    assert terminal.ended() == 0


def test_a_store_that_goes_away_is_told_and_asked_until_it_is_back(top):
    with valkey() as server:
        terminal = top("--store", server.url)
        terminal.until(lambda frame: "workers 0" in frame, "a frame of the store")

        server.kill()
        away = terminal.until(lambda frame: "the store is away" in frame, "that it is away")
        server.start()
        terminal.until(lambda frame: "workers 0" in frame, "that it is back")
        terminal.press("q")

        assert terminal.ended() == 0

    assert "asked again" in away


def test_a_state_file_that_appears_later_is_looked_into(top, request):
    terminal = top()
    terminal.until(lambda frame: "1 RUNS  none" in frame, "an empty frame")

    request.getfixturevalue("running")

    terminal.until(lambda frame: "news-1" in frame, "the run")


def test_no_color_is_respected(top):
    colourful, plain = top(), top(NO_COLOR="1")
    for each in (colourful, plain):
        each.until(lambda frame: "? help" in frame, "a frame")

    colours = re.compile(rb"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38;|4[0-7])[0-9;]*m")
    assert colours.search(colourful.output)
    assert not colours.search(plain.output)


def test_a_terminal_that_can_do_nothing_gets_one_frame(top):
    terminal = top(TERM="dumb")

    assert terminal.ended() == 0
    assert SHOWN not in terminal.output
    assert b"RUNS  none" in terminal.output
