"""What the operators share that stand for a task of a plan: identity, surroundings, and a record of how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_provider_coterie.configuration import check_configuration
from airflow_provider_coterie.events.correlation import correlation_of
from airflow_provider_coterie.identity import RunIdentity, identity_of, unit_name
from airflow_provider_coterie.ledger import keeping
from airflow_provider_coterie.limit import author_timeout_of, team_limit
from airflow_provider_coterie.node import PlanNode
from airflow_provider_coterie.operators.journalled import JournalledOperator
from airflow_provider_coterie.upstream import pull_ends, results_of
from airflow_provider_coterie.wire import RECORD_KEY, pack_record
from coterie import ArtifactStore, ErrorInfo, Orchestrator, Plan, Ref, Saga, Task, TaskResult, Team
from coterie.errors import CoterieError, LeaseLost, Unavailable
from coterie.ids import TaskId
from coterie.journal import Intent
from coterie.saga.telling import ANEW

__all__ = ["PlanTaskOperator", "Surroundings"]

T = TypeVar("T")

_CLEAR_ALL = f"{ANEW}: clear all tasks of the DAG run"


class _NotAdmitted(Exception):  # no error: the run goes back, not forward
    """The task's run was undone, or is being."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """All that performing a task needs: who works, where outputs go, whose run it is, and what came before.

    plan: that the task belongs to, if to any. intent: what the journal is asked for. correlation_id: of all events
    about the run.
    """

    team: Team
    orchestrator: Orchestrator
    store: ArtifactStore
    identity: RunIdentity
    upstream: Mapping[TaskId, TaskResult]
    params: Mapping[str, Any]
    plan: Plan | None
    intent: Intent
    correlation_id: str | None = None


class PlanTaskOperator(JournalledOperator):
    """Performs a task of a plan, wholly or in part.

    Subclasses say which task (`task_of`) and whose results it sees (`upstream_ids`).
    """

    ui_color = "#e8f0e4"
    shallow_copy_attrs: Sequence[str] = ("plan_node",)
    # Whether agents work here, so that there is something to keep.
    has_agents: ClassVar[bool] = True

    def __init__(
        self,
        *,
        team_path: str | None = None,
        plan_node: PlanNode | None = None,
        **kwargs: Any,  # the journal's and Airflow's own arguments
    ) -> None:
        super().__init__(**kwargs)
        self.author_timeout = author_timeout_of(kwargs)
        self.team_path = team_path
        self.plan_node = plan_node

    def task_of(self) -> Task:
        """The task to perform."""
        raise NotImplementedError

    def upstream_ids(self) -> Mapping[TaskId, str]:
        """The Airflow tasks whose results the agent sees, by the ids under which it sees them."""
        return self.plan_node.upstream_ids() if self.plan_node is not None else {}

    def units(self) -> int:
        """How many units of work follow one another here at most: 1, or the items of a part."""
        return 1

    def pre_execute(self, context: Context) -> None:  # noqa: ARG002  # Airflow's signature
        """Let `execution_timeout` cover what the team's own policies allow, unless the DAG's author set one."""
        # Whatever is wrong with the connection or team, `execute` says, and records.
        with suppress(CoterieError):
            task, team = self.task_of(), self.team_here()
            limit = team_limit(team, task, units=self.units())
            if self.author_timeout is None and limit is not None:
                self.execution_timeout = limit

    def perform(self, context: Context, work: Callable[[Surroundings], Awaitable[T]]) -> T:
        """Do `work` with all that it needs; it ends before any kill or time-out of Airflow goes on.

        Raises:
            AirflowFailException: the work failed for good; its record says how.
            AirflowSkipException: its run was undone, or is being.
            Unavailable: a store did not answer; a later try may succeed.
            LeaseLost: another process has taken the work over; it records how that ends.
        """
        try:
            with self.journalled():
                return self._perform(context, work)
        except _NotAdmitted:
            self.record(context, None, TaskResult(self.task_of().id, "cancelled"))
            # Of a task that is skipped, Airflow's own log may not say why.
            self.log.warning("%s does not begin: %s", self.task_id, _CLEAR_ALL)
            raise AirflowSkipException(_CLEAR_ALL) from None
        except LeaseLost:
            raise
        except Unavailable as error:
            self.record(context, None, self._failure(error))
            raise
        except CoterieError as error:
            self.record(context, None, self._failure(error))
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error

    def finish(self, context: Context, store: ArtifactStore, result: TaskResult) -> Ref | None:
        """Push the record of a performed task; its output is the return value.

        Raises:
            AirflowSkipException: its condition is false. AirflowFailException: it did not succeed.
        """
        if result.state == "skipped":
            raise AirflowSkipException(f"the condition of {result.task_id!r} is false")
        self.record(context, store, result)
        output = result.output if isinstance(result.output, Ref) else None
        if result.state == "succeeded":
            return output
        if output is not None:
            # What did succeed of a foreach: dependants that run whatever happened may read it.
            context["ti"].xcom_push("return_value", output)
        raise AirflowFailException(str(result.error or f"{result.task_id!r} ended {result.state}"))

    def record(self, context: Context, store: ArtifactStore | None, result: TaskResult) -> None:
        """Push how the task ended."""
        context["ti"].xcom_push(RECORD_KEY, self._work.run(pack_record(store, result), though_stopped=True))

    def team_here(self) -> Team:
        """Who works.

        Raises:
            Misuse: no team is named, or there is none.
        """
        return self.hook.team(self.team_path)

    def _perform(self, context: Context, work: Callable[[Surroundings], Awaitable[T]]) -> T:
        node = self.plan_node
        identity = self.identity(context)
        if node is not None and node.group_id is None:
            # The whole DAG is the plan. Around a task group, the DAG's author may read more.
            check_configuration(context, node.plan.params)
        name = node.task.id if node is not None else unit_name(self.task_id, context["ti"].map_index)
        self.lead_to(context, identity.workflow_id, name)
        team = self.team_here()
        self._check(team)
        is_saga = node is not None and node.plan.has_compensations
        ledger = self.open_ledger(identity) if self.has_agents or is_saga else None
        runtime = self.runtime(team, ledger)
        params, correlation_id = self._params(context), correlation_of(context, identity.workflow_id)
        # Airflow's calls, all of them, before the event loop is entered.
        ends = pull_ends(context, self.upstream_ids())

        async def do() -> T:
            async with runtime, keeping(ledger, identity) as intent:
                store, plan = runtime.artifacts, node.plan if node is not None else None
                assert store is not None
                upstream = await results_of(store, ends)
                if is_saga and not await self._admitted(runtime.orchestrator, identity, intent, upstream):
                    raise _NotAdmitted
                return await work(
                    Surroundings(
                        team, runtime.orchestrator, store, identity, upstream, params, plan, intent, correlation_id
                    )
                )

        return self._work.run(do())

    async def _admitted(
        self, orchestrator: Orchestrator, identity: RunIdentity, intent: Intent, upstream: Mapping[TaskId, TaskResult]
    ) -> bool:
        """Whether the task may begin: its run may have been undone."""
        node = self.plan_node
        assert node is not None
        saga = Saga(orchestrator)
        return await saga.admits(node.plan, node.task.id, upstream, workflow_id=identity.workflow_id, intent=intent)

    def identity(self, context: Context) -> RunIdentity:
        """Whose run it is."""
        node = self.plan_node
        return identity_of(context, node.group_id if node is not None else None, on_clear=self.on_clear)

    def _check(self, team: Team) -> None:
        """Refuse before anything runs: of a plan, every task's agent type must be served."""
        team.check(self.plan_node.plan if self.plan_node is not None else [self.task_of()])

    def _params(self, context: Context) -> dict[str, Any]:
        given = dict(context.get("params") or {})
        if self.plan_node is None:
            return given
        return {name: given.get(name, default) for name, default in self.plan_node.plan.params.items()}

    def _failure(self, error: CoterieError) -> TaskResult:
        return TaskResult(self.task_of().id, "failed", error=ErrorInfo.of(error), attempts=1)
