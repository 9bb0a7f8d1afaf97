"""Compile a plan: every task of it becomes a task of a DAG, or of a task group in one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, BaseOperator, Param, TaskGroup

from airflow_provider_coterie.conclusion import OnPartial, check_on_partial
from airflow_provider_coterie.hook import DEFAULT_CONN_ID
from airflow_provider_coterie.node import PlanNode
from airflow_provider_coterie.operators.agent import CoterieAgentOperator
from airflow_provider_coterie.operators.approval import CoterieApprovalOperator
from airflow_provider_coterie.operators.foreach import (
    CoterieGatherOperator,
    CoteriePartOperator,
    CoterieSplitOperator,
)
from airflow_provider_coterie.operators.result import CoterieResultOperator
from airflow_provider_coterie.operators.saga_result import CoterieSagaResultOperator
from coterie import JsonValue, Plan, Task, Team
from coterie.errors import PlanError, PolicyError
from coterie.ids import TaskId
from coterie.journal.intent import OnClear

__all__ = ["MAX_FOREACH_PARTS", "RESULT_TASK_ID", "plan_to_dag", "plan_to_task_group"]

RESULT_TASK_ID = "workflow_result"
MAX_FOREACH_PARTS = 64

# For lost workers and stores that do not answer: a failed agent is never repeated by the scheduler.
_DEFAULT_ARGS = {"retries": 2, "retry_delay": timedelta(seconds=15)}
# What is half undone is worse than what is not: it goes on where it was, through outages of an hour.
_UNDOING = {"retries": 10, "retry_exponential_backoff": 2.0, "max_retry_delay": timedelta(minutes=10)}
_LABEL = "items {{ task.part.start }}-{{ task.part.stop - 1 }}"


def plan_to_dag(
    plan: Plan,
    *,
    team_path: str | None = None,
    dag_id: str | None = None,
    coterie_conn_id: str = DEFAULT_CONN_ID,
    schedule: Any = None,  # whatever Airflow takes
    on_partial: OnPartial = "succeed",
    foreach_parts: int = 8,
    on_clear: OnClear = "run",
    params: Mapping[str, Any] | None = None,
    default_args: Mapping[str, Any] | None = None,
    catchup: bool = False,
    **dag_arguments: Any,  # Airflow's own arguments, checked by it
) -> DAG:
    """A DAG with one task for each task of the plan, and `workflow_result` at its end.

    team_path: `package.module:team`; by default the connection's. With it, a plan that the team cannot perform is
    refused here, when the DAG file is read; without it, by the first task.
    on_partial: whether a run in which some outputs are missing counts as a success of the DAG run.
    foreach_parts: into how many mapped tasks a foreach is cut at most, 1 to 64; a part runs its items concurrently.
    on_clear: what a cleared task does whose success Airflow has seen: "run" again, or "replay" what came of it.
    A task with an approval waits for a person as `CoterieApprovalOperator` does.
    Where tasks name compensations, `workflow_result` undoes a run that failed before it says how it ended.
    params: over the plan's own, which become the DAG's.

    Raises:
        UnknownAgentType: nobody in the team serves a task. PlanError: a task is called `workflow_result`.
        PolicyError: foreach_parts or on_partial cannot work. Misuse: on_clear cannot work.
    """
    dag = DAG(
        dag_id or plan.name,
        schedule=schedule,
        catchup=catchup,
        params={**{name: _param(value) for name, value in plan.params.items()}, **(params or {})},
        default_args={**_DEFAULT_ARGS, **(default_args or {})},
        **dag_arguments,
    )
    caller = inspect.currentframe()
    if caller is not None and caller.f_back is not None:
        # Airflow shows the source of this file as the DAG's: that of whoever asked for it, not ours.
        dag.fileloc = caller.f_back.f_code.co_filename
    with dag:
        compiler = _Compiler(
            plan,
            None,
            foreach_parts=foreach_parts,
            team_path=team_path,
            coterie_conn_id=coterie_conn_id,
            on_clear=on_clear,
        )
        compiler.compile(check_on_partial(on_partial))
    return dag


def plan_to_task_group(
    plan: Plan,
    *,
    team_path: str | None = None,
    group_id: str | None = None,
    coterie_conn_id: str = DEFAULT_CONN_ID,
    on_partial: OnPartial = "succeed",
    foreach_parts: int = 8,
    on_clear: OnClear = "run",
) -> TaskGroup:
    """The same as a task group of the surrounding DAG, by default called like the plan.

    Parameters of the plan are read from those of the DAG, where it has them.

    Raises:
        As `plan_to_dag`.
    """
    group = TaskGroup(group_id or plan.name)
    # It has those of the groups around it.
    given = {**(group.dag.default_args if group.dag is not None else {}), **group.default_args}
    group.default_args |= {name: value for name, value in _DEFAULT_ARGS.items() if name not in given}
    with group:
        compiler = _Compiler(
            plan,
            group.group_id,
            foreach_parts=foreach_parts,
            team_path=team_path,
            coterie_conn_id=coterie_conn_id,
            on_clear=on_clear,
        )
        compiler.compile(check_on_partial(on_partial))
    return group


class _Compiler:
    """One plan on its way into the DAG and group that are open."""

    def __init__(
        self,
        plan: Plan,
        group_id: str | None,
        *,
        foreach_parts: int,
        team_path: str | None,
        coterie_conn_id: str,
        on_clear: OnClear,
    ) -> None:
        if not 1 <= foreach_parts <= MAX_FOREACH_PARTS:
            raise PolicyError(f"foreach_parts is {foreach_parts!r}; give a number from 1 to {MAX_FOREACH_PARTS}")
        if any(task.id == RESULT_TASK_ID for task in plan.tasks):
            raise PlanError(f"a task of {plan.name!r} is called {RESULT_TASK_ID!r}, as the DAG's last one; rename it")
        if team_path is not None:
            Team.load(team_path).check(plan)
        self._plan = plan
        self._group_id = group_id
        self._foreach_parts = foreach_parts
        self._conn_id = coterie_conn_id
        self._common = {"team_path": team_path, "coterie_conn_id": coterie_conn_id, "on_clear": on_clear}
        self._ranked = any(task.priority for task in plan.tasks)
        self._heads: dict[TaskId, Any] = {}
        self._tails: dict[TaskId, BaseOperator] = {}

    def compile(self, on_partial: OnPartial) -> None:
        """Make every task, the edges between them, and the last task."""
        for task in self._plan.tasks:
            node = PlanNode(self._plan, task, self._group_id)
            head, tail = self._each(node) if task.foreach is not None else self._single(node)
            self._heads[task.id], self._tails[task.id] = head, tail
        for task in self._plan.tasks:
            for before in task.upstream:
                self._tails[before] >> self._heads[task.id]
        last = self._last(on_partial)
        for name in waited_for(self._plan):
            self._tails[name] >> last

    def _last(self, on_partial: OnPartial) -> BaseOperator:
        """Says how the run ended; where tasks name compensations, undoes it first if it failed."""
        arguments: dict[str, Any] = {
            "task_id": RESULT_TASK_ID,
            "plan": self._plan,
            "plan_group": self._group_id,
            "on_partial": on_partial,
            "coterie_conn_id": self._conn_id,
            "trigger_rule": "all_done",
        }
        if not self._plan.has_compensations:
            return CoterieResultOperator(**arguments)
        return CoterieSagaResultOperator(**arguments, **_UNDOING, team_path=self._common["team_path"])

    def _single(self, node: PlanNode) -> tuple[BaseOperator, BaseOperator]:
        kind = CoterieAgentOperator if node.task.approval is None else CoterieApprovalOperator
        one = kind(
            task_id=node.task.id, trigger_rule=node.task.trigger_rule, **self._arguments(node), **self._rank(node.task)
        )
        return one, one

    def _each(self, node: PlanNode) -> tuple[BaseOperator, BaseOperator]:
        with TaskGroup(node.task.id):
            split = CoterieSplitOperator(
                task_id="parts",
                max_parts=self._foreach_parts,
                trigger_rule=node.task.trigger_rule,
                **self._arguments(node),
                **self._rank(node.task),
            )
            each = CoteriePartOperator.partial(
                task_id="each", map_index_template=_LABEL, **self._arguments(node), **self._rank(node.task)
            ).expand(part=split.output)
            gather = CoterieGatherOperator(
                task_id="gather", trigger_rule="all_done", **self._arguments(node), **self._rank(node.task)
            )
            [split, each] >> gather
        return split, gather

    def _arguments(self, node: PlanNode) -> dict[str, Any]:
        return {"plan_node": node, **self._common}

    def _rank(self, task: Task) -> dict[str, Any]:
        """Airflow's own weights, unless the plan has priorities: then those alone decide."""
        return {"priority_weight": task.priority, "weight_rule": "absolute"} if self._ranked else {}


def waited_for(plan: Plan) -> Sequence[TaskId]:
    """The tasks that `workflow_result` must wait for, so that all have ended when it runs.

    A task may end before all its upstream tasks have: blocked by the first failure, skipped, or started by the
    first success. So those before it are waited for too; the others have ended when what follows them has.
    """
    hasty = [task for task in plan.tasks if task.trigger_rule != "all_done" and len(task.upstream) > 1]
    wanted = {*plan.leaves, *(name for task in hasty for name in task.upstream)}
    return [task.id for task in plan.tasks if task.id in wanted]


def _param(default: JsonValue) -> Param:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    kind = kinds.get(type(default))
    # A default of null says nothing about what else may be given.
    return Param(default, type=kind or ["null", *kinds.values()])
