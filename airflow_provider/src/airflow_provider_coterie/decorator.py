"""`@task.coterie_agent`: a function returns the input, an agent does the work."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

from airflow.sdk import Context
from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, determine_kwargs, task_decorator_factory
from airflow.sdk.definitions.context import context_merge

from airflow_provider_coterie.operators.agent import CoterieAgentOperator
from coterie import Ref

__all__ = ["coterie_agent_task"]


class _CoterieAgentDecoratedOperator(DecoratedOperator, CoterieAgentOperator):
    """Calls the function for the agent's input, then performs the task."""

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, "agent_type")
    template_fields_renderers: ClassVar[dict[str, str]] = {**DecoratedOperator.template_fields_renderers}
    custom_operator_name: str = "@task.coterie_agent"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,  # the operator's and Airflow's own arguments
    ) -> None:
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **kwargs)

    def execute(self, context: Context) -> Ref | None:
        """Perform the task on what the function returns, a JSON object."""
        return CoterieAgentOperator.execute(self, context)

    def make_input(self, context: Context) -> Mapping[str, Any]:
        """Call the function; once more after the task was refused and waited."""
        context_merge(context, self.op_kwargs)
        kwargs = determine_kwargs(self.python_callable, self.op_args, context)
        made: Mapping[str, Any] = self.python_callable(*self.op_args, **kwargs)
        return made or {}


def coterie_agent_task(
    python_callable: Callable[..., Any] | None = None,
    **kwargs: Any,  # the operator's and Airflow's own arguments
) -> TaskDecorator:
    """Make a function that returns an agent's input (a JSON object) into a task that an agent performs.

    Takes what `CoterieAgentOperator` takes, but `input`.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_CoterieAgentDecoratedOperator, **kwargs
    )
