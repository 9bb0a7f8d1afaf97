"""The team and stores that a task run works with: those of the plan run around it, or its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from coterie import Runtime, Team
from coterie.bus import BusListener
from coterie.context import Run
from coterie.errors import CoterieError
from coterie.journal import Intent, Journal
from coterie.journal.keeping import Keeping
from coterie.telemetry.recording import had_ended, record_run
from prefect_coterie.blocks import CoterieArtifacts, CoterieTeam
from prefect_coterie.journalling import Journalled
from prefect_coterie.policy import tried_again
from prefect_coterie.run_log import tell_run_log
from prefect_coterie.shutdown import drained, graceful
from prefect_coterie.source import namespace_of, open_team
from prefect_coterie.state_block import CoterieStore
from prefect_coterie.trace_artifact import show_trace
from prefect_coterie.waiting import tell_waiting

if TYPE_CHECKING:
    from coterie import JsonValue, Plan, WorkflowResult
    from coterie.bus import EventBus

__all__ = ["Job", "recorded", "session", "shared_session", "stop_sessions"]


@dataclass(frozen=True, slots=True)
class Job:
    """What all task runs of one plan run are told. It travels to other processes.

    store: where the team's policies count; None for a team without any. journal: where what is finished is recorded;
    None: nowhere. calls: where workers are asked; None: nobody asks any.
    """

    team: CoterieTeam | Team
    artifacts: CoterieArtifacts
    workflow_id: str
    params: dict[str, JsonValue] = field(default_factory=dict)
    store: CoterieStore | None = None
    journal: Journalled | None = None
    calls: CoterieStore | None = None

    @property
    def intent(self) -> Intent | None:
        """What the journal is asked for."""
        return self.journal.intent if self.journal is not None else None


@dataclass(frozen=True, slots=True)
class _Shared:
    job: Job
    runtime: Runtime
    loop: asyncio.AbstractEventLoop


_working: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]]] = {}
_shared: ContextVar[_Shared | None] = ContextVar("prefect_coterie_session", default=None)


@asynccontextmanager
async def shared_session(job: Job) -> AsyncIterator[Runtime]:
    """Open the job's runtime for all its task runs in this event loop: an agent's capacity is theirs together."""
    with graceful():
        async with _open(job) as runtime:
            token = _shared.set(_Shared(job, runtime, asyncio.get_running_loop()))
            try:
                yield runtime
            finally:
                _shared.reset(token)


@asynccontextmanager
async def session(job: Job) -> AsyncIterator[Runtime]:
    """The runtime of the surrounding `shared_session` of this job, else one that lives as long as this block."""
    found = _shared.get()
    # A task runner's thread inherits the variable, but has a loop of its own.
    if found is not None and found.job == job and found.loop is asyncio.get_running_loop():
        yield found.runtime
        return
    with graceful():
        async with _open(job) as runtime:
            with _noted(job.workflow_id):
                yield runtime


@asynccontextmanager
async def recorded(job: Job, plan: Plan) -> AsyncIterator[Callable[[WorkflowResult], Awaitable[None]]]:
    """Let the job's journal, if it has one, know of the run that begins; call what it gives with how the run ended.

    The run's span, where spans are recorded, is made then too, and the link to its trace.

    Raises:
        PlanChanged: it began with another plan.
    """
    if job.journal is None:

        async def traced(result: WorkflowResult) -> None:
            await record_run(result, namespace=namespace_of(job.team))
            namespace = namespace_of(job.team)
            await show_trace(job.workflow_id, plan.name, namespace=namespace, store=job.store, journal=None)

        yield traced
        return
    store, intent = job.journal.store, job.journal.intent
    journal = Journal(store.get_journal_store())
    team_path, again = open_team(job.team).path, False
    run = Run(job.workflow_id, namespace_of(job.team), params=job.params)

    async def concluded(result: WorkflowResult) -> None:
        with suppress(CoterieError):
            # Nothing depends on it.
            await record_run(result, namespace=namespace_of(job.team), journal=journal, again=again)
        # All is done and paid for: a store that is away for a moment does not make a failure of it.
        await tried_again(partial(journal.conclude, job.workflow_id, result.status, by=intent.engine_run))
        await show_trace(job.workflow_id, plan.name, namespace=run.namespace, store=store, journal=journal)

    try:
        keeping = Keeping(journal, job.artifacts.get_store(), team_path=team_path, on_event=None)
        again = await tried_again(partial(had_ended, job.workflow_id, journal))
        await tried_again(partial(keeping.begin, plan, run, intent))
        yield concluded
    finally:
        await journal.aclose()


def stop_sessions(workflow_id: str) -> None:
    """Cancel the task runs of this run that have sessions of their own in this process: in a runner's threads.

    Prefect's thread pool waits for its threads, and does not interrupt them.
    """
    for loop, work in tuple(_working.get(workflow_id, ())):
        # A loop that has closed in the meantime has nothing left to cancel.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(work.cancel)


@contextmanager
def _noted(workflow_id: str) -> Iterator[None]:
    entry = asyncio.get_running_loop(), asyncio.current_task()
    if entry[1] is None:
        yield
        return
    here = _working.setdefault(workflow_id, set())
    here.add((entry[0], entry[1]))
    try:
        yield
    finally:
        here.discard((entry[0], entry[1]))
        if not here:
            _working.pop(workflow_id, None)


@asynccontextmanager
async def _open(job: Job) -> AsyncIterator[Runtime]:
    tell_run_log()
    # A team without policies keeps nothing, but may ask workers.
    place = job.store or job.calls
    beside = place or (job.journal.store if job.journal is not None else None)
    store = place.get_state_store() if place is not None else None
    # Not connected before a task publishes an event, or is for a worker.
    log = beside.get_log_store() if beside is not None else None
    bus = beside.get_event_bus_on(log) if beside is not None and log is not None else None
    teller = BusListener(bus, then=tell_waiting) if bus is not None and beside is not None and beside.announce else None
    journal = Journal(job.journal.store.get_journal_store()) if job.journal is not None else None
    try:
        async with (
            _Runtime(
                open_team(job.team),
                artifacts=job.artifacts.get_store(),
                store=store,
                log=log,
                journal=journal or False,
                namespace=namespace_of(job.team),
                on_event=teller or tell_waiting,
                graceful_shutdown_timeout_s=_graceful_s(job.team),
            ) as runtime,
            drained(runtime.orchestrator),
        ):
            runtime.placed_bus = bus
            yield runtime
    finally:
        for each in (teller, journal, bus, log, store):
            if each is not None:
                await each.aclose()


class _Runtime(Runtime):
    """A runtime whose tasks publish on the bus of a block, if there is one: in its topic, with its keys."""

    placed_bus: EventBus | None = None

    @property
    def bus(self) -> EventBus:
        """Where tasks publish."""
        return self.placed_bus or super().bus


def _graceful_s(team: CoterieTeam | Team) -> float | None:
    return team.graceful_shutdown_timeout_s if isinstance(team, CoterieTeam) else None
