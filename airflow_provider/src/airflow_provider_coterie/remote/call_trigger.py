"""Waiting without a worker of Airflow's for a task that another process performs, and ending the task once it has.

Nothing is lost with the triggerer: the next one goes on waiting for the same call. Only what ends the task for good
(a person, the time-out of its run, its own) cancels the call, and only in the name of the try that asked for it last:
another try may have taken it over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent

from airflow_provider_coterie.behind import begin, see_through
from airflow_provider_coterie.outlook import Calls, calls_outlook, journal_outlook
from airflow_provider_coterie.remote.calling import CallWait, result_of
from airflow_provider_coterie.resuming import settled
from airflow_provider_coterie.triggers import RECONCILE_S, RECOVER_S, spread
from airflow_provider_coterie.wire import RECORD_KEY, pack_record, stored
from coterie import Ref, TaskResult
from coterie.errors import CallAbandoned, CoterieError, Unavailable
from coterie.journal import Intent
from coterie.journal.place import place_of
from coterie.remote import CallStatus

__all__ = ["CoterieCallTrigger"]

_log = logging.getLogger(__name__)

# After the trigger has ended a task, Airflow takes about a second to store that.
_SEEN_LOOKS_S = (1.5, 2.0, 4.0, 8.0, 15.0)
# For how long a store that does not answer is asked to.
CANCEL_S = 20.0
_ENDED_BY = "Airflow: its task was ended, cleared, or ran out of time"


class CoterieCallTrigger(BaseTrigger):
    """Wait until a remote call is over, and end the task as it ended; fires once.

    wait: as `CallWait.to_dict` gives it. What the task leaves is pushed first: its record, and its output.

    The event ends the task, or is `{"woken_by": "call", "call_id": …}`: the task is resumed, and finds the same end.
    """

    # Set by the triggerer.
    timeout_after: datetime | None = None

    def __init__(self, *, coterie_conn_id: str, wait: Mapping[str, Any], executor: str | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.coterie_conn_id = coterie_conn_id
        self.executor = executor
        self.wait = CallWait.from_dict(wait)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the trigger is made of again, in whatever triggerer."""
        kwargs = {"coterie_conn_id": self.coterie_conn_id, "wait": self.wait.to_dict(), "executor": self.executor}
        return f"{__name__}.{type(self).__name__}", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire."""
        begun_at = asyncio.get_running_loop().time()
        try:
            event = await self._event()
            if type(event) is TriggerEvent:
                await settled(begun_at)
        except asyncio.CancelledError:
            if self._is_out_of_time():
                await self.on_kill()
            raise
        yield event
        if isinstance(event, TaskSuccessEvent) and self.task_instance is not None:
            # Airflow stores it only after this has ended, and ends what has not ended by then.
            begin(self._note_seen())

    async def on_kill(self) -> None:
        """Cancel the call, unless another try has taken it over. Not called when the triggerer stops."""
        await see_through(self._cancel())

    async def _cancel(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_S):
                while True:
                    try:
                        async with calls_outlook(self.coterie_conn_id, self.executor) as shared:
                            call_id, owner = self.wait.call_id, self.wait.owner
                            if await shared.calls.cancel(call_id, owner=owner, by=_ENDED_BY):
                                self.log.info("remote call %s: cancelled", call_id)
                            return
                    except Unavailable as error:
                        self.log.warning("call.not_cancelled %s: %s", self.wait.call_id, error)
                    await asyncio.sleep(RECOVER_S)

    async def _event(self) -> TriggerEvent:
        recover_s = RECOVER_S
        while True:
            try:
                async with calls_outlook(self.coterie_conn_id, self.executor) as shared:
                    return await self._ending(shared, await self._over(shared))
            except CallAbandoned:
                # Nothing is known of it: the task asks for it anew.
                return self._resume()
            except Unavailable as error:
                self.log.warning("call.not_watched: %s; looking again in %.0f s", error, recover_s)
            await asyncio.sleep(spread(recover_s))
            recover_s = min(2 * recover_s, RECONCILE_S)

    async def _over(self, shared: Calls) -> CallStatus:
        """How the call ended; who is at it is told meanwhile."""
        async with AsyncExitStack() as stack:
            telling = asyncio.create_task(self._tell(shared))
            stack.callback(telling.cancel)
            return await shared.calls.ended(self.wait.call_id)

    async def _tell(self, shared: Calls) -> None:
        told = asyncio.Event()
        known: tuple[str | None, int] | None = None
        async with shared.outlook.hearing([f"call/{self.wait.call_id}"], told.set):
            while True:
                told.clear()
                # The waiting beside it says what fails.
                with suppress(CoterieError):
                    status = await shared.calls.look(self.wait.call_id)
                    if status is not None and status.phase == "running" and known != (status.worker, status.attempt):
                        known = (status.worker, status.attempt)
                        self.log.info("remote call %s: the worker %r performs it", status.id, status.worker)
                await told.wait()

    async def _ending(self, shared: Calls, status: CallStatus) -> TriggerEvent:
        wait, result = self.wait, result_of(status, self.wait.task_id)
        if result.state == "skipped":
            return TaskSkippedEvent()
        event: type[TaskSuccessEvent | TaskFailedEvent] = (
            TaskSuccessEvent if result.state == "succeeded" else TaskFailedEvent
        )
        if not (wait.ends_success if event is TaskSuccessEvent else wait.ends_failure) or self.task_instance is None:
            return self._resume()
        await self._push(shared, await stored(shared.artifacts, result))
        self.log.info("remote call %s: %s", status.id, result.error or f"the worker {status.worker!r} has performed it")
        return event()

    async def _push(self, shared: Calls, result: TaskResult) -> None:
        """Leave what a worker would have: the events' own way of pushing does not keep what a reference is."""
        from airflow.sdk.execution_time.xcom import XCom

        ti: Any = self.task_instance
        at = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}
        await XCom.aset(RECORD_KEY, await pack_record(shared.artifacts, result), **at)
        if isinstance(result.output, Ref) and self.wait.pushes:
            await XCom.aset("return_value", result.output, **at)

    async def _note_seen(self) -> None:
        """Tell the journal that Airflow took the task's success for one, as soon as it has."""
        try:
            for pause_s in _SEEN_LOOKS_S:
                await asyncio.sleep(pause_s)
                if await asyncio.to_thread(_is_success, self.task_instance):
                    async with journal_outlook(self.coterie_conn_id, self.executor) as journal:
                        if journal is not None:
                            place = place_of(self.wait.task_id)
                            await journal.note_seen(self.wait.workflow_id, place, Intent(**self.wait.intent))
                    return
        # The task is over; should it be cleared, it is replayed.
        except Exception as error:  # noqa: BLE001
            _log.warning("journal.not_seen %s: %s: %s", self.wait.workflow_id, type(error).__name__, error)

    def _resume(self) -> TriggerEvent:
        return TriggerEvent({"woken_by": "call", "call_id": self.wait.call_id})  # type: ignore[no-untyped-call]  # Airflow's

    def _is_out_of_time(self) -> bool:
        until = self.timeout_after
        return until is not None and (until if until.tzinfo else until.replace(tzinfo=UTC)) <= datetime.now(UTC)


def _is_success(task_instance: Any) -> bool:
    """Whether Airflow has the task as a success. Blocking."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    return bool(
        RuntimeTaskInstance.get_ti_count(
            dag_id=task_instance.dag_id,
            map_index=task_instance.map_index,
            task_ids=[task_instance.task_id],
            run_ids=[task_instance.run_id],
            states=["success"],
        )
    )
