"""Four processes that share breakers, as a test sees them: told what to do, killed, replaced, and read about."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.fleet.stampede.journal import Row, open_journal

__all__ = ["PATIENCE_S", "PROCESSES", "Fleet", "Process", "chosen_seed"]

REPOSITORY = Path(__file__).resolve().parents[3]
PROCESSES = 4
# How long a test waits for what must come; only a loss takes so long.
PATIENCE_S = 30.0


def chosen_seed() -> int:
    """COTERIE_STAMPEDE_SEED, or a new one."""
    given = os.environ.get("COTERIE_STAMPEDE_SEED")
    return int(given) if given else random.randrange(10**6)


class Process:
    """One process; see `member.py` for what it can be told."""

    def __init__(self, url: str, journal: str, errors: Path) -> None:
        self._errors = errors
        with errors.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fleet.stampede.member", url, journal],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=REPOSITORY,
            )
        self._answers: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._ready = False
        self._owed = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it lives, and has answered all that it was told."""
        return self._process.poll() is None and not self._owed

    def tell(self, do: str, **more: Any) -> None:
        assert self._process.stdin is not None
        self._owed += 1
        self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """The answer to the oldest command that was not answered yet."""
        if not self._ready:
            assert self._heard() == "ready"
            self._ready = True
        answer = self._heard()
        self._owed -= 1
        return answer

    def ask(self, do: str, **more: Any) -> Any:
        self.tell(do, **more)
        return self.hear()

    def kill(self) -> None:
        self._process.kill()
        self._finish()

    def close(self) -> None:
        """End it in good order; one that a failed test has left busy is killed."""
        if not self.usable:
            self.kill()
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_S)
        finally:
            self.kill()
        assert self._process.returncode == 0, self._complaint()

    def _finish(self) -> None:
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _heard(self) -> Any:
        try:
            line = self._answers.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise AssertionError(f"no answer within {PATIENCE_S:g} s: {self._complaint()}") from None
        assert line, f"the process ended: {self._complaint()}"
        return json.loads(line)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _complaint(self) -> str:
        return self._errors.read_text("utf-8", errors="replace")[-4000:]


class Fleet:
    """url: of the store. journal: of the log that is none of the store's."""

    def __init__(self, url: str, journal: str, folder: Path) -> None:
        self._url = url
        self._journal = journal
        self._folder = folder
        self.log = open_journal(journal)
        self._place = ""
        self._names = 0
        self.members = [self._start() for _ in range(PROCESSES)]

    def _start(self) -> Process:
        return Process(self._url, self._journal, self._folder / "errors.txt")

    def new_name(self) -> str:
        """Of a breaker that nobody has used."""
        self._names += 1
        return f"agent-{self._names}"

    def kill(self, number: int, name: str) -> int:
        """SIGKILL; another process begins to start in its place. The pid of the killed one."""
        victim = self.members[number]
        victim.kill()
        # From here on it runs nothing, whatever the store still believes.
        self.log.append("dead", name, victim.pid)
        self.members[number] = self._start()
        return victim.pid

    def all(self, do: str, *, but: Sequence[int] = (), **more: Any) -> list[Any]:
        """Tell all at once, then hear all."""
        told = [member for number, member in enumerate(self.members) if number not in but]
        for member in told:
            member.tell(do, **more)
        return [member.hear() for member in told]

    def mend(self) -> None:
        """Replace those that a failed test has left dead or busy."""
        for number, member in enumerate(self.members):
            if not member.usable:
                member.kill()
                self.members[number] = self._start()

    def skip(self) -> None:
        """Read only what is appended from now on."""
        self.rows()

    def rows(self) -> list[Row]:
        """What was appended since the last look."""
        rows = self.log.after(self._place)
        if rows:
            self._place = rows[-1].place
        return rows

    def wait(self, holds: Callable[[list[Row]], bool], what: str) -> list[Row]:
        """The rows since the last look, as soon as they hold."""
        deadline = time.monotonic() + PATIENCE_S
        rows = self.rows()
        while not holds(rows):
            assert time.monotonic() < deadline, f"never came: {what}; the last rows: {rows[-8:]}"
            time.sleep(0.001)
            rows += self.rows()
        return rows

    def close(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self.log.close)
            for member in self.members:
                stack.callback(member.close)
