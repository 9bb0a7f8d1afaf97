"""`coterie worker`: one worker in this process, until it is drained."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from coterie.cli.failure import json_line, says_json
from coterie.cli.logs import json_logs, others_told
from coterie.cli.session import JournalMode
from coterie.cli.sources import artifacts_url, load_team
from coterie.cli.streams import reserved_stdout
from coterie.cli.survivors import kill_children
from coterie.cli.words import count_of
from coterie.cli.worker.measuring import Measuring
from coterie.errors import Misuse
from coterie.journal import Journal
from coterie.remote.worker import Worker
from coterie.runtime import Runtime
from coterie.stores.opening import open_journal_store
from coterie.team import Team
from coterie.telemetry.logs import message_of

__all__ = ["WorkerJob", "address_of", "types_of", "worker_command"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MOST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerJob:
    """What to work with, and how; see `Worker`. store, namespace, artifacts: None: as the environment says.

    logs_json: whether standard error is for programs.
    """

    team: str
    types: tuple[str, ...] = ()
    capacity: int | None = None
    store: str | None = None
    namespace: str | None = None
    artifacts: str | None = None
    worker_id: str | None = None
    health: tuple[str, int] | None = None
    metrics: bool = False
    once: bool = False
    journal: JournalMode = "strict"
    lease_s: float = 15.0
    graceful_shutdown_timeout_s: float | None = None
    logs_json: bool = False


def types_of(given: list[str]) -> tuple[str, ...]:
    """Types, as `--types linter,security` has them."""
    return tuple(dict.fromkeys(name.strip() for each in given for name in each.split(",") if name.strip()))


def address_of(given: str | None) -> tuple[str, int] | None:
    """Where to listen, as `--health HOST:PORT` has it.

    Raises:
        Misuse: that is no address.
    """
    if given is None:
        return None
    host, colon, port = given.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > _MOST_PORT:
        raise Misuse(f"--health is {given!r}; give HOST:PORT, such as 127.0.0.1:8080")
    return host.strip("[]") or "127.0.0.1", int(port)


def worker_command(job: WorkerJob, *, quiet: bool) -> int:
    """Work until drained, and return the exit code. quiet: say only what is wrong."""
    team = load_team(job.team)
    with reserved_stdout(), json_logs(quiet=quiet) if job.logs_json else _logs(quiet=quiet):
        try:
            asyncio.run(_work(job, team, quiet=quiet))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
    return 0


async def _work(job: WorkerJob, team: Team, *, quiet: bool) -> None:
    namespace = job.namespace or os.environ.get("COTERIE_NAMESPACE") or "default"
    if (job.store or os.environ.get("COTERIE_STORE") or "").startswith("memory:"):
        raise Misuse("nobody else sees a store in memory; name the fleet's store with --store or COTERIE_STORE")
    measuring = Measuring(health=job.health) if job.metrics else None
    async with (
        _journal(job, namespace) as journal,
        Runtime(
            team,
            artifacts=artifacts_url(job.artifacts),
            store=job.store,
            store_named_by="--store",
            journal=journal or False,
            namespace=namespace,
            on_event=measuring,
            graceful_shutdown_timeout_s=job.graceful_shutdown_timeout_s,
        ) as runtime,
    ):
        worker = Worker(
            runtime,
            types=job.types or None,
            capacity=job.capacity,
            worker_id=job.worker_id,
            lease_s=job.lease_s,
            health=job.health,
            once=job.once,
        )
        if measuring is not None:
            measuring.of(worker, runtime)
        say = _nothing if quiet else _say
        with _signals(worker, say, runtime.orchestrator.graceful_shutdown_timeout_s):
            await worker.run(registered=partial(say, _beginning(worker)))
            say(f"worker {worker.id}: it has left")


def _beginning(worker: Worker) -> str:
    return f"worker {worker.id}: {', '.join(worker.types)}; at most {worker.capacity} at a time"


@contextmanager
def _signals(worker: Worker, say: Callable[[str], None], timeout_s: float) -> Iterator[None]:
    """The first drains the worker, the second gives back at once what it is at, the third ends the process.

    timeout_s: how long the worker lets its tasks finish.
    """
    loop, main = asyncio.get_running_loop(), asyncio.current_task()
    heard = 0
    timer: asyncio.TimerHandle | None = None

    def give_back(when: str) -> None:
        if worker.in_use:
            say(f"{count_of(worker.in_use, 'task')} not finished {when}: given back, for other workers to do")

    def stop() -> None:
        nonlocal heard, timer
        heard += 1
        if heard == 1:
            say(_draining(worker.in_use, timeout_s))
            timer = loop.call_later(timeout_s, give_back, f"within {timeout_s:g} s")
            worker.stop()
        elif heard == len(_SIGNALS):
            assert timer is not None
            timer.cancel()
            give_back("yet")
            say("ending; once more to end at once")
            assert main is not None
            main.cancel()
        else:
            kill_children()
            os._exit(130)

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _draining(in_use: int, timeout_s: float) -> str:
    if not in_use:
        return "stopping: no task begins any more, and none is at work"
    at_work = f"{count_of(in_use, 'task')} at work may finish within {timeout_s:g} s"
    return f"stopping: no task begins any more; {at_work}, and go back after that; once more to give them back now"


@asynccontextmanager
async def _journal(job: WorkerJob, namespace: str) -> AsyncIterator[Journal | None]:
    if job.journal == "off":
        yield None
        return
    # As long as the worker itself is believed, and no longer.
    store = open_journal_store(job.store, namespace, durability=job.journal, named_by="--store")
    journal = Journal(store, lease_s=job.lease_s)
    try:
        yield journal
    finally:
        await journal.aclose()


@contextmanager
def _logs(*, quiet: bool) -> Iterator[None]:
    """What coterie logs, one line each, on standard error; of the ordinary course, what the worker does alone."""
    handler = _Lines()
    root, own = logging.getLogger("coterie"), logging.getLogger("coterie.remote")
    before = own.level
    root.addHandler(handler)
    if not quiet:
        own.setLevel(logging.INFO)
    try:
        with others_told():
            yield
    finally:
        root.removeHandler(handler)
        own.setLevel(before)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        if record.levelno >= logging.WARNING or record.name == "coterie.remote":
            _say(message_of(record))


def _nothing(_: str) -> None:
    """As `_say`, where nothing is to be said."""


def _say(line: str) -> None:
    line = json_line(line) if says_json() else line
    # Whoever read them may be gone: that ends no work.
    with suppress(OSError):
        sys.stderr.write(line.encode("ascii", "backslashreplace").decode() + "\n")
        sys.stderr.flush()
