"""What all operators share that have work done: a connection, an end on demand, and the journal of what is finished."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from airflow.sdk import BaseOperator, BaseOperatorLink, Context

from airflow_provider_coterie.hook import DEFAULT_CONN_ID, CoterieHook
from airflow_provider_coterie.identity import RunIdentity
from airflow_provider_coterie.ledger import Ledger
from airflow_provider_coterie.task_log import show_fields
from airflow_provider_coterie.trace_link import TRACE_KEY, CoterieTraceLink, TracedRun
from airflow_provider_coterie.waiting import ClaimWait, Wait
from airflow_provider_coterie.work import Work
from coterie import Runtime, Team
from coterie.errors import PolicyError, Unavailable
from coterie.events import Listener
from coterie.ids import TaskId, WorkflowId
from coterie.journal import Intent
from coterie.journal.intent import OnClear
from coterie.telemetry.links import TraceUrl, trace_url_of

__all__ = ["JournalledOperator", "is_success"]

# Between two attempts to take an answer while a store is away.
AGAIN_S = 30.0


class JournalledOperator(BaseOperator):
    """Has work done that is never paid for twice, as far as its connection has a journal.

    on_clear: what a cleared task does whose success Airflow has seen: "run" again, as new work; or "replay" what came
    of it. A failed one goes on from its finished steps either way.
    """

    operator_extra_links: Collection[BaseOperatorLink] = (CoterieTraceLink(),)

    def __init__(
        self,
        *,
        coterie_conn_id: str = DEFAULT_CONN_ID,
        on_clear: OnClear = "run",
        **kwargs: Any,  # Airflow's own arguments, checked by it
    ) -> None:
        super().__init__(**kwargs)
        self.coterie_conn_id = coterie_conn_id
        # It knows what may be chosen, and says so.
        self.on_clear = Intent(on_clear=on_clear).on_clear
        self._work = Work()
        self._opened: CoterieHook | None = None
        self._ledger: Ledger | None = None
        self.traced: TracedRun | None = None

    @property
    def hook(self) -> CoterieHook:
        """The connection, read once."""
        if self._opened is None:
            self._opened = CoterieHook(self.coterie_conn_id, executor=self.executor)
        return self._opened

    def on_kill(self) -> None:
        """Let agents finish for as long as the connection says, then end them, and the processes that they started."""
        self._work.stop()

    def resume(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Do it again, after it was deferred."""
        raise NotImplementedError

    def accepted(self, task_instance: Any) -> None:
        """The task has succeeded, as far as its process knows; if it has for Airflow too, the journal is told."""
        ledger, self._ledger = self._ledger, None
        if ledger is None:
            return
        try:
            if is_success(task_instance):
                ledger.note_seen()
        finally:
            ledger.close()

    def lead_to(self, context: Context, run: WorkflowId, task_id: TaskId = "", *, alone: bool = False) -> None:
        """Have the task's link lead to the trace of this run, from now on; where a template says how.

        task_id: what the work is called in the run. alone: as of `TracedRun`.
        """
        url = self._trace_url()
        if url is None:
            # Else Airflow would keep an empty one of every task.
            self.operator_extra_links = ()
            return
        self.traced = TracedRun(url, self.hook, run, task_id, alone=alone)
        try:
            context["ti"].xcom_push(TRACE_KEY, self.traced.link())
        # Told in the log, and left at that: a link is a courtesy, and tried again when the task ends.
        except Exception:
            self.log.warning("the link to the trace could not be left", exc_info=True)

    def open_ledger(self, identity: RunIdentity) -> Ledger | None:
        """The task's side of the journal, open until Airflow has heard of its success; None where there is none."""
        journal = self.hook.get_journal()
        if journal is None:
            return None
        self._ledger = Ledger(
            journal, identity.workflow_id, identity.intent, conn_id=self.coterie_conn_id, tell=self.log.info
        )
        return self._ledger

    def runtime(self, team: Team, ledger: Ledger | None, *, on_event: Listener | None = None) -> Runtime:
        """Who works, with the connection's stores and the task's journal; a kill lets its agents finish first.

        on_event: listens in the ledger's place.
        """
        show_fields()
        heard = on_event or (ledger.heard if ledger is not None else None)
        runtime = self.hook.runtime(team, journal=ledger.journal if ledger is not None else None, on_event=heard)
        self._work.drains(runtime.orchestrator)
        return runtime

    def _trace_url(self) -> TraceUrl | None:
        settings = self.hook.settings
        try:
            return trace_url_of(settings.trace_url, where=f"'trace_url' of the connection {self.coterie_conn_id!r}")
        except PolicyError as error:
            self.log.warning("there is no link to the trace: %s", error)
            return None

    @contextmanager
    def journalled(self) -> Iterator[None]:
        """Around all that a task does: without a success there is nothing to tell the journal afterwards."""
        try:
            yield
        # A deferral, a kill and a time-out are none of `Exception`.
        except BaseException:
            ledger, self._ledger = self._ledger, None
            if ledger is not None:
                ledger.close()
            raise

    def defer_for(self, wait: Wait, kept: Mapping[str, object] | None = None) -> NoReturn:
        """Wait outside of any worker until asking again may help; then `resume`, with what it is to be given beside."""
        from airflow_provider_coterie.triggers import CoterieRefusalTrigger

        trigger = CoterieRefusalTrigger(
            coterie_conn_id=self.coterie_conn_id, executor=self.executor, wait=wait.to_dict()
        )
        self.defer(trigger=trigger, method_name="resume", kwargs=dict(kept or {}))

    def defer_until_free(self, wait: ClaimWait, kept: Mapping[str, object] | None = None) -> NoReturn:
        """Wait outside of any worker until nobody is at the work; then `resume`, with what it is to be given beside."""
        from airflow_provider_coterie.triggers import CoterieClaimTrigger

        trigger = CoterieClaimTrigger(coterie_conn_id=self.coterie_conn_id, executor=self.executor, wait=wait.to_dict())
        self.defer(trigger=trigger, method_name="resume", kwargs=dict(kept or {}))

    def hold_answer(self, error: Unavailable, kept: Mapping[str, object]) -> NoReturn:
        """Wait with a person's answer in hand until a store may be there again: the next try would not have it."""
        self.log.warning("the answer is held, and given again in %.0f s: %s", AGAIN_S, error)
        now = time.time()
        wait = Wait(
            wait_for="time",
            agent_type="person",
            first_refused_at=now,
            retry_at=now + AGAIN_S,
            gives_up_at=now + 2 * AGAIN_S,
        )
        self.defer_for(wait, kept)


def is_success(task_instance: Any) -> bool:
    """Whether Airflow has the task as a success: it may have refused to hear of it, or have begun another try."""
    found: int = task_instance.get_ti_count(
        dag_id=task_instance.dag_id,
        map_index=task_instance.map_index,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        states=["success"],
    )
    return found == 1
