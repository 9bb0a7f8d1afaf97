"""The link "Trace" of a task: to where its run is to be seen, by its connection's template or the environment's."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

from coterie import sync
from coterie.errors import CoterieError
from coterie.telemetry.links import TraceUrl, run_trace_id_text
from coterie.telemetry.recording import traceparent_here

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

    from airflow_provider_coterie.hook import CoterieHook
    from coterie.ids import TaskId, WorkflowId
    from coterie.journal import Journal

__all__ = ["TRACE_KEY", "CoterieTraceLink", "TracedRun"]

TRACE_KEY = "coterie_trace"

_LOOK_S = 2.0


class TracedRun:
    """The run that a task works for, and where it is to be seen. Used outside of event loops.

    alone: whether the run is wholly of this task, if no journal keeps it.
    """

    def __init__(
        self, url: TraceUrl, hook: CoterieHook, run: WorkflowId, task_id: TaskId = "", *, alone: bool = False
    ) -> None:
        self._url = url
        self._hook = hook
        self._run = run
        self._task_id = task_id
        self._alone = alone
        self._trace_id: str | None = None

    def link(self) -> str:
        """The URL. Which trace it is, may be known for certain only once somebody has begun with the run."""
        namespace = self._hook.settings.namespace
        trace_id = self._trace_id_in(namespace) if self._url.needs_trace_id else ""
        return self._url.link(self._run, namespace=namespace, trace_id=trace_id, task_id=self._task_id)

    def _trace_id_in(self, namespace: str) -> str:
        if self._trace_id is not None:
            return self._trace_id
        # What begins the run here and now makes it part of the trace that is here.
        traceparent = traceparent_here() if self._alone else None
        # Nothing depends on it.
        with suppress(CoterieError, TimeoutError):
            journal = self._hook.get_journal()
            if journal is not None:
                known, fixed = sync.run(asyncio.wait_for(_begun_in(journal, self._run), _LOOK_S))
                traceparent = fixed if known else traceparent_here()
                if known:
                    self._trace_id = run_trace_id_text(namespace, self._run, fixed)
        return run_trace_id_text(namespace, self._run, traceparent)


class CoterieTraceLink(BaseOperatorLink):
    """Leads to the trace of the task's run; nowhere without a template.

    Airflow asks for it where the task has run, as it ends or is deferred, and keeps the answer. It is there from the
    beginning of the task, too: the operator itself leaves it then.
    """

    @property
    def name(self) -> str:
        """What the button says."""
        return "Trace"

    @property
    def xcom_key(self) -> str:
        """Where it is kept."""
        return TRACE_KEY

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002  # Airflow's signature
        """The URL; empty where none is known."""
        traced = getattr(operator, "traced", None)
        return traced.link() if isinstance(traced, TracedRun) else ""


async def _begun_in(journal: Journal, run: WorkflowId) -> tuple[bool, str | None]:
    """Whether the journal knows the run, and the context that it was begun in."""
    try:
        header = await journal.header(run)
    finally:
        await journal.aclose()
    return header is not None, header.traceparent if header is not None else None
