"""Waiting without a worker for a machine: for an event that somebody sends from anywhere, or for its time-out."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from uuid import UUID

from airflow_provider_coterie.asking import QUESTION_KEY
from airflow_provider_coterie.outlook import journal_outlook
from airflow_provider_coterie.resuming import ResumingTrigger
from airflow_provider_coterie.triggers import CLAIM_LOOK_S, RECONCILE_S, RECOVER_S, spread
from coterie.errors import CoterieError, UnknownRun
from coterie.ids import WorkflowId
from coterie.journal import Journal
from coterie.machine_run import StateMachineRun

__all__ = ["CoterieMachineTrigger"]

_MOMENT_S = 0.05
# What stands for the answer to a question that nobody need answer any more.
MOVED_ON = "(moved on: an event came from elsewhere, or the time was up)"


class CoterieMachineTrigger(ResumingTrigger):
    """Wait until a machine has left a visit, or its time-out there is due; fires once.

    asked: the id of the task instance whose question a person may answer meanwhile. The server resumes the task with an
    answer; this only looks for one that came before the task had let go of its worker. Once the machine has moved
    otherwise, the question is closed: whoever answers then is told.
    question: names it, as the task's XCom `QUESTION_KEY` does while it is the one that is asked. Airflow stops a
    trigger seconds after the task was resumed, which may have asked the next one by then: that is not closed.

    The event is `{"woken_by": "machine"}`, or the answer.
    """

    def __init__(
        self,
        *,
        coterie_conn_id: str,
        workflow_id: WorkflowId,
        visit: int,
        asked: str | None = None,
        question: str | None = None,
        executor: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.coterie_conn_id = coterie_conn_id
        self.workflow_id = workflow_id
        self.visit = visit
        self.asked = asked
        self.question = question
        self.executor = executor

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the trigger is made of again, in whatever triggerer."""
        names = ("coterie_conn_id", "workflow_id", "visit", "asked", "question", "executor")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def awaited(self) -> dict[str, Any]:
        """How the wait ended."""
        payload = await self._answered()
        if payload is None:
            await self._for_machine()
            # Somebody may have been a moment faster.
            payload = await self._closed()
        return payload or {"woken_by": "machine"}

    async def _for_machine(self) -> None:
        recover_s = RECOVER_S
        while True:
            try:
                async with journal_outlook(self.coterie_conn_id, self.executor) as journal:
                    if journal is not None:
                        await self._until_moved(journal)
                    return
            except UnknownRun:
                return
            except CoterieError as error:
                self.log.warning("machine.not_watched: %s; looking again in %.0f s", error, recover_s)
            await asyncio.sleep(spread(recover_s))
            recover_s = min(2 * recover_s, RECONCILE_S)

    async def _until_moved(self, journal: Journal) -> None:
        run, look_s = StateMachineRun(journal, self.workflow_id), RECOVER_S
        while True:
            status = await run.status()
            left_s = status.timeout_in_s
            if status.visit != self.visit or status.phase != "waiting" or left_s == 0:
                return
            # Spread like the others; but what is due is not kept waiting.
            pause_s = spread(look_s)
            await asyncio.sleep(pause_s if left_s is None else min(pause_s, left_s + _MOMENT_S))
            look_s = min(look_s * 1.5, CLAIM_LOOK_S)

    async def _answered(self) -> dict[str, Any] | None:
        """The answer, if there is one."""
        if self.asked is None:
            return None
        from airflow.sdk.execution_time.hitl import get_hitl_detail_content_detail

        try:
            return _payload(await asyncio.to_thread(get_hitl_detail_content_detail, UUID(self.asked)))
        # The server has it, and resumes the task with an answer that comes now: this was a look for an earlier one.
        except Exception as error:  # noqa: BLE001
            self.log.warning("question.not_seen: %s: %s", type(error).__name__, error)
            return None

    async def _closed(self) -> dict[str, Any] | None:
        """Answer the question in nobody's name, so that nobody else does; the answer, if somebody was faster."""
        if self.asked is None or not await self._is_asked():
            return None
        from airflow.sdk.execution_time.hitl import update_hitl_detail_response

        # Refused where it is answered by now; then that is what counts.
        with suppress(Exception):  # the server's, of any class
            await asyncio.to_thread(update_hitl_detail_response, UUID(self.asked), [MOVED_ON], {})
            return None
        return await self._answered()

    async def _is_asked(self) -> bool:
        """Whether the question of this trigger is still the one that the task asks."""
        from airflow.sdk.execution_time.xcom import XCom

        ti: Any = self.task_instance
        if ti is None:
            # `dag.test()` has no server that would ask.
            return False
        at = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}
        try:
            return bool(await XCom.aget_one(key=QUESTION_KEY, **at) == self.question)
        # One that is left open is answered in vain, and the task tells of that; one that is closed is never answered.
        except Exception as error:  # noqa: BLE001
            self.log.warning("question.not_closed: %s: %s", type(error).__name__, error)
            return False


def _payload(found: Any) -> dict[str, Any] | None:
    """As the server gives it to a task that it resumes; None for what no user has answered."""
    user = found.responded_by_user
    if not found.response_received or user is None:
        return None
    return {
        "chosen_options": list(found.chosen_options),
        "params_input": dict(found.params_input or {}),
        "responded_at": found.responded_at,
        "responded_by_user": {"id": user.id, "name": user.name},
        "timedout": False,
    }
