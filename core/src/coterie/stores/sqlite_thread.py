"""The thread that works for one SQLite state store, and folds all that waits for it into one transaction."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from coterie._rules.decided import Signal
from coterie.errors import CoterieError
from coterie.stores.sqlite_file import is_busy, open_database, translated
from coterie.stores.switchboard import Switchboard

__all__ = ["Job", "StoreThread", "Transaction", "Work"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_log = logging.getLogger("coterie.store")

# One transaction takes at most so many decisions, or so long: then the other processes get their turn.
_FOLDED = 256
_HELD_S = 0.02
# Between two attempts at the lock; doubled each time, with jitter.
_FIRST_WAIT_S = 0.0002
_LONGEST_WAIT_S = 0.004
# Expired states are removed so often, and so many at a time.
_SWEEP_S = 60.0
_SWEPT = 500
_PAUSING_S = 1.0


class Transaction:
    """What the works of one transaction see of the states: each what the one before it left."""

    def __init__(self, connection: sqlite3.Connection, namespace: str, now: Callable[[], int]) -> None:
        self._connection = connection
        self._namespace = namespace
        self._texts: dict[str, str | None] = {}
        self._changed: dict[str, int | None] = {}
        self.now = now

    def text(self, key: str, now: int) -> str | None:
        """The JSON text of a state, or None."""
        if key not in self._texts:
            row = self._connection.execute(
                "SELECT state FROM states WHERE namespace = ? AND key = ? AND (expires IS NULL OR expires > ?)",
                (self._namespace, key, now),
            ).fetchone()
            self._texts[key] = None if row is None else row[0]
        return self._texts[key]

    def put(self, key: str, text: str | None, expires: int | None) -> None:
        """Change a state, or remove it; written with `flush`."""
        self._texts[key] = text
        self._changed[key] = expires

    def keys(self, kind: str, now: int) -> list[str]:
        """All keys of a kind, sorted."""
        # '0' is the character after '/'.
        rows = self._connection.execute(
            "SELECT key FROM states WHERE namespace = ? AND key > ? AND key < ? "
            "AND (expires IS NULL OR expires > ?) ORDER BY key",
            (self._namespace, f"{kind}/", f"{kind}0", now),
        )
        return [key for (key,) in rows]

    def flush(self) -> None:
        """Write what was changed."""
        for key, expires in self._changed.items():
            text = self._texts[key]
            if text is None:
                self._connection.execute("DELETE FROM states WHERE namespace = ? AND key = ?", (self._namespace, key))
            else:
                self._connection.execute(
                    "INSERT INTO states VALUES (?, ?, ?, ?) ON CONFLICT (namespace, key) "
                    "DO UPDATE SET state = excluded.state, expires = excluded.expires",
                    (self._namespace, key, text, expires),
                )

    def sweep(self) -> None:
        """Remove expired states, of all namespaces."""
        self._connection.execute(
            "DELETE FROM states WHERE (namespace, key) IN "
            "(SELECT namespace, key FROM states WHERE expires <= ? LIMIT ?)",
            (self.now(), _SWEPT),
        )


class Work(Protocol[T_co]):
    """What a job does, in a transaction. What it raises is its caller's, and must leave the transaction as it was."""

    def __call__(self, transaction: Transaction) -> tuple[T_co, Sequence[Signal]]:
        """The result, and what to signal once it is stored."""
        ...


