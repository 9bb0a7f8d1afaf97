"""From an objective to a plan, when the DAG runs."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_coterie.hook import DEFAULT_CONN_ID, CoterieHook
from airflow_provider_coterie.work import Work
from coterie import Ref
from coterie.errors import CoterieError, Misuse, Unavailable

if TYPE_CHECKING:
    from coterie.decompose import Decomposer

__all__ = ["CoterieDecomposeOperator"]


class CoterieDecomposeOperator(BaseOperator):
    """Turn an objective into a plan for a team; the return value is a `Ref` to the plan's document.

    objective: what is wanted, in words (templated). facts: what the decomposer may know, a JSON object (templated).
    decomposer_path: `package.module:decomposer`, an object with `decompose`, or a function that makes one.
    Neither path is templated: importing them runs code.
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
        coterie_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,  # Airflow's own arguments, checked by it
    ) -> None:
        super().__init__(**kwargs)
        self.objective = objective
        self.decomposer_path = decomposer_path
        self.facts = facts
        self.team_path = team_path
        self.coterie_conn_id = coterie_conn_id
        self._work = Work()

    def on_kill(self) -> None:
        """Stop waiting for the plan."""
        self._work.stop()

    def execute(self, context: Context) -> Ref:  # noqa: ARG002  # Airflow's signature
        """Make the plan and store it.

        Raises:
            AirflowFailException: no acceptable plan was found; a retry would not help.
            Unavailable: whoever makes the plan, or the store, did not answer.
        """
        try:
            return self._work.run(self._decompose())
        except Unavailable:
            raise
        except CoterieError as error:
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error

    def _decompose(self) -> Coroutine[Any, Any, Ref]:
        hook = CoterieHook(self.coterie_conn_id, executor=self.executor)
        store, team = hook.get_conn(), hook.team(self.team_path)
        decomposer = _decomposer(self.decomposer_path)

        async def work() -> Ref:
            plan = await decomposer.decompose(self.objective, self.facts or {}, team=team)
            team.check(plan)
            self.log.info("the plan %r has %d tasks: %s", plan.name, len(plan.tasks), [t.id for t in plan.tasks][:50])
            return await store.put(plan.to_dict())

        return work()


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
