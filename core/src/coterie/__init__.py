"""Coordinate a team of agents on the scheduler you already run.

A `Team` (agents and their policies) and a `Plan` (a checked graph of tasks) are defined once; the same plan runs
in this process, as an Airflow DAG or as a Prefect flow. Every name here is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coterie._json import JsonValue
    from coterie.agent import Agent
    from coterie.artifacts import ArtifactStore
    from coterie.command import Command
    from coterie.context import TaskContext
    from coterie.decompose import Decomposer, ModelDecomposer, TemplateDecomposer
    from coterie.errors import CoterieError
    from coterie.events import Event
    from coterie.items import Part, PartResult, Parts
    from coterie.orchestrator import Orchestrator, OrchestratorStatus
    from coterie.plan import Plan
    from coterie.ref import Ref
    from coterie.result import ErrorInfo, ItemResult, TaskResult, WorkflowResult
    from coterie.runtime import Runtime
    from coterie.task import ForEach, Retry, Task, When
    from coterie.team import Team

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "ArtifactStore",
    "Command",
    "CoterieError",
    "Decomposer",
    "ErrorInfo",
    "Event",
    "ForEach",
    "ItemResult",
    "JsonValue",
    "ModelDecomposer",
    "Orchestrator",
    "OrchestratorStatus",
    "Part",
    "PartResult",
    "Parts",
    "Plan",
    "Ref",
    "Retry",
    "Runtime",
    "Task",
    "TaskContext",
    "TaskResult",
    "Team",
    "TemplateDecomposer",
    "When",
    "WorkflowResult",
]

_HOME = {
    "Agent": "agent",
    "ArtifactStore": "artifacts",
    "Command": "command",
    "CoterieError": "errors",
    "Decomposer": "decompose",
    "ErrorInfo": "result",
    "Event": "events",
    "ForEach": "task",
    "ItemResult": "result",
    "JsonValue": "_json",
    "ModelDecomposer": "decompose",
    "Orchestrator": "orchestrator",
    "OrchestratorStatus": "orchestrator",
    "Part": "items",
    "PartResult": "items",
    "Parts": "items",
    "Plan": "plan",
    "Ref": "ref",
    "Retry": "task",
    "Runtime": "runtime",
    "Task": "task",
    "TaskContext": "context",
    "TaskResult": "result",
    "Team": "team",
    "TemplateDecomposer": "decompose",
    "When": "task",
    "WorkflowResult": "result",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'coterie' has no attribute {name!r}")
    value = getattr(import_module(f"coterie.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
