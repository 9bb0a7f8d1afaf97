"""A worker: a process that takes calls from their queues and performs them with the agents of its team."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from coterie._json import JsonValue
from coterie._rules import call as rule
from coterie._rules.log import Delivery
from coterie.errors import CoterieError, Misuse, PolicyError, Unavailable, WorkerIdTaken
from coterie.ids import AgentType, check_name
from coterie.journal.outage import Outage
from coterie.journal.owner import new_owner
from coterie.remote.announcer import Announcer
from coterie.remote.call import Call
from coterie.remote.health import Health
from coterie.remote.neighbours import Neighbours
from coterie.remote.performing import Job, Performer
from coterie.remote.queue import call_key
from coterie.remote.registry import Registration, name_here, worker_key
from coterie.remote.taking import TypeQueue, take_round
from coterie.shutdown import check_timeout_s
from coterie.task import Task
from coterie.work import Work

if TYPE_CHECKING:
    from coterie.orchestrator import Orchestrator
    from coterie.remote.calls import RemoteCalls

__all__ = ["Worker", "Workshop"]

_log = logging.getLogger("coterie.remote")

# Without a word from its queues a worker looks at them so often.
LOOK_S = 2.0
# So often it is told that it works; it is registered anew three times within its lease.
HEARTBEAT_S = 30.0
_AWAY_S = 1.0
# Agents that are cancelled have so long to end.
GRACE_S = 10.0


class Workshop(Protocol):
    """What a worker works with; a `Runtime` is one."""

    @property
    def orchestrator(self) -> Orchestrator:
        """Who performs tasks."""

    @property
    def remote(self) -> RemoteCalls:
        """The way to the queues."""


class Worker:
    """Takes calls and performs them, until it is drained.

    runtime: whose team, stores and journal it works with; it stays its opener's.
    types: which agent types it performs; by default all that the team has agents for.
    capacity: how many tasks at a time, of all types together; by default as many as the agents have slots. Of each
        type it performs no more than its agents have slots.
    worker_id: 1 to 128 letters, digits, `_` and `-`; no two workers that are alive have the same. By default made of
        the machine's name, and chance.
    lease_s: when nothing is heard of it for so long, others take over what it was at.
    health: host and port to answer `/live` and `/ready` at. once: work off what is there, then end.
    graceful_shutdown_timeout_s: how long agents go on after `stop`; by default as the runtime's orchestrator.

    Raises:
        UnknownAgentType: the team has no agents for a type. Misuse: no team, no types, a name that is none.
        PolicyError: a capacity, or a lease, that cannot be.
    """

    def __init__(
        self,
        runtime: Workshop,
        *,
        types: Sequence[AgentType] | None = None,
        capacity: int | None = None,
        worker_id: str | None = None,
        lease_s: float = 15.0,
        health: tuple[str, int] | None = None,
        once: bool = False,
        graceful_shutdown_timeout_s: float | None = None,
    ) -> None:
        if not 1.0 <= lease_s <= 86_400.0:
            raise PolicyError(f"the worker has lease_s {lease_s!r}; give 1 to 86400 seconds")
        orchestrator = runtime.orchestrator
        slots = orchestrator.local_slots(types)
        if not slots:
            raise Misuse("the team has no agents that could work here; give a team with some, not only remote ones")
        most = sum(each.capacity for each in slots.values())
        if capacity is not None and (type(capacity) is not int or capacity < 1):
            raise PolicyError(f"the worker has capacity {capacity!r}; give a whole number >= 1")
        self.capacity = most if capacity is None else capacity
        self.types = tuple(sorted(slots))
        self.id = check_name(worker_id or name_here(), "the worker's id")
        self.session = new_owner()
        self._lease_s = lease_s
        self._once = once
        self._timeout_s = (
            orchestrator.graceful_shutdown_timeout_s
            if graceful_shutdown_timeout_s is None
            else check_timeout_s(graceful_shutdown_timeout_s)
        )
        self._orchestrator = orchestrator
        self._calls = runtime.remote
        self._announcer = Announcer(self._calls.bus)
        alarm, store, now = self._calls.alarm, self._calls.store, orchestrator.now
        self._registration = Registration(store, self.id, self.session, self.types, lease_s=lease_s, now=now)
        alarm.on_event = alarm.on_event or orchestrator.tell
        self._outage = Outage(_log, "worker.store_away", "worker.store_back", now=now, alarm=alarm)
        self._silence = Outage(_log, "worker.not_heard", "worker.heard_again", now=now, alarm=alarm)
        self._performer = Performer(
            orchestrator,
            self._calls,
            self._announcer,
            worker_id=self.id,
            session=self.session,
            outage=self._outage,
        )
        self._jobs: dict[asyncio.Task[None], Job] = {}
        self._beside = Work()
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._over = asyncio.Event()
        self._is_registered = False
        self._neighbours = Neighbours(self._calls.log, self._registration, self._announcer)
        self._slots = slots
        self._queues = [
            TypeQueue(
                self._calls.log,
                agent_type,
                self.session,
                lease_s=lease_s,
                free=partial(self._free, agent_type),
                woken=self._woken.set,
            )
            for agent_type in slots
        ]
        self.health = Health(*health, self.status) if health is not None else None

    def __repr__(self) -> str:
        return f"Worker({self.id!r}, types={list(self.types)}, capacity={self.capacity})"

    @property
    def in_use(self) -> int:
        """How many tasks it is at."""
        return len(self._jobs)

    def status(self) -> dict[str, JsonValue]:
        """What health checks are told. ready: it takes tasks, and its stores answered when it last asked."""
        is_away = self._outage.is_on or self._silence.is_on
        is_hindered = self._stopping.is_set() or is_away or self._performer.doubts_journal
        return {
            "ready": self._is_registered and not is_hindered,
            "worker": self.id,
            "types": list(self.types),
            "capacity": self.capacity,
            "in_use": self.in_use,
            "draining": self._stopping.is_set(),
        }

    def stop(self) -> None:
        """Take no more tasks, let those that are at work finish for a while, and then let `run` end."""
        self._stopping.set()
        self._woken.set()

    async def drain(self, timeout_s: float | None = None) -> None:
        """As `stop`, and wait for the end of `run`. timeout_s: for how long agents go on."""
        if timeout_s is not None:
            self._timeout_s = check_timeout_s(timeout_s, "timeout_s")
        self.stop()
        await self._over.wait()

    async def run(self, *, registered: Callable[[], None] | None = None) -> None:
        """Work until `stop` or, with `once`, until there is nothing left to take. Cancelled, it gives back at once what
        it was at.

        registered: called once others see that it works, before it takes anything.

        Raises:
            WorkerIdTaken: another worker of this id is alive. Misuse: nobody can listen for health checks there.
            PolicyError: its journal cannot be used, such as a strict one in a store that is not durable.
            Unavailable: the stores did not answer at the beginning; later they are waited for.
        """
        if self.health is not None:
            await self.health.start()
        _warm_up()
        try:
            # Rather than take tasks, and find that none can be recorded.
            await self._orchestrator.look_at_journal()
            await self._registration.enlist(self.capacity)
            self._is_registered = True
            background: list[asyncio.Task[None]] = []
            try:
                await self._calls.store.subscribe(worker_key(self.id), self._told)
                for queue in self._queues:
                    await queue.watch()
                self._tell("agent.registered", slots={name: pool.capacity for name, pool in self._slots.items()})
                background += [asyncio.create_task(each) for each in (self._beats(), self._neighbours.mind())]
                if registered is not None:
                    registered()
                await self._work()
            finally:
                await self._end(background)
        finally:
            self._over.set()
            if self.health is not None:
                await self.health.aclose()
            await self._announcer.aclose()

    async def _work(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                if self._performer.doubts_journal:
                    await self._orchestrator.rely_on_journal()
                    self._performer.doubts_journal = False
                await take_round(self._queues, self._room(), self._begin, self._performer.give_up)
                self._outage.answered()
            except Unavailable as error:
                self._outage.failed(self.id, error)
                await self._pause(_AWAY_S)
                continue
            if self._has_more():
                continue
            if self._once and not self._jobs and not any(queue.stirred for queue in self._queues):
                return
            await self._pause(self._look_s())

    def _has_more(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        return self._room() > 0 and any(queue.free > 0 and queue.has_cause(now_s) for queue in self._queues)

    def _room(self) -> int:
        """How many more tasks it may be at, of all types together."""
        stuck = sum(pool.stuck for pool in self._slots.values())
        # As of an agent's slots: rather one too many than none ever again, where threads hang for good.
        return max(1, self.capacity - stuck) - self.in_use

    def _look_s(self) -> float:
        if self._room() <= 0:
            # Nothing can be taken before a task ends, and that is told.
            return LOOK_S
        now_s = asyncio.get_running_loop().time()
        return min([LOOK_S, *(due for queue in self._queues if (due := queue.next_s(now_s)) is not None)])

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            for queue in self._queues:
                # In case a word was lost.
                queue.stirred = True

    def _begin(self, queue: TypeQueue, delivery: Delivery) -> None:
        job = Job(queue, delivery)
        task = asyncio.get_running_loop().create_task(self._see_through(job))
        self._jobs[task] = job
        task.add_done_callback(self._ended)

    async def _see_through(self, job: Job) -> None:
        try:
            await self._performer.perform(job)
        except CoterieError as error:
            # Its lease ends, and whoever takes the message then finds out how things stand.
            _log.warning("call.left %s at %s: %s", job.queue.topic, job.position, error)
            await self._performer.leave(job, error)
        # A mistake of coterie's own must not be the end of all other jobs.
        except Exception as error:  # noqa: BLE001  # logged, with its trace
            _log.exception("call.left %s at %s", job.queue.topic, job.position)
            await self._performer.leave(job, error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        job = self._jobs.pop(task)
        if not job.was_refused:
            job.queue.wake()
        self._woken.set()

    def _free(self, agent_type: AgentType) -> int:
        running = sum(job.queue.agent_type == agent_type for job in self._jobs.values())
        pool = self._slots[agent_type]
        return pool.capacity - pool.stuck - running

    def _told(self, message: str | None) -> None:
        """A call of this worker's was cancelled; or, for all that is known, any of them."""
        for job in list(self._jobs.values()):
            if message is None:
                self._beside.start(self._look_after(job))
            elif job.asking is not None and job.asking.call_id == message:
                if job.token:
                    job.end("cancelled")
                job.is_suspect = True

    async def _look_after(self, job: Job) -> None:
        """See whether the attempt is still wanted."""
        if job.asking is None or not job.token:
            return
        try:
            state, _ = await self._calls.store.read(call_key(job.asking.call_id))
        except Unavailable:
            return
        record = rule.call_record(state)
        if record is None or record.phase == "cancelled":
            job.end("cancelled")
        elif record.token != job.token:
            job.end("lost")

    async def _beats(self) -> None:
        told_at, pause_s = asyncio.get_running_loop().time(), self._lease_s / 3
        while True:
            await asyncio.sleep(pause_s)
            # An outage shorter than what is left of the lease is not to use up the rest of it.
            pause_s = min(_AWAY_S, self._lease_s / 15)
            try:
                await self._beat()
                self._silence.answered()
            except Unavailable as error:
                self._silence.failed(self.id, error)
            # Whoever is not heard of is replaced while he works: nothing may end this.
            except Exception:  # noqa: BLE001  # logged, with its trace
                _log.exception("worker.not_heard %s", self.id)
            else:
                pause_s = self._lease_s / 3
                if asyncio.get_running_loop().time() - told_at >= HEARTBEAT_S:
                    told_at = asyncio.get_running_loop().time()
                    self._tell("agent.heartbeat", in_use=self.in_use)

    async def _beat(self) -> None:
        for queue in self._queues:
            if await queue.beat(self._lease_s):
                _log.warning("worker.was_lost %s: it was not heard of, and others do what it was at", self.id)
        if not await self._registration.report(in_use=self.in_use, is_draining=self._stopping.is_set()):
            await self._enlist_again()
        await asyncio.gather(*(self._look_after(job) for job in list(self._jobs.values())))

    async def _enlist_again(self) -> None:
        """Its registration is gone with the store's memory, or is another's, who took this one for lost."""
        try:
            await self._registration.enlist(self.capacity)
        except WorkerIdTaken as error:
            _log.error("worker.replaced: this one ends: %s", error)
            self.stop()

    async def _end(self, background: list[asyncio.Task[None]]) -> None:
        """Let agents finish, give the rest back, and leave."""
        was_stopped = self._stopping.is_set()
        self.stop()
        self._tell("agent.draining", in_use=self.in_use)
        # Those who list workers see it, and the next beat is seconds away.
        self._beside.start(self._report_draining())
        current = asyncio.current_task()
        try:
            if self._jobs and was_stopped and not (current is not None and current.cancelling()):
                await asyncio.wait(set(self._jobs), timeout=self._timeout_s)
        finally:
            for job in self._jobs.values():
                job.end("drained")
            if self._jobs:
                await asyncio.wait(set(self._jobs), timeout=GRACE_S)
            await self._beside.aclose(0.0)
            await self._performer.aclose()
            # Of who is not done by now, the message goes to others, as his consumer leaves.
            for job_task in list(self._jobs):
                job_task.cancel()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await self._leave()

    async def _report_draining(self) -> None:
        with suppress(Unavailable):
            await self._registration.report(in_use=self.in_use, is_draining=True)

    async def _leave(self) -> None:
        for queue in self._queues:
            with suppress(Unavailable):
                await queue.unwatch()
            with suppress(Unavailable):
                await queue.leave()
        with suppress(Unavailable):
            await self._calls.store.unsubscribe(worker_key(self.id), self._told)
            await self._registration.end()
        self._is_registered = False
        self._tell("agent.left")

    def _tell(self, name: str, **fields: JsonValue) -> None:
        data: dict[str, JsonValue] = {"worker": self.id, "types": list(self.types), "capacity": self.capacity}
        self._announcer.tell(name, {**data, **fields})


def _warm_up() -> None:
    """Build what reads documents, before the first task waits for it."""
    Call.from_json(Call(id="none", workflow_id="none", task=Task("none", "none")).to_json())
