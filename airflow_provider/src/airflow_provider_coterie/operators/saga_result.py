"""The last task of a DAG whose plan names compensations: undo the run if it failed, then say how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_coterie.conclusion import publish
from airflow_provider_coterie.identity import identity_of
from airflow_provider_coterie.ledger import keeping
from airflow_provider_coterie.operators.result import CoterieResultOperator
from airflow_provider_coterie.upstream import Ended, pull_record, results_of
from airflow_provider_coterie.waiting import Wait, patience_s
from coterie import Plan, Ref, Saga, SagaResult, Team
from coterie.errors import ClaimedElsewhere, CoterieError, LeaseLost, Refused, Unavailable
from coterie.events import Event, Listener
from coterie.ids import TaskId
from coterie.saga.telling import undo_line, what_next
from coterie.telemetry.recording import had_ended

__all__ = ["CoterieSagaResultOperator"]

_LEAST_WAIT_S = 1.0
_SLACK_S = 60.0


class CoterieSagaResultOperator(CoterieResultOperator):
    """Undo what a failed run made, each step after all that depend on it; then conclude as `CoterieResultOperator`.

    team_path: `package.module:team`; by default the connection's.

    Whatever ends its process, the next try goes on where it was: a compensation that the journal has as done never runs
    again. Refused (by a breaker, a pool, a limit, or as another process is at it), it waits deferred. The XCom
    `coterie_status` says what could not be undone; cleared, this task tries that again.
    """

    def __init__(self, *, team_path: str | None = None, **kwargs: Any) -> None:  # the plan's and Airflow's arguments
        super().__init__(**kwargs)
        self.team_path = team_path

    def execute(self, context: Context) -> Ref:
        """Undo and conclude the run.

        Raises:
            AirflowFailException: the run failed, undone or not; or is partial where that counts as failure.
            Unavailable, LeaseLost: a store did not answer, or another process is at it; a later try goes on.
            TaskDeferred: an agent cannot be had now, or another process is at the run.
        """
        return self._execute(context, None)

    def resume(self, context: Context, event: Mapping[str, Any]) -> Ref:
        """Go on, as `execute`, with the patience that is left."""
        since = event.get("first_refused_at")
        return self._execute(context, None if since is None else float(since))

    def _execute(self, context: Context, first_refused_at: float | None) -> Ref:
        with self.journalled():
            try:
                ended = self._work.run(self._undone(context, first_refused_at))
            except (Unavailable, LeaseLost):
                raise
            except CoterieError as error:
                raise AirflowFailException(f"{type(error).__name__}: {error}") from error
            if isinstance(ended, Wait):
                self.defer_for(ended)
            ref, result = ended
            if result.dead_letters:
                self.log.warning("something stands: %s", what_next(result, again="clear this task"))
            return publish(context, ref, result, self.on_partial)

    def _undone(
        self, context: Context, first_refused_at: float | None
    ) -> Coroutine[Any, Any, tuple[Ref, SagaResult] | Wait]:
        # Airflow's calls, all of them, before the event loop is entered.
        identity = identity_of(context, self.plan_group, on_clear=self.on_clear, map_index=context["ti"].map_index)
        self.lead_to(context, identity.workflow_id)
        team = self.hook.team(self.team_path)
        team.check(self.plan)
        ledger = self.open_ledger(identity)
        if ledger is None:
            self.log.warning("without a journal, what is undone is undone again should this task be interrupted")
        given, ends = dict(context.get("params") or {}), self._ends(context)
        progress = _Progress(self.log.info, ledger.heard if ledger is not None else None)
        runtime = self.runtime(team, ledger, on_event=progress.heard)
        compensate = partial(
            Saga(runtime.orchestrator, on_event=progress.heard).compensate,
            self.plan,
            workflow_id=identity.workflow_id,
            params={name: given.get(name, default) for name, default in self.plan.params.items()},
            waits=False,
            patience_s=_patience_s(team, self.plan, first_refused_at),
        )

        async def undo() -> tuple[Ref, SagaResult] | Wait:
            async with runtime, keeping(ledger, identity) as intent:
                store, journal = runtime.artifacts, ledger.journal if ledger is not None else None
                assert store is not None
                # Looked at before: whoever undoes a run says how it ended.
                again = await had_ended(identity.workflow_id, journal)
                try:
                    result = await compensate(await results_of(store, ends), intent=intent)
                except Refused as refusal:
                    self.log.info("waiting without a worker: %s", refusal)
                    return _wait_of(refusal, None if progress.was_made else first_refused_at)
                if journal is not None and result.outcome == "succeeded":
                    await self._conclude(journal, identity, result)
                else:
                    await self._trace(journal, result, again=again)
                return await store.put(result.to_dict()), result

        return undo()

    def _ends(self, context: Context) -> dict[TaskId, Ended]:
        """Of tasks that Airflow skipped because their run was undone nothing is said: the journal knows."""
        ends, nodes = super()._ends(context), self._nodes()
        unasked: set[TaskId] = set()
        for position in self.plan.graph.order:
            task = self.plan.tasks[position]
            end = ends.get(task.id)
            if end is not None and end.state == "skipped":
                record = pull_record(context, nodes[task.id].airflow_id(task.id))
                if record or unasked.intersection(task.upstream):
                    unasked.add(task.id)
        return {name: end for name, end in ends.items() if name not in unasked}


class _Progress:
    """Hears what is undone: says so in the task's log, passes it on, and knows whether anything was."""

    def __init__(self, tell: Callable[[str], None], listener: Listener | None) -> None:
        self.was_made = False
        self._tell = tell
        self._listener = listener

    def heard(self, event: Event) -> None:
        """The listener of whoever works."""
        self.was_made |= event.name == "task.finished"
        line = undo_line(event)
        if line is not None:
            self._tell(line)
        if self._listener is not None:
            self._listener(event)


def _patience_s(team: Team, plan: Plan, first_refused_at: float | None) -> float | None:
    """For how much longer compensations may be refused: as long as the most patient of their policies."""
    types = {task.compensation.agent_type for task in plan.tasks if task.compensation is not None}
    left_s = [patience_s(team.policies[one], first_refused_at) for one in types if one in team.policies]
    return max((one for one in left_s if one is not None), default=None)


def _wait_of(refusal: Refused, first_refused_at: float | None) -> Wait:
    """To ask again when that may help. Another process that is at it uses up nobody's patience."""
    now = time.time()
    since = now if first_refused_at is None or isinstance(refusal, ClaimedElsewhere) else first_refused_at
    retry_at = now + max(_LEAST_WAIT_S, refusal.retry_after_s)
    return Wait(
        wait_for="time", agent_type="undo", first_refused_at=since, retry_at=retry_at, gives_up_at=retry_at + _SLACK_S
    )
