"""Perform what one message asks for, and see that its record and its queue agree with what became of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from coterie._json import JsonValue
from coterie._rules.call import Begun, CallRecord
from coterie._rules.call_course import Why
from coterie._rules.log import Delivery
from coterie._rules.timeline import SECOND
from coterie.errors import (
    ClaimedElsewhere,
    CoterieError,
    LeaseLost,
    MissingOutput,
    Misuse,
    OversizedMessage,
    PolicyError,
    PoolBusy,
    Refused,
    Unavailable,
)
from coterie.journal.insisting import insisting
from coterie.journal.outage import Outage, Stretch
from coterie.policies import Policies
from coterie.remote.announcer import Announcer
from coterie.remote.call import Call
from coterie.remote.calls import RemoteCalls
from coterie.remote.course import AtWork, left_of, why_refused
from coterie.remote.documents import fetched, stowed
from coterie.remote.job import Job
from coterie.remote.outcome import Outcome
from coterie.remote.queue import Asking, name_of
from coterie.remote.records import INSIST_ON_ENDS_S, CallRecords
from coterie.remote.taking import TypeQueue
from coterie.remote.withheld import Withheld
from coterie.result import ErrorInfo, TaskResult
from coterie.telemetry.logs import bound_to, guarded
from coterie.work import Work

if TYPE_CHECKING:
    from coterie.orchestrator import Orchestrator

__all__ = ["Job", "Performer"]

_log = guarded("coterie.remote")

# A store that the work needs and that does not answer: so long it is left alone before each further delivery.
_AWAY_S = (1.0, 5.0, 20.0, 60.0)
_MOST_DELIVERIES = 5
CLOSE_S = 5.0
# So often a task asks again whose pool has no slot for it.
POOL_LOOK_S = 0.5


class Performer:
    """Performs the calls of one worker, one job each. outage: what it knows of one when it takes them."""

    def __init__(
        self,
        orchestrator: Orchestrator,
        calls: RemoteCalls,
        announcer: Announcer,
        *,
        worker_id: str,
        session: str,
        outage: Outage,
    ) -> None:
        self._orchestrator = orchestrator
        self._calls = calls
        self._records = CallRecords(calls, worker_id=worker_id, session=session)
        self._announcer = announcer
        self._worker_id = worker_id
        self._outage = outage
        self._beside = Work()
        self._withheld = Withheld(calls.log, orchestrator.pipeline.gate)
        # It has refused to be used: before anything else is taken, it is looked at.
        self.doubts_journal = False

    async def aclose(self) -> None:
        """Finish what is done beside the work, within a bound."""
        await self._withheld.aclose()
        await self._beside.aclose(CLOSE_S)

    async def perform(self, job: Job) -> None:
        """See one delivery through: afterwards it is done, given back, or a dead letter."""
        try:
            job.asking = Asking.read(job.delivery.logged.message)
        except Misuse as error:
            await self._reject(job, str(error))
            return
        begun = await self._begin(job, job.asking)
        if begun is None:
            return
        job.token = begun.record.token
        call = await self._read(job, begun.record)
        if call is not None:
            await bound_to(call.log_fields, partial(self._perform, job, call, begun))

    async def _perform(self, job: Job, call: Call, begun: Begun) -> None:
        if begun.lost is not None:
            # It cannot tell that itself.
            self._tell("task.returned", job, call, why="lost", worker=begun.lost.worker, attempt=begun.lost.token)
        is_recorded, away = call.keeps == "result", self._away_before()
        job.course = AtWork.begun(begun.record, self._orchestrator.now, is_recorded=is_recorded, away=away)
        queued_s = job.delivery.logged.at / SECOND
        self._tell("task.assigned", job, call, delivery=job.delivery.number, queued_at=queued_s)
        _log.info("task.begun %s of %s", call.named, call.workflow_id)
        if job.is_suspect:
            await self._look_again(job)
        if job.stop:
            await self._stopped(job, call)
            return
        waited_s = begun.waited_us / SECOND
        outcome = await self._outcome(job, call, waited_s)
        if outcome is not None:
            await self._finish(job, call, outcome)

    def give_up(self, _: TypeQueue, dead: Delivery) -> None:
        """A message was delivered too often: its call is over, as soon as that can be written."""
        self._beside.start(self._given_up(dead))

    async def leave(self, job: Job, error: Exception) -> None:
        """Have a delivery go to others that could not be seen through. Before it has begun, that does not count."""
        told = str(ErrorInfo.of(error))
        reason = told if job.token or not isinstance(error, Unavailable) else None
        at_most = None if reason is None else _MOST_DELIVERIES
        with suppress(CoterieError):
            dead = await job.queue.give_back(job.position, delay_s=1.0, reason=reason, at_most=at_most)
            if dead is not None:
                self.give_up(job.queue, dead)

    async def _given_up(self, dead: Delivery) -> None:
        reason = dead.failures[-1].reason if dead.failures else "its deliveries came to nothing"
        told = f"{len(dead.failures)} deliveries came to nothing, the last: {reason}"
        try:
            asking = Asking.read(dead.logged.message)
        except Misuse:
            return
        await self._abandon(asking, dead.logged.position, told)

    async def _begin(self, job: Job, asking: Asking) -> Begun | None:
        found = await self._records.begin(asking, job.position)
        if isinstance(found, Begun):
            return found
        if found.why == "unknown":
            await self._reject(job, "nothing is known of this call: it is long over, or its record was removed")
        else:
            record = found.record
            what = asking.call_id if record is None else name_of(asking.call_id, record.run, record.task)
            _log.info("call.dropped %s: its message is of no more use: %s", what, found.why)
            job.queue.done(job.position)
            if found.why == "late" and record is not None:
                self._announcer.given_up(asking.call_id, record)
            if found.why == "done":
                # Whoever ended it may have died before he could tidy up.
                self._beside.start(self._forget(asking.call_id))
        return None

    async def _look_again(self, job: Job) -> None:
        assert job.asking is not None
        record = await self._records.look(job.asking.call_id)
        if record is None or record.phase == "cancelled":
            job.end("cancelled")

    async def _read(self, job: Job, record: CallRecord) -> Call | None:
        assert job.asking is not None
        what = f"the call {job.asking.call_id!r}"
        try:
            call = Call.from_json(await fetched(record.call, self._calls.artifacts, what))
            if call.agent_type != job.queue.agent_type:
                raise Misuse(f"{what} is for {call.agent_type!r}, and lies in the queue of {job.queue.agent_type!r}")
        except Unavailable as error:
            await self._away(job, None, error)
        except (CoterieError, MissingOutput) as error:
            await self._abandon(job.asking, job.position, str(ErrorInfo.of(error)))
            await self._reject(job, str(error))
        else:
            return call
        return None

    async def _outcome(self, job: Job, call: Call, waited_s: float) -> Outcome | None:
        """How the task ended; None where it has not, and somebody else is to go on."""
        try:
            return await self._work(job, call, waits=False)
        except asyncio.CancelledError:
            await self._stopped(job, call)
        except Refused as refusal:
            if isinstance(refusal, ClaimedElsewhere) or waited_s + refusal.retry_after_s <= self._patience_s(call):
                await self._refuse(job, call, refusal)
            else:
                return await self._last_try(job, call)
        except Unavailable as error:
            await self._away(job, call, error)
        except LeaseLost as error:
            await self._put_back(job, call, delay_s=1.0, reason=str(ErrorInfo.of(error)))
        # Whatever else comes out of it is its end: nobody would have more luck with it.
        except Exception as error:  # noqa: BLE001
            _log.warning("call.failed %s: %r", _named(call), error, exc_info=error)
            return self._failed(call, error)
        return None

    async def _last_try(self, job: Job, call: Call) -> Outcome | None:
        """It was refused for as long as the policies allow: whoever stands in for its agents does so now."""
        try:
            return await self._work(job, call, waits=True)
        except asyncio.CancelledError:
            await self._stopped(job, call)
        except Unavailable as error:
            await self._away(job, call, error)
        except Exception as error:  # noqa: BLE001  # as above
            return self._failed(call, error)
        return None

    async def _work(self, job: Job, call: Call, *, waits: bool) -> Outcome:
        assert job.course is not None
        # By itself, so that what ends it does not end its account.
        work = self._orchestrator.perform_call(
            call, attempt=job.token, waits=waits, patience_s=0.0 if waits else None, trail=job.course.trail
        )
        with insisting(INSIST_ON_ENDS_S):
            job.work = asyncio.get_running_loop().create_task(work)
        if job.stop:
            job.work.cancel()
        await asyncio.wait({job.work})
        return replace(job.work.result(), away=job.course.away)

    async def _stopped(self, job: Job, call: Call) -> None:
        if job.stop == "drained":
            await self._put_back(job, call)
        elif job.stop == "cancelled":
            _log.info("call.cancelled %s: its agent was ended", _named(call))
            job.queue.done(job.position)
            self._tell("task.cancelled", job, call, state="cancelled")
        elif job.stop == "lost":
            await self._let_go(job, call)
            _log.warning("call.lost %s: another worker has it by now; the agent here was ended", _named(call))
            self._tell("task.returned", job, call, why="stale")
        else:
            # The agent let a cancellation out that nobody asked for.
            outcome = self._failed(call, asyncio.CancelledError("the agent was cancelled from inside"))
            await self._finish(job, call, outcome)

    async def _finish(self, job: Job, call: Call, outcome: Outcome) -> None:
        what = f"the output of {call.task.id!r}"
        try:
            text = await stowed(outcome.to_json(), self._calls.artifacts, what)
        except (OversizedMessage, ValueError) as error:
            outcome = self._failed(call, error)
            text = outcome.to_json()
        if not await self._records.finish(call.id, job.token, text):
            await self._let_go(job, call)
            what = _named(call)
            _log.warning("call.stale %s: it was cancelled, or another worker has it; its end is not told", what)
            self._tell("task.returned", job, call, why="stale")
            return
        job.queue.done(job.position)
        if call.keeps == "steps":
            self._beside.start(self._forget(call.id))
        result = outcome.result
        name = "task.failed" if result.state == "failed" else "task.completed"
        why = str(result.error) if result.error is not None else None
        self._tell(name, job, call, state=result.state, attempts=result.attempts, error=why)
        told = result.state if why is None else f"{result.state}: {why}"
        _log.info("task.finished %s of %s: %s", call.named, call.workflow_id, told)

    async def _forget(self, call_id: str) -> None:
        """What was kept for it is of no more use; nobody waits for that."""
        try:
            await self._orchestrator.forget_call(call_id)
        except CoterieError as error:
            _log.info("call.not_forgotten %s: %s", call_id, error)

    async def _let_go(self, job: Job, call: Call) -> None:
        """Be done with the message of an attempt that counts no more, unless it is that of a later one."""
        record = await self._records.look(call.id)
        if record is not None and record.round == (job.asking and job.asking.round_):
            taken_over = record.phase == "running" and record.position == job.position
            if taken_over or record.phase == "queued":
                return
        job.queue.done(job.position)

    def _away_before(self) -> list[Stretch]:
        """When nothing could be taken, or told, as the store was away."""
        known = (self._outage.stretches(), self._calls.outage.stretches(), self._orchestrator.journal_away())
        return [stretch for each in known for stretch in each]

    async def _refuse(self, job: Job, call: Call, refusal: Refused) -> None:
        delay_s = refusal.retry_after_s
        job.was_refused = True
        if isinstance(refusal, PoolBusy):
            # A pool only knows when a slot is free at the latest.
            delay_s = min(delay_s, POOL_LOOK_S)
            job.queue.refused(delay_s)
        _log.info("call.refused %s: given back for %.3f s: %s", _named(call), delay_s, refusal)
        await self._put_back(job, call, delay_s=delay_s, refusal=refusal)
        self._withheld.keep(call.agent_type, job.delivery.logged.message, token=job.token, refusal=refusal)

    async def _away(self, job: Job, call: Call | None, error: Unavailable) -> None:
        self.doubts_journal = self.doubts_journal or isinstance(error.__cause__, PolicyError)
        delay_s = _AWAY_S[min(job.delivery.number, len(_AWAY_S)) - 1]
        await self._put_back(job, call, delay_s=delay_s, reason=str(ErrorInfo.of(error)))

    async def _put_back(
        self,
        job: Job,
        call: Call | None,
        *,
        delay_s: float = 0.0,
        reason: str | None = None,
        refusal: Refused | None = None,
    ) -> None:
        """The record first: whoever takes the message finds it free."""
        assert job.asking is not None
        why: Why = "drained" if reason is None else "failed"
        why = why if refusal is None else why_refused(refusal)
        left = left_of(job.course, why, self._worker_id, error=reason or "", delay_s=delay_s)
        await self._records.put_back(job.asking.call_id, job.token, was_refused=refusal is not None, left=left)
        with suppress(CoterieError):
            # Whoever takes the message would be refused for what nobody is at.
            await self._orchestrator.hand_back_left()
        dead = await job.queue.give_back(
            job.position, delay_s=delay_s, reason=reason, at_most=None if reason is None else _MOST_DELIVERIES
        )
        if call is not None:
            told = "refused" if refusal is not None else why
            error = str(refusal) if refusal is not None else reason
            self._tell("task.returned", job, call, why=told, delay_s=delay_s, error=error)
        if dead is not None:
            self.give_up(job.queue, dead)

    async def _abandon(self, asking: Asking, position: str, reason: str) -> None:
        ended = await self._records.abandon(asking, position, reason)
        if ended is not None:
            _log.warning("call.abandoned %s: %s", name_of(asking.call_id, ended.run, ended.task), reason)
            self._announcer.given_up(asking.call_id, ended)

    async def _reject(self, job: Job, reason: str) -> None:
        _log.warning("call.rejected %s at %s: %s", job.queue.topic, job.position, reason)
        await job.queue.give_back(job.position, reason=reason, at_most=0)

    def _patience_s(self, call: Call) -> float:
        policies = self._orchestrator.policies_of(call.agent_type) or Policies()
        return policies.max_wait_s

    def _failed(self, call: Call, error: BaseException) -> Outcome:
        return Outcome(TaskResult(call.task.id, "failed", None, ErrorInfo.of(error), 1), worker=self._worker_id)

    def _tell(self, name: str, job: Job, call: Call, **fields: JsonValue) -> None:
        self._announcer.of_call(name, call, {"worker": self._worker_id, "attempt": job.token, **fields})


def _named(call: Call) -> str:
    return name_of(call.id, call.workflow_id, call.named)
