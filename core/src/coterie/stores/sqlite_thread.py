"""The thread that works for one store in a SQLite file, and folds all that waits for it into one transaction."""

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
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from coterie.errors import CoterieError
from coterie.stores.sqlite_file import Form, is_busy, may, open_database, translated

__all__ = ["Job", "StoreThread", "Tables", "Transaction", "Work"]

T = TypeVar("T")
Tr = TypeVar("Tr", bound="Transaction")

_log = logging.getLogger("coterie.store")

# One transaction takes at most so many decisions, or so long: then the other processes get their turn.
_FOLDED = 256
_HELD_S = 0.02
# Between two attempts at the lock; doubled each time, with jitter.
_FIRST_WAIT_S = 0.0002
_LONGEST_WAIT_S = 0.004
# What is not needed any more is removed so often.
_SWEEP_S = 60.0
_PAUSING_S = 1.0


class Transaction(Protocol):
    """What the works of one transaction see, each what the one before it left."""

    def is_full(self) -> bool:
        """Whether it has so much to write that others should wait for the next."""
        ...

    def flush(self) -> None:
        """Write what was changed."""
        ...

    def sweep(self) -> None:
        """Remove some of what is not needed any more."""
        ...


class Tables(Protocol[Tr]):
    """What a store keeps in its file. Called in the store's thread, but for `inherited`."""

    @property
    def form(self) -> Form:
        """What the database is like."""
        ...

    def begin(self, connection: sqlite3.Connection) -> Tr:
        """A transaction that has begun."""
        ...

    def stored(self, transaction: Tr) -> None:
        """Called when it is committed, before its callers learn of it. Must not raise."""
        ...

    def tend(self, connection: sqlite3.Connection) -> None:
        """Called after they have learnt of it: what need not keep them waiting."""
        ...

    def close(self) -> None:
        """The end of the thread."""
        ...

    def inherited(self) -> None:
        """Called in a forked child: let go of what is the parent's."""
        ...


# What a job does, in a transaction. What it raises is its caller's, and must leave the transaction as it was.
Work: TypeAlias = Callable[[Tr], T]


class Job(Generic[Tr, T]):
    """A work that a task waits for. writes: whether it may change anything; others never wait for a lock."""

    __slots__ = ("error", "future", "loop", "result", "until_s", "work", "writes")

    def __init__(self, work: Work[Tr, T], *, writes: bool, until_s: float) -> None:
        self.work = work
        self.writes = writes
        self.until_s = until_s
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()
        self.result: T | None = None
        self.error: BaseException | None = None

    def run(self, transaction: Tr) -> None:
        """Do the work; its end is kept until the transaction has ended."""
        self.result, self.error = None, None
        try:
            self.result = self.work(transaction)
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


class StoreThread(Generic[Tr]):
    """Runs jobs, one transaction after the other."""

    def __init__(self, path: Path, tables: Tables[Tr]) -> None:
        self._path = path
        self._tables = tables
        self._queue: queue.SimpleQueue[Job[Tr, Any] | None] = queue.SimpleQueue()
        self._reads: list[Job[Tr, Any]] = []
        self._writes: list[Job[Tr, Any]] = []
        self._stopping = False
        self._ended: list[Callable[[], None]] = []
        # Held while SQLite is at work: a fork in the midst of it would leave its locks locked in the child for ever.
        self._at_work = threading.Lock()
        self._paused = False
        self._opened: os.stat_result | None = None
        self._swept_s = time.monotonic()
        self.connection: sqlite3.Connection | None = None
        threading.Thread(target=self._run, daemon=True, name=f"coterie-{tables.form.kind}-{path.name}").start()

    def submit(self, job: Job[Tr, Any]) -> None:
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
            self._tables.close()
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

    def _take(self, job: Job[Tr, Any] | None) -> None:
        if job is None:
            self._stopping = True
        else:
            (self._writes if job.writes else self._reads).append(job)

    def _waited_for(self, jobs: list[Job[Tr, Any]]) -> list[Job[Tr, Any]]:
        """Without those whose callers have gone, or have waited long enough."""
        now_s = time.monotonic()
        return [job for job in jobs if not job.future.done() and job.until_s > now_s]

    def _serve(self, jobs: list[Job[Tr, Any]], *, writing: bool = False) -> list[Job[Tr, Any]]:
        """Do these jobs together and hand over their ends. Returns those for which there was no lock, or no time."""
        if not jobs:
            return []
        try:
            connection = self._connected()
            done = self._transact(connection, jobs, writing=writing)
        except sqlite3.Error as error:
            if is_busy(error):
                return jobs
            if not writing and len(jobs) > 1:
                # Where something is damaged, only those who ask for it are told.
                return [left for job in jobs for left in self._serve([job])]
            self._fail(jobs, translated(error, self._path, self._tables.form), error)
            return []
        # Typed errors of opening, and mistakes of ours: all go to who waits, none ends the thread.
        except BaseException as error:  # noqa: BLE001
            self._fail(jobs, error, error.__cause__)
            return []
        _settle(jobs[:done])
        if writing:
            self._tend(connection)
        return jobs[done:]

    def _transact(self, connection: sqlite3.Connection, jobs: list[Job[Tr, Any]], *, writing: bool) -> int:
        """Returns how many of the jobs were done, at least one."""
        connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
        try:
            transaction = self._tables.begin(connection)
            began_s, done = time.monotonic(), 0
            for job in jobs:
                job.run(transaction)
                done += 1
                if transaction.is_full() or time.monotonic() - began_s > _HELD_S:
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
        self._tables.stored(transaction)
        return done

    def _tend(self, connection: sqlite3.Connection) -> None:
        try:
            self._tables.tend(connection)
        # Nobody waits for it: should it matter, the next transaction meets it.
        except sqlite3.Error as error:
            if not is_busy(error):
                _log.warning("store.not_tended %s: %r", self._path, error)

    def _connected(self) -> sqlite3.Connection:
        """The connection to the file that is there now: the one that was opened may have been removed since."""
        if self.connection is not None and not self._is_same_file():
            self._close()
        if self.connection is None:
            self.connection = open_database(self._path, self._tables.form)
            # What may only be read is opened each time: nothing tells it of those who write.
            self._opened = self._path.stat() if may(self._path, os.W_OK) else None
        return self.connection

    def _is_same_file(self) -> bool:
        try:
            found = self._path.stat()
        except OSError:
            return False
        return self._opened is not None and (found.st_ino, found.st_dev) == (self._opened.st_ino, self._opened.st_dev)

    def _fail(self, jobs: list[Job[Tr, Any]], error: BaseException, cause: BaseException | None) -> None:
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


def _settle(jobs: Sequence[Job[Any, Any]]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[Job[Any, Any]]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, theirs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_each, theirs)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            continue


def _settle_each(jobs: Sequence[Job[Any, Any]]) -> None:
    for job in jobs:
        job.settle()
