"""From an objective to a plan, when the DAG runs."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_coterie.identity import identity_of, unit_name
from airflow_provider_coterie.ledger import keeping
from airflow_provider_coterie.operators.journalled import JournalledOperator
from airflow_provider_coterie.waiting import ClaimWait, claim_wait
from airflow_provider_coterie.wire import stored
from coterie import Agent, Plan, Ref, Runtime, Task, TaskResult, Team
from coterie.errors import ClaimedElsewhere, CoterieError, LeaseLost, Misuse, Unavailable
from coterie.journal.place import place_of

if TYPE_CHECKING:
    from coterie.decompose import Decomposer

__all__ = ["CoterieDecomposeOperator"]

_TYPE = "decomposer"


class CoterieDecomposeOperator(JournalledOperator):
    """Turn an objective into a plan for a team; the return value is a `Ref` to the plan's document.

    objective: what is wanted, in words (templated). facts: what the decomposer may know, a JSON object (templated).
    decomposer_path: `package.module:decomposer`, an object with `decompose`, or a function that makes one.
    Neither path is templated: importing them runs code.
    on_clear: whether a cleared success is made anew ("run"), or kept ("replay").
    deferrable: whether to wait outside of any worker while another process is at it, such as an earlier try.

    The journal keeps the plan: a later try does not ask for it again.
    """

    template_fields: Sequence[str] = ("objective", "facts")
    ui_color = "#f2ecd9"

    def __init__(
        self,
        *,
        objective: str,
        decomposer_path: str,
        facts: Mapping[str, Any] | None = None,
        team_path: str | None = None,
        deferrable: bool = True,
        **kwargs: Any,  # the journal's and Airflow's own arguments
    ) -> None:
        super().__init__(**kwargs)
        self.objective = objective
        self.decomposer_path = decomposer_path
        self.facts = facts
        self.team_path = team_path
        self.deferrable = deferrable

    def execute(self, context: Context) -> Ref:
        """Make the plan and store it.

        Raises:
            AirflowFailException: no acceptable plan was found; a retry would not help.
            Unavailable, LeaseLost: whoever makes the plan, or a store, did not answer; or another process is at it now.
            TaskDeferred: another process is at it.
        """
        with self.journalled():
            try:
                made = self._work.run(self._decompose(context))
            except _NotOurs as error:
                raise error.given from None
            except (Unavailable, LeaseLost):
                raise
            except CoterieError as error:
                raise AirflowFailException(f"{type(error).__name__}: {error}") from error
            if isinstance(made, ClaimWait):
                self.defer_until_free(made)
            return made

    def resume(self, context: Context, event: Mapping[str, Any]) -> Ref:  # noqa: ARG002  # what woke it says nothing more
        """Look again, as `execute`."""
        return self.execute(context)

    def _decompose(self, context: Context) -> Coroutine[Any, Any, Ref | ClaimWait]:
        identity = identity_of(context, on_clear=self.on_clear)
        task = Task(
            unit_name(self.task_id, context["ti"].map_index),
            _TYPE,
            input={"objective": self.objective, "facts": dict(self.facts or {}), "decomposer": self.decomposer_path},
        )
        self.lead_to(context, identity.workflow_id, task.id)
        maker = _Maker(_decomposer(self.decomposer_path), self.hook.team(self.team_path))
        ledger = self.open_ledger(identity)
        runtime = self.runtime(maker.alone(), ledger)

        async def work() -> Ref | ClaimWait:
            async with runtime, keeping(ledger, identity) as intent:
                try:
                    result = await runtime.orchestrator.execute_task(
                        task,
                        workflow_id=identity.workflow_id,
                        epoch=identity.epoch,
                        waits=not self.deferrable,
                        intent=intent,
                    )
                except ClaimedElsewhere as busy:
                    self.log.info("waiting: %s", busy)
                    return claim_wait(busy, identity.workflow_id, place_of(task.id))
                return await self._checked(result, maker, runtime)

        return work()

    async def _checked(self, result: TaskResult, maker: _Maker, runtime: Runtime) -> Ref:
        """The plan's document, whoever made it, if this team can run it."""
        store = runtime.artifacts
        assert store is not None
        if result.state != "succeeded":
            raise maker.failure or AirflowFailException(str(result.error))
        ref = (await stored(store, result)).output
        assert isinstance(ref, Ref)
        plan = Plan.from_dict(await store.load(ref))
        maker.team.check(plan)
        self.log.info("the plan %r has %d tasks: %s", plan.name, len(plan.tasks), [t.id for t in plan.tasks][:50])
        return ref


class _NotOurs(Unavailable):
    """An error of a decomposer's own: no end to keep, Airflow decides whether it is tried again."""

    def __init__(self, given: Exception) -> None:
        super().__init__(repr(given))
        self.given = given


class _Maker:
    """Makes the plan, as the one agent of a team of its own: so it is kept as all work is.

    failure: what was wrong here and now.
    """

    def __init__(self, decomposer: Decomposer, team: Team) -> None:
        self.team = team
        self.failure: CoterieError | None = None
        self._decomposer = decomposer

    def alone(self) -> Team:
        """The team of its own."""
        return Team(_TYPE, [Agent(_TYPE, _TYPE, self._make)])

    async def _make(self, task_input: dict[str, Any]) -> Any:
        try:
            plan = await self._decomposer.decompose(task_input["objective"], task_input["facts"], team=self.team)
            self.team.check(plan)
        except CoterieError as error:
            self.failure = error
            raise
        # Handed on as it is, by `execute`.
        except Exception as error:
            raise _NotOurs(error) from error
        return plan.to_dict()


def _decomposer(path: str) -> Decomposer:
    module_name, _, name = path.partition(":")
    try:
        found = getattr(import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise Misuse(
            f"there is no decomposer at {path!r}: {error}; write 'package.module:name' of one that is installed here"
        ) from error
    made = found if hasattr(found, "decompose") and not isinstance(found, type) else found()
    return cast("Decomposer", made)
