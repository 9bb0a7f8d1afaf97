"""Run coterie plans as Airflow DAGs: connection, hook, operators, decorators, sensors, a trigger and a retry policy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_coterie.dag import plan_to_dag, plan_to_task_group
    from airflow_provider_coterie.events.publish_operator import CoteriePublishEventOperator
    from airflow_provider_coterie.events.received import received_events
    from airflow_provider_coterie.events.sensor import CoterieEventSensor
    from airflow_provider_coterie.events.trigger import CoterieEventTrigger
    from airflow_provider_coterie.hook import CoterieHook
    from airflow_provider_coterie.operators.agent import CoterieAgentOperator
    from airflow_provider_coterie.operators.approval import CoterieApprovalOperator
    from airflow_provider_coterie.operators.decompose import CoterieDecomposeOperator
    from airflow_provider_coterie.operators.machine import CoterieStateMachineOperator
    from airflow_provider_coterie.operators.workflow import CoterieWorkflowOperator
    from airflow_provider_coterie.retry_policy import CoterieRetryPolicy
    from airflow_provider_coterie.sensors import CoterieBreakerSensor, CoteriePoolSensor

__version__ = "0.1.0"

__all__ = [
    "CoterieAgentOperator",
    "CoterieApprovalOperator",
    "CoterieBreakerSensor",
    "CoterieDecomposeOperator",
    "CoterieEventSensor",
    "CoterieEventTrigger",
    "CoterieHook",
    "CoteriePoolSensor",
    "CoteriePublishEventOperator",
    "CoterieRetryPolicy",
    "CoterieStateMachineOperator",
    "CoterieWorkflowOperator",
    "plan_to_dag",
    "plan_to_task_group",
    "received_events",
]

# Loaded when first used: Airflow imports this package to discover the provider, in every process.
_HOME = {
    "CoterieAgentOperator": "operators.agent",
    "CoterieApprovalOperator": "operators.approval",
    "CoterieBreakerSensor": "sensors",
    "CoterieDecomposeOperator": "operators.decompose",
    "CoterieEventSensor": "events.sensor",
    "CoterieEventTrigger": "events.trigger",
    "CoterieHook": "hook",
    "CoteriePoolSensor": "sensors",
    "CoteriePublishEventOperator": "events.publish_operator",
    "CoterieRetryPolicy": "retry_policy",
    "CoterieStateMachineOperator": "operators.machine",
    "CoterieWorkflowOperator": "operators.workflow",
    "plan_to_dag": "dag",
    "plan_to_task_group": "dag",
    "received_events": "events.received",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'airflow_provider_coterie' has no attribute {name!r}")
    value = getattr(import_module(f"airflow_provider_coterie.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
