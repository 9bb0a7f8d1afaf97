"""One task for one agent: of a plan, or alone in a DAG."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator, Context

from airflow_provider_coterie.identity import RunIdentity, identity_of, ticket_of, unit_name
from airflow_provider_coterie.limit import author_timeout_of, execution_limit
from airflow_provider_coterie.operators.plan_task import PlanTaskOperator, Surroundings
from airflow_provider_coterie.remote.calling import CallWait, is_remote
from airflow_provider_coterie.waiting import ClaimWait, Wait, claim_wait, patience_s, room_wait, take_place, wait_of
from airflow_provider_coterie.wire import stored
from coterie import ArtifactStore, Ref, Retry, Task, TaskResult
from coterie.errors import ClaimedElsewhere, Misuse, Refused, TopicFull
from coterie.events import Event
from coterie.ids import TaskId
from coterie.journal.place import place_of
from coterie.task import Placement

if TYPE_CHECKING:
    from airflow_provider_coterie.remote.called import RemoteWork

__all__ = ["CoterieAgentOperator", "loaded", "unlazy"]


class CoterieAgentOperator(PlanTaskOperator):
    """Have an agent of the team perform one task; its output is the return value, as a `Ref`.

    agent_type: the skill asked for (templated).
    input: a JSON object (templated). A `Ref` in it, such as another agent's output, is replaced by its value.
    team_path: `package.module:team`; by default the connection's. Never templated: importing it runs code.
    timeout_s: seconds for one attempt. task_retry: attempts within this Airflow try; Airflow's own `retries` serve
    lost workers and stores that do not answer, never a failed agent.
    agent_priority: among tasks that wait for the same agents, higher ones start first.
    placement: "remote": a worker (`coterie worker`) performs it, and the task waits for that outside of any worker of
    Airflow's; "local": this task's process does; None: as the team says.
    deferrable: whether a refused task (by a breaker, pool, limit or budget of the team's policies, or because another
    process is at it), and one that is performed elsewhere, waits outside of any worker, deferred; it uses up no retry
    either way.
    on_clear: "run" it again, or "replay" what came of it, when a person clears a success.
    plan_node: set by `plan_to_dag`; the plan's task then counts, word for word, and nothing of it is templated.

    The agent sees the results of the direct upstream tasks under their Airflow ids; the output of one that is not
    coterie's is what it returned, if that is JSON. Mapped upstream tasks are read through `input`.

    Unless given, `execution_timeout` covers all attempts and the back-offs between them, with a minute of slack; where
    the agents have policies, also the waiting and the agents that stand in.
    """

    template_fields: Sequence[str] = ("input", "agent_type")
    template_fields_renderers = {"input": "json"}  # noqa: RUF012  # Airflow's own form

    def __init__(
        self,
        *,
        agent_type: str | None = None,
        input: Mapping[str, Any] | None = None,  # noqa: A002  # the word that plans use
        timeout_s: float | None = None,
        task_retry: Retry | None = None,
        agent_priority: int = 0,
        placement: Placement | None = None,
        deferrable: bool = True,
        **kwargs: Any,  # Airflow's own arguments, checked by it
    ) -> None:
        node = kwargs.get("plan_node")
        given = node.task if node is not None else None
        author_timeout = author_timeout_of(kwargs)
        if author_timeout is None:
            limit = execution_limit(given.timeout_s, given.retry) if given else execution_limit(timeout_s, task_retry)
            if limit is not None:
                kwargs["execution_timeout"] = limit
        super().__init__(**kwargs)
        # Not as the base class has it, which takes ours for the author's.
        self.author_timeout = author_timeout
        self.agent_type = given.agent_type if given is not None else agent_type
        self.input = given.input if given is not None else input
        self.timeout_s = timeout_s
        self.task_retry = task_retry
        self.agent_priority = agent_priority
        self.placement = placement
        self.deferrable = deferrable

    def task_of(self) -> Task:
        """The plan's task; or one made of the arguments, still without its input."""
        if self.plan_node is not None:
            return self.plan_node.task
        if not self.agent_type:
            raise Misuse(f"the task {self.task_id!r} asks for no agent; pass agent_type")
        return Task(
            unit_name(self.task_id),
            self.agent_type,
            depends_on=tuple(self.upstream_ids()),
            timeout_s=self.timeout_s,
            retry=self.task_retry,
            priority=self.agent_priority,
            placement=self.placement,
        )

    def upstream_ids(self) -> Mapping[TaskId, str]:
        """The plan's; or the direct upstream tasks, under their own ids."""
        if self.plan_node is not None:
            return super().upstream_ids()
        return {name: name for name in sorted(self.upstream_task_ids)}

    def identity(self, context: Context) -> RunIdentity:
        """Of a plan in a mapped task group, each copy has its own."""
        group = self.plan_node.group_id if self.plan_node is not None else None
        return identity_of(context, group, on_clear=self.on_clear, map_index=context["ti"].map_index)

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """Render a lone task's fields. A plan's input is data: what looks like a template in it is none."""
        if self.plan_node is None:
            super().render_template_fields(context, jinja_env)

    def execute(self, context: Context) -> Ref | None:
        """Perform the task once; see `PlanTaskOperator.perform` for what is raised.

        Raises:
            TaskDeferred: it was refused, and waits outside of any worker.
        """
        return self._execute(context, None)

    def resume(self, context: Context, event: Mapping[str, Any]) -> Ref | None:
        """Perform the task again, after it was refused, with the patience that is left; as `execute`."""
        self.log.info("resumed, woken by: %s", event["woken_by"])
        since = event.get("first_refused_at")
        return self._execute(context, None if since is None else float(since))

    def make_input(self, context: Context) -> Mapping[str, Any]:  # noqa: ARG002  # for those that make it anew
        """The input of a lone task."""
        return self.input or {}

    def rejoin(self, context: Context, event: Mapping[str, Any]) -> Ref | None:
        """End as the remote call has; as `execute`, where nothing is known of it any more."""
        return self._execute(context, None, str(event["call_id"]))

    def _execute(self, context: Context, first_refused_at: float | None, call_id: str | None = None) -> Ref | None:
        with self.journalled():
            given = None if self.plan_node is not None else unlazy(self.make_input(context))
            map_index = context["ti"].map_index
            ticket = ticket_of(context)

            async def work(around: Surroundings) -> tuple[ArtifactStore, TaskResult] | Wait | ClaimWait | CallWait:
                task = self.task_of()
                if given is not None:
                    name = unit_name(self.task_id, map_index)
                    task = replace(task, id=name, input=await loaded(around.store, given))
                ended = (
                    await self._elsewhere(context, around, task, call_id, first_refused_at)
                    if is_remote(around.team, task)
                    else await self._ask(around, task, ticket, first_refused_at)
                )
                return (around.store, await stored(around.store, ended)) if isinstance(ended, TaskResult) else ended

            ended = self.perform(context, work)
            if isinstance(ended, ClaimWait):
                self.defer_until_free(ended)
            if isinstance(ended, Wait):
                self._defer(ended)
            if isinstance(ended, CallWait):
                self._defer_to(ended)
            return self.finish(context, *ended)

    async def _ask(
        self, around: Surroundings, task: Task, ticket: str, first_refused_at: float | None
    ) -> TaskResult | Wait | ClaimWait:
        """Have the task performed; or say what there is to wait for, outside of this process."""
        while True:
            try:
                return await self._performed(around, task, ticket, first_refused_at)
            except ClaimedElsewhere as busy:
                self.log.info("waiting: %s", busy)
                if self.deferrable:
                    return claim_wait(busy, around.identity.workflow_id, place_of(task.id))
                # The patience of the policies is not for this: whoever holds it may take his time.
                await asyncio.sleep(busy.retry_after_s)
            except Refused as refusal:
                wait = wait_of(refusal, team=around.team, task=task, ticket=ticket, first_refused_at=first_refused_at)
                if wait.wait_for == "slot":
                    await take_place(around.orchestrator, task, ticket)
                self.log.info("refused: %s", refusal)
                return wait

    async def _performed(
        self, around: Surroundings, task: Task, ticket: str, first_refused_at: float | None
    ) -> TaskResult:
        return await around.orchestrator.execute_task(
            task,
            upstream=around.upstream,
            workflow_id=around.identity.workflow_id,
            params=around.params,
            epoch=around.identity.epoch,
            waits=not self.deferrable,
            patience_s=patience_s(around.team.policies.get(task.agent_type), first_refused_at),
            place=ticket,
            plan=around.plan,
            intent=around.intent,
            correlation_id=around.correlation_id,
        )

    async def _elsewhere(
        self, context: Context, around: Surroundings, task: Task, call_id: str | None, first_refused_at: float | None
    ) -> TaskResult | CallWait | Wait:
        """Have a worker asked for the task; or say how it ended, or what to wait for. call_id: what was waited for."""
        from airflow_provider_coterie.remote.called import RemoteWork

        work = RemoteWork.of(context, self.hook, self.log.info)
        asked = await self._asked(work, around, task, call_id, first_refused_at)
        if isinstance(asked, Wait):
            return asked
        if not isinstance(asked, TaskResult):
            return self._call_wait(context, work.owner, around, task, asked)
        if asked.state == "succeeded" and self._ledger is not None:
            self._ledger.heard(Event("task.finished", around.identity.workflow_id, task.id, {"state": asked.state}))
        return asked

    async def _asked(
        self, work: RemoteWork, around: Surroundings, task: Task, call_id: str | None, first_refused_at: float | None
    ) -> TaskResult | str | Wait:
        """The same, or the id of the call; where there is no room, that is waited for here if nothing is deferred."""
        while True:
            try:
                return await work.asked(around, task, waits=not self.deferrable, awaited=call_id)
            except TopicFull as full:
                wait = room_wait(full, task, first_refused_at)
                if wait is None:
                    raise
                self.log.info("refused: %s", full)
            if self.deferrable:
                return wait
            first_refused_at = wait.first_refused_at
            await asyncio.sleep(max(0.0, wait.retry_at - time.time()))

    def _call_wait(self, context: Context, owner: str, around: Surroundings, task: Task, call_id: str) -> CallWait:
        ti: Any = context["ti"]
        return CallWait(
            call_id=call_id,
            owner=owner,
            workflow_id=around.identity.workflow_id,
            task_id=task.id,
            intent=asdict(around.intent),
            pushes=self.do_xcom_push,
            # A worker tells the assets that it has made, and calls what the DAG's author hooked on its end.
            ends_success=not self.outlets
            and self._post_execute_hook is None
            and type(self).post_execute is BaseOperator.post_execute,
            # Else Airflow would try again what has failed for good.
            ends_failure=not (self.retries and ti.try_number <= ti.max_tries),
        )

    def _defer_to(self, wait: CallWait) -> NoReturn:
        """Let the triggerer wait for a call, and end the task."""
        from airflow_provider_coterie.remote.call_trigger import CoterieCallTrigger

        trigger = CoterieCallTrigger(coterie_conn_id=self.coterie_conn_id, executor=self.executor, wait=wait.to_dict())
        self.defer(trigger=trigger, method_name="rejoin", timeout=self.author_timeout)

    def _defer(self, wait: Wait) -> NoReturn:
        self.log.info("waiting without a worker for a %s, until %s", wait.wait_for, _clock(wait.gives_up_at))
        self.defer_for(wait)


def _clock(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="seconds")


def unlazy(value: Any) -> Any:
    """Fetch what Airflow hands over lazily (the outputs of a mapped task), before the event loop is entered."""
    if isinstance(value, Mapping):
        return {key: unlazy(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [unlazy(item) for item in value]
    return value


async def loaded(store: ArtifactStore, value: Any) -> Any:
    """The same with values in place of references."""
    if isinstance(value, Ref):
        return await store.load(value)
    if isinstance(value, dict):
        return {key: await loaded(store, item) for key, item in value.items()}
    return [await loaded(store, item) for item in value] if isinstance(value, list) else value
