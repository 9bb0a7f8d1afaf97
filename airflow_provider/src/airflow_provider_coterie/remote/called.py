"""Ask a worker elsewhere for a task, once, in however many tries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_coterie.events.buses import bus_on, traceparent_here
from airflow_provider_coterie.events.correlation import causation_of
from airflow_provider_coterie.identity import cleared_after, ticket_of
from airflow_provider_coterie.remote.calling import result_of
from coterie import Agent, Task, TaskResult, Team
from coterie.context import Run, TaskContext
from coterie.errors import ClaimedElsewhere, Unavailable
from coterie.foreach import condition_says_run
from coterie.ids import content_hash
from coterie.remote import Call, CallStatus, RemoteAgent, RemoteCalls
from coterie.remote.agent import PATIENCE_S
from coterie.slots import Slot, TypeSlots

if TYPE_CHECKING:
    from airflow_provider_coterie.hook import CoterieHook
    from airflow_provider_coterie.operators.plan_task import Surroundings
    from coterie import ArtifactStore

__all__ = ["RemoteWork"]

_CANCEL_S = 2.0


@dataclass(frozen=True, slots=True)
class RemoteWork:
    """One try of a task, as far as workers are asked for it.

    owner: the try, in whose name the call is asked for: who owns it last may cancel it. cleared_after: the last try
    that a person cleared, 0: none; what is asked for since is another call, as the trigger of that try cancels the one
    before, sooner or later. place: in the queue of a pool. tell: given each line for the task's log.
    """

    hook: CoterieHook
    owner: str
    cleared_after: int
    place: str
    causation_id: str | None
    tell: Callable[[str], None]

    @classmethod
    def of(cls, context: Mapping[str, Any], hook: CoterieHook, tell: Callable[[str], None]) -> Self:
        """That of a task's context."""
        ti = context["ti"]
        owner, after = f"{ti.id}#{ti.try_number}", cleared_after(context)
        return cls(hook, owner, after, ticket_of(context), causation_of(context), tell)

    async def asked(
        self, around: Surroundings, task: Task, *, waits: bool, awaited: str | None = None
    ) -> TaskResult | str:
        """Ask a worker for the task, and answer the call's id; or say how the task ended, if it has.

        waits: whether its end is waited for here. awaited: a call that was waited for: as it ended, the task has, even
        if it came to nothing.

        Raises:
            TopicFull, Unavailable: it could not be asked for; a later try may succeed.
        """
        call = self._call(around, task)
        async with _calls(self.hook, around.store) as calls:
            before = await calls.look(awaited) if awaited is not None else None
            if before is not None and before.is_over:
                return result_of(before, task.id)
            known = await calls.look(call.id)
            if known is None or known.is_over:
                ended = await self._recalled(around, task)
                if ended is not None:
                    return ended
                if known is not None and known.result is not None and around.orchestrator.keeping is not None:
                    # It has ended, and the journal knows better: what came of it is gone, or forgotten.
                    call = replace(call, id=content_hash([call.id, known.attempt])[:40])
            status = await calls.submit(call, owner=self.owner)
            self.tell(
                f"remote call {status.id}: {task.id!r} for a worker of the type {task.agent_type!r}, {_stands(status)}"
            )
            if waits and not status.is_over:
                status = await self._waited(calls, status)
            return result_of(status, task.id) if status.is_over else status.id

    def _call(self, around: Surroundings, task: Task) -> Call:
        """The same in every try until a person clears the task, and another one then."""
        remote = _remote(around.team, task)
        patience_s = PATIENCE_S
        if remote is not None and isinstance(remote.handler, RemoteAgent):
            patience_s = remote.handler.patience_s
            task = replace(task, timeout_s=task.timeout_s or remote.timeout_s, retry=task.retry or remote.retry)
        call = Call.of(
            task,
            namespace=self.hook.settings.namespace,
            workflow_id=around.identity.workflow_id,
            upstream=around.upstream,
            params=around.params,
            version=_slots(around.team, task).version,
            epoch=around.identity.epoch,
            intent=around.intent,
            keeps="result",
            place=self.place,
            patience_s=patience_s,
            correlation_id=around.correlation_id or "",
            causation_id=self.causation_id,
            traceparent=traceparent_here(),
            submitted_by="Airflow",
        )
        if not self.cleared_after:
            return call
        return replace(call, id=content_hash([call.id, f"cleared after {self.cleared_after}"])[:40])

    async def _recalled(self, around: Surroundings, task: Task) -> TaskResult | None:
        """How the task ended, if that is known without a worker: by its condition, or the journal; else None."""
        run = Run(
            around.identity.workflow_id,
            self.hook.settings.namespace,
            artifacts=around.store,
            params=around.params,
            results=around.upstream,
            epoch=around.identity.epoch,
        )
        context = TaskContext(run, task, {})
        if not await condition_says_run(context):
            return TaskResult(task.id, "skipped")
        keeping = around.orchestrator.keeping
        if keeping is None:
            return None
        async with keeping.piece(around.plan, run, around.intent):
            assert run.book is not None
            # Whoever is at it, the call will tell how it ends.
            with suppress(ClaimedElsewhere):
                begun = await run.book.begin(context, _slots(around.team, task), waits=False)
                if isinstance(begun, TaskResult):
                    return begun
                await run.book.give_up(begun)
        return None

    async def _waited(self, calls: RemoteCalls, status: CallStatus) -> CallStatus:
        try:
            return await calls.ended(status.id)
        except asyncio.CancelledError:
            with suppress(TimeoutError, Unavailable):
                async with asyncio.timeout(_CANCEL_S):
                    await calls.cancel(status.id, owner=self.owner, by="Airflow: its task was ended")
            raise


@asynccontextmanager
async def _calls(hook: CoterieHook, artifacts: ArtifactStore) -> AsyncIterator[RemoteCalls]:
    """The connection's remote calls, with stores of their own, in the event loop that uses them."""
    store, log = hook.get_state_store(), hook.get_log_store()
    calls = RemoteCalls(store, log, artifacts=artifacts, namespace=store.namespace, bus=bus_on(log))
    try:
        yield calls
    finally:
        await calls.aclose()
        await log.aclose()
        await store.aclose()


def _remote(team: Team, task: Task) -> Agent | None:
    """Who stands for the workers in the team; None where the task alone says that they perform it."""
    agents = team.of_type(task.agent_type)
    return next((agent for agent in agents if isinstance(agent.handler, RemoteAgent)), None)


def _slots(team: Team, task: Task) -> TypeSlots:
    """What the journal asks of the agents: which version of their work it is. Who stands for workers says it."""
    remote = _remote(team, task)
    slots = TypeSlots(is_remote=True)
    slots.agents = [Slot(agent, slots) for agent in ([remote] if remote is not None else team.of_type(task.agent_type))]
    return slots


def _stands(status: CallStatus) -> str:
    if status.is_over:
        return "which has ended"
    return f"the worker {status.worker!r} is at it" if status.phase == "running" else "queued"