class Job(Generic[T]):
    """A work that a task waits for. writes: whether it may change states; others never wait for a lock."""

    __slots__ = ("error", "future", "loop", "result", "signals", "until_s", "work", "writes")

    def __init__(self, work: Work[T], *, writes: bool, until_s: float) -> None:
        self.work = work
        self.writes = writes
        self.until_s = until_s
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()
        self.result: T | None = None
        self.error: BaseException | None = None
        self.signals: Sequence[Signal] = ()

    def run(self, transaction: Transaction) -> None:
        """Do the work; its end is kept until the transaction has ended."""
        self.result, self.error, self.signals = None, None, ()
        try:
            self.result, self.signals = self.work(transaction)
        except sqlite3.Error:
            # The database's: it concerns the whole transaction.
            raise
        # The caller's own, whatever it is: raised where the caller waits.
        except BaseException as error:  # noqa: BLE001
            self.error = error

    def settle(self) -> None:
        """Hand over the end. Called in the caller's event loop."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)  # type: ignore[arg-type]  # None only where T admits it
        else:
            stops = isinstance(self.error, StopIteration)
            self.future.set_exception(RuntimeError(repr(self.error)) if stops else self.error)


class StoreThread:
    """Runs jobs, one transaction after the other.

    board: told what to signal after each commit, and closed at the end.
    """

    def __init__(
        self,
        path: Path,
        namespace: str,
        *,
        now: Callable[[], int],
        board: Switchboard,
    ) -> None:
        self._path = path
        self._namespace = namespace
        self._now = now
        self._board = board
        self._queue: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._reads: list[Job[Any]] = []
        self._writes: list[Job[Any]] = []
        self._stopping = False
        self._ended: list[Callable[[], None]] = []
        # Held while SQLite is at work: a fork in the midst of it would leave its locks locked in the child for ever.
        self._at_work = threading.Lock()
        self._paused = False
        self._opened: os.stat_result | None = None
        self._swept_s = time.monotonic()
        self.connection: sqlite3.Connection | None = None
        threading.Thread(target=self._run, daemon=True, name=f"coterie-state-{path.name}").start()

    def submit(self, job: Job[Any]) -> None:
        """Have a job done; never blocks."""
        self._queue.put(job)

    def stop(self, ended: Callable[[], None] | None = None) -> None:
        """Let the thread end once it has done what it was given so far; its last act is to call `ended`."""
        if ended is not None:
            self._ended.append(ended)
        self._queue.put(None)

    def pause(self) -> None:
        """Keep the thread from working until `go_on`; waits for the transaction that runs, for a second at most."""
        if self._at_work.acquire(timeout=_PAUSING_S):
            self._paused = True

    def go_on(self) -> None:
        """The end of a `pause`."""
        if self._paused:
            self._paused = False
            self._at_work.release()

    def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        try:
            while self._reads or self._writes or not self._stopping:
                waiting = bool(self._reads or self._writes)
                self._collect(_jittered(wait_s) if waiting else None)
                with self._at_work:
                    busy = self._work()
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S) if busy else _FIRST_WAIT_S
        finally:
            with self._at_work:
                self._close()
            self._board.close()
            for tell in self._ended:
                tell()

    def _collect(self, wait_s: float | None) -> None:
        """Take all that is there; wait for the first, at most so long (None: until there is one)."""
        try:
            self._take(self._queue.get(timeout=wait_s))
            while True:
                self._take(self._queue.get_nowait())
        except queue.Empty:
            return

    def _work(self) -> bool:
        """Do what can be done; answers whether another process was in the way of all of it."""
        reads, writes = self._waited_for(self._reads), self._waited_for(self._writes)
        self._reads = self._serve(reads)
        rest = self._serve(writes[:_FOLDED], writing=True)
        self._writes = rest + writes[_FOLDED:]
        return len(rest) == len(writes[:_FOLDED]) > 0

    def _take(self, job: Job[Any] | None) -> None:
        if job is None:
            self._stopping = True
        else:
            (self._writes if job.writes else self._reads).append(job)

    def _waited_for(self, jobs: list[Job[Any]]) -> list[Job[Any]]:
        """Without those whose callers have gone, or have waited long enough."""
        now_s = time.monotonic()
        return [job for job in jobs if not job.future.done() and job.until_s > now_s]

    def _serve(self, jobs: list[Job[Any]], *, writing: bool = False) -> list[Job[Any]]:
        """Do these jobs together and hand over their ends. Returns those for which there was no lock, or no time."""
        if not jobs:
            return []
        try:
            done = self._transact(self._connected(), jobs, writing=writing)
        except sqlite3.Error as error:
            if is_busy(error):
                return jobs
            self._fail(jobs, translated(error, self._path), error)
            return []
        # Typed errors of opening, and mistakes of ours: all go to who waits, none ends the thread.
        except BaseException as error:  # noqa: BLE001
            self._fail(jobs, error, error.__cause__)
            return []
        signals = [signal for job in jobs[:done] for signal in job.signals]
        if signals:
            self._signal(signals)
        _settle(jobs[:done])
        return jobs[done:]

    def _transact(self, connection: sqlite3.Connection, jobs: list[Job[Any]], *, writing: bool) -> int:
        """Returns how many of the jobs were done, at least one."""
        connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
        try:
            transaction = Transaction(connection, self._namespace, self._now)
            began_s, done = time.monotonic(), 0
            for job in jobs:
                job.run(transaction)
                done += 1
                if time.monotonic() - began_s > _HELD_S:
                    break
            transaction.flush()
            if writing and began_s - self._swept_s > _SWEEP_S:
                transaction.sweep()
                self._swept_s = began_s
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return done

    def _connected(self) -> sqlite3.Connection:
        """The connection to the file that is there now: the one that was opened may have been removed since."""
        if self.connection is not None and not self._is_same_file():
            self._close()
        if self.connection is None:
            self.connection = open_database(self._path)
            self._opened = self._path.stat()
        return self.connection

    def _is_same_file(self) -> bool:
        try:
            found = self._path.stat()
        except OSError:
            return False
        return self._opened is not None and (found.st_ino, found.st_dev) == (self._opened.st_ino, self._opened.st_dev)

    def _signal(self, signals: Sequence[Signal]) -> None:
        try:
            self._board.send(signals)
        # The states are stored; that nobody was woken is for the log, and shells look again by themselves.
        except Exception:  # noqa: BLE001
            _log.warning("store.not_signalled %s", self._path, exc_info=True)

    def _fail(self, jobs: list[Job[Any]], error: BaseException, cause: BaseException | None) -> None:
        self._close()
        for job in jobs:
            # One error an awaiting task: each adds its own traceback.
            job.error = type(error)(*error.args) if isinstance(error, CoterieError) else error
            job.error.__cause__ = cause
        _settle(jobs)

    def _close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                _log.warning("store.not_closed %s: %r", self._path, error)


def _jittered(wait_s: float) -> float:
    return wait_s * random.uniform(0.5, 1.0)  # noqa: S311  # nobody gains by guessing it


def _settle(jobs: Sequence[Job[Any]]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[Job[Any]]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, theirs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_each, theirs)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            continue


def _settle_each(jobs: Sequence[Job[Any]]) -> None:
    for job in jobs:
        job.settle()
