"""Who works: the registrations of workers, how they are kept alive, and who notices that one is lost."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from coterie._rules import worker as rule
from coterie._rules.timeline import micros
from coterie._rules.worker import WorkerRecord, worker_record
from coterie.errors import WorkerIdTaken
from coterie.ids import AgentType
from coterie.journal.owner import is_known_dead, told
from coterie.ports import LogStore, StateStore
from coterie.remote.clock import WorkerClock, clock_off_of
from coterie.remote.queue import GROUP, topic_of

__all__ = ["KEEP_S", "Registration", "WorkerStatus", "bury", "list_workers", "name_here", "release_here", "worker_key"]

_log = logging.getLogger("coterie.remote")

# A worker that is lost is shown so long.
KEEP_S = 86_400.0


def worker_key(worker_id: str) -> str:
    """Of its registration; and the channel on which it is told of cancelled calls."""
    return f"worker/{worker_id}"


def name_here() -> str:
    """A name for a worker of this process: of the machine's name, and chance."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:60].strip("-_") or "worker"
    return f"{host}-{os.getpid()}-{os.urandom(2).hex()}"


def release_here() -> str:
    """The versions of coterie and Python in this process, as `0.1.0/3.11`."""
    # Takes milliseconds, and is asked for once a worker.
    from importlib.metadata import version

    return f"{version('coterie')}/{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker, as its registration says.

    state: "alive", "draining" (it takes no more), or "lost" (it is not heard of). process: for people.
    since_s: seconds since it began; seen_s: since it was heard of last. release: coterie's and Python's versions there,
    as `0.1.0/3.11`; empty of a worker that does not say. clock_off_s: by how much its clock is ahead of the store's;
    less than 0: behind it; None: it does not say.
    """

    id: str
    state: str
    types: tuple[AgentType, ...]
    capacity: int
    in_use: int
    process: str
    since_s: float
    seen_s: float
    release: str = ""
    clock_off_s: float | None = None


async def list_workers(store: StateStore) -> list[WorkerStatus]:
    """All workers of the namespace, by id; those that are lost for a day."""
    found = []
    for worker_id, record, now, clock_off_s in await _records(store):
        alive = record.is_alive(now) and not is_known_dead(record.session)
        state = "lost" if not alive else "draining" if record.is_draining else "alive"
        since_s, seen_s = (max(0.0, (now - at) / 1e6) for at in (record.since_us, record.seen_us))
        found.append(
            WorkerStatus(
                worker_id,
                state,
                record.types,
                record.capacity,
                record.in_use,
                told(record.session),
                since_s,
                seen_s,
                record.release,
                clock_off_s,
            )
        )
    return found


class Registration:
    """Of one worker in one store. now: seconds since the epoch, as the worker has them."""

    def __init__(
        self,
        store: StateStore,
        worker_id: str,
        session: str,
        types: Collection[AgentType],
        *,
        lease_s: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._key = worker_key(worker_id)
        self.worker_id = worker_id
        self.session = session
        self._types = tuple(types)
        self._lease_us = micros(lease_s)
        self._clock = WorkerClock(store, worker_id, self._key, now=now)

    async def enlist(self, capacity: int) -> None:
        """Begin.

        Raises:
            WorkerIdTaken: another process is alive under the id. Unavailable: the store failed.
        """
        dead: set[str] = set()
        await self._clock.look()
        while True:
            decide = partial(
                rule.enlist,
                session=self.session,
                types=self._types,
                capacity=capacity,
                lease_us=self._lease_us,
                dead=frozenset(dead),
                release=release_here(),
            )
            holder = (await self._store.update(self._key, self._clock.noting(decide), keep_s=KEEP_S)).holder
            if holder is None:
                return
            if holder.session in dead or not is_known_dead(holder.session):
                raise WorkerIdTaken(self.worker_id, told(holder.session))
            dead.add(holder.session)

    async def report(self, *, in_use: int, is_draining: bool) -> bool:
        """Be heard of; whether the id is still this worker's."""
        decide = partial(rule.report, session=self.session, in_use=in_use, is_draining=is_draining)
        held: bool = await self._store.update(self._key, self._clock.noting(decide), keep_s=KEEP_S)
        # After it, which is in a hurry; the next one tells of it.
        await self._clock.look()
        return held

    async def end(self) -> None:
        """Give the id up."""
        await self._store.update(self._key, partial(rule.quit_work, session=self.session), keep_s=KEEP_S)

    async def others(self) -> dict[str, WorkerRecord]:
        """The other workers that nobody has said to be lost."""
        return {
            found.worker_id: found.record
            for found in await _records(self._store)
            if found.record.session != self.session and not found.record.is_lost
        }

    async def is_first_to_miss(self, worker_id: str, record: WorkerRecord) -> bool:
        """Note that a worker is lost, if it is; whether nobody else had."""
        decide = partial(rule.mark_lost, session=record.session, is_dead=is_known_dead(record.session))
        return await self._store.update(worker_key(worker_id), decide, keep_s=KEEP_S) is not None


async def bury(log: LogStore, record: WorkerRecord) -> int:
    """Let others have what a worker held that is known to have ended; how much that was."""
    freed = 0
    for agent_type in record.types:
        topic = topic_of(agent_type)
        for group in await log.groups(topic):
            for consumer in group.consumers if group.name == GROUP else ():
                if consumer.name.partition("/")[0] == record.session:
                    freed += await log.leave(topic, GROUP, consumer.name, died=True)
    return freed


class _Found(NamedTuple):
    """now: the store's clock, in microseconds."""

    worker_id: str
    record: WorkerRecord
    now: int
    clock_off_s: float | None


async def _records(store: StateStore) -> list[_Found]:
    found = []
    for key in await store.keys("worker"):
        state, now = await store.read(key)
        record = worker_record(state)
        if record is not None:
            found.append(_Found(key.partition("/")[2], record, now, clock_off_of(state)))
    return found
