"""Perform what was asked for elsewhere, with the agents of this process: the orchestrator's part of a worker."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from coterie._json import JsonValue
from coterie._rules.timeline import SECOND, micros
from coterie.artifacts import using_artifacts
from coterie.attempt import Ended, note_call, perform, wait_for_slot
from coterie.context import Run, TaskContext
from coterie.ends import as_result
from coterie.errors import ClaimedElsewhere, PolicyError, Refused, Unavailable, UnknownAgentType, WorkTakenOver
from coterie.events import Event
from coterie.foreach import item_context
from coterie.ids import AgentType
from coterie.journal import Intent
from coterie.journal.book import TaskBook, once
from coterie.journal.outage import Stretch
from coterie.journal.place import book_of_call
from coterie.policies import Policies
from coterie.result import TaskResult
from coterie.slots import TypeSlots
from coterie.telemetry.recording import open_trace
from coterie.trail import Lap, Trail
from coterie.workplace import Workplace

if TYPE_CHECKING:
    from coterie.remote.call import Call
    from coterie.remote.outcome import Outcome

__all__ = ["Serving"]

# So many attempts before this one are known to be past it; others' claims lapse with their leases.
_PAST = 100


class Serving(Workplace):
    """What `coterie.Orchestrator` does for a worker."""

    def local_slots(self, types: Sequence[AgentType] | None = None) -> dict[AgentType, TypeSlots]:
        """The slots of the types that have agents in this process; of these types alone, where some are given.

        Raises:
            UnknownAgentType: there is no agent of a type here.
        """
        known = self._slots.local()
        for name in types or ():
            if name not in known:
                raise UnknownAgentType(name, known)
        return {name: pool for name, pool in known.items() if not types or name in types}

    def now(self) -> float:
        """Seconds since the epoch, as its runs tell them."""
        return self._clock.now()

    def tell(self, event: Event) -> None:
        """Tell whoever listens, if anybody does."""
        if self._listener is not None:
            self._listener(event)

    def policies_of(self, agent_type: AgentType) -> Policies | None:
        """How the agents of a type are protected, if they are."""
        gate = self.pipeline.gate(agent_type)
        return None if gate is None else gate.policies

    async def perform_call(
        self,
        call: Call,
        *,
        attempt: int,
        waits: bool = False,
        patience_s: float | None = None,
        trail: Trail | None = None,
    ) -> Outcome:
        """Perform a call with agents of this process.

        attempt: which one this is; all that is written by earlier ones is refused from now on. waits, patience_s: as
        of `Orchestrator.execute_task`. trail: where it is noted what it goes through, however it ends.

        Raises:
            UnknownAgentType: nobody here serves it. Refused: not now. Unavailable: a store failed, or the journal
            cannot be used. LeaseLost: somebody else does it by now.
        """
        try:
            return await self._perform_call(call, attempt, waits=waits, patience_s=patience_s, trail=trail)
        except PolicyError:
            await self.rely_on_journal()
            raise
        except Refused as refusal:
            # Of a task of a run, `execute_task` has told it.
            if call.keeps == "result" and not isinstance(refusal, ClaimedElsewhere):
                raise
            told = f"{type(refusal).__name__}: {refusal}"
            self._tell_of(call, "task.refused", wait_s=refusal.retry_after_s, error=told)
            raise

    async def _perform_call(
        self, call: Call, attempt: int, *, waits: bool, patience_s: float | None, trail: Trail | None
    ) -> Outcome:
        from coterie.remote.outcome import Outcome

        if call.keeps == "result":
            return Outcome(await self._execute_call(call, waits=waits, patience_s=patience_s, trail=trail))
        context = self._call_context(call)
        context.noted = trail
        run, task = context.run, context.task
        run.waits, run.patience_s, run.place = waits, patience_s, call.place
        pool = self._slots.of(task.agent_type, task_id=task.id, placement="local")
        self._tell_of(call, "task.started")

        async def work() -> Ended:
            done = await perform(context, await wait_for_slot(context, pool), self._clock, self._listener)
            # At once: until it is recorded, the store may be away for long.
            _note_only_call(context, done)
            return done

        with using_artifacts(run.artifacts), self._call():
            async with self._steps_of(call, run, attempt):
                run.trace = open_trace(run, called_by=call.traceparent, is_awaited=True)
                # Whoever waits for it notes them.
                run.is_noted_elsewhere = True
                ended = await once(context, pool, work)
        trail = context.noted
        if isinstance(ended, TaskResult):
            self._tell_end_of(call, ended)
            _note_replayed(trail, ended)
            return Outcome(replace(ended, replayed=False), context.usage, **_noted_on(trail))
        if isinstance(ended.error, (Unavailable, WorkTakenOver)):
            raise ended.error
        if isinstance(ended.error, PolicyError):
            await self.rely_on_journal()
        result = as_result(task.id, ended, self._clock.now() - self._clock.monotonic())
        self._tell_end_of(call, result)
        return Outcome(result, context.usage, **_noted_on(trail), is_traced=run.trace is not None)

    def _tell_end_of(self, call: Call, result: TaskResult) -> None:
        fields = {"state": result.state, "duration_s": result.duration_s, "attempt": result.attempts}
        told = str(result.error) if result.error is not None else None
        self._tell_of(call, "task.finished", **fields, replayed=result.replayed, error=told)

    def _tell_of(self, call: Call, name: str, **fields: JsonValue) -> None:
        if self._listener is not None:
            told = {"agent_type": call.agent_type, **fields, **call.item_fields}
            self._listener(Event(name, call.workflow_id, call.task.id, told))

    async def look_at_journal(self) -> None:
        """Make sure that the journal can be used, if there is one.

        Raises:
            PolicyError: its server is not as durable as it is to be. Unavailable: it does not answer.
        """
        if self.keeping is not None:
            await self.keeping.journal.store.runs(limit=1)

    async def rely_on_journal(self) -> None:
        """As `look_at_journal`, amid work: one that refuses is no task's end, as others may have one that does not.

        Raises:
            Unavailable: it cannot be used; the cause is a PolicyError where it refuses.
        """
        try:
            await self.look_at_journal()
        except PolicyError as error:
            raise Unavailable(f"the journal of this worker cannot be used: {error}") from error

    def journal_away(self) -> list[Stretch]:
        """When the journal's store was away, as far as work here had to wait for it."""
        return [] if self.keeping is None else self.keeping.journal.outage.stretches()

    async def hand_back_left(self) -> None:
        """Let others have what was given up while the journal's store was away.

        Raises:
            Unavailable: it still is.
        """
        if self.keeping is not None:
            await self.keeping.journal.hand_back_left()

    async def forget_call(self, call_id: str) -> None:
        """Remove the steps that were kept for a call that has ended: its record holds the end."""
        if self.keeping is not None:
            await self.keeping.journal.store.remove(book_of_call(call_id))

    @abstractmethod
    async def _execute_call(
        self, call: Call, *, waits: bool, patience_s: float | None, trail: Trail | None
    ) -> TaskResult:
        """Perform a call as a task of its run, which the journal is told of here."""

    def _call_context(self, call: Call) -> TaskContext:
        run = self._run(call.workflow_id, dict(call.params), call.upstream, call.epoch)
        run.correlation_id = call.correlation_id
        if not call.stores_outputs:
            run.artifacts = None
        if call.item is None:
            context = self._context(run, call.task)
            context.item_key = call.instance
        else:
            context = item_context(run, call.task, call.item.index, call.item.key, call.item.value)
        context.given_key = call.idempotency_key
        return context

    @asynccontextmanager
    async def _steps_of(self, call: Call, run: Run, attempt: int) -> AsyncIterator[None]:
        """A book of the call's own: the run's belongs to whoever asks."""
        if self.keeping is None:
            yield
            return
        name, intent = book_of_call(call.id), Intent(strict=call.intent.strict)
        past = frozenset(f"{name}.{before}" for before in range(max(0, attempt - _PAST), attempt))
        journal, owner = self.keeping.at_work(), f"{name}.{attempt}"
        run.book = book = TaskBook(journal, name, intent, on_event=self._listener, owner=owner, after=past)
        try:
            yield
        finally:
            await book.aclose()


class _Noted(TypedDict):
    laps: tuple[Lap, ...]
    more: int


def _noted_on(trail: Trail | None) -> _Noted:
    return {"laps": (), "more": 0} if trail is None else {"laps": tuple(trail.laps), "more": trail.more}


def _note_only_call(context: TaskContext, ended: Ended) -> None:
    """Note the call of an agent that has just ended, unless each is noted: whoever asked can measure his wait alone."""
    trail, error = context.trail, ended.error
    came_to_nothing = not ended.attempts or isinstance(error, (Refused, Unavailable, WorkTakenOver))
    if trail is not None and not came_to_nothing and all(lap.kind != "call" for lap in trail.laps):
        note_call(trail, context, ended.duration_s, error)


def _note_replayed(trail: Trail | None, ended: TaskResult) -> None:
    """Note the work of an earlier attempt that had come to its end, and could not say so."""
    if trail is not None and ended.started_at is not None:
        facts = {"agent": ended.agent_id, "attempt": ended.attempts}
        trail.note("call", int(ended.started_at * SECOND), micros(ended.duration_s), **facts)
