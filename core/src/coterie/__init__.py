"""Coordinate a team of agents on the scheduler you already run.

A `Team` (agents and their policies) and a `Plan` (a checked graph of tasks) are defined once; the same plan runs
in this process, as an Airflow DAG or as a Prefect flow. Every name here is loaded when it is first used.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coterie._json import JsonValue
    from coterie.agent import Agent
    from coterie.agents import ChatAgent, HttpAgent, PydanticAgent
    from coterie.approval import Approval, Decision, Field
    from coterie.approvals import Approvals, Asked, PendingApproval
    from coterie.artifacts import Artifact, ArtifactStore
    from coterie.breaker import BreakerPolicy, BreakerStatus, CircuitBreaker, Classifier
    from coterie.budget import Budget, BudgetChain
    from coterie.bus import BusListener, CloudEvent, EventBus, Published, Received, Retention, Signing, Subscription
    from coterie.command import Command
    from coterie.context import TaskContext
    from coterie.decompose import Decomposer, ModelDecomposer, TemplateDecomposer
    from coterie.errors import CoterieError
    from coterie.events import Event
    from coterie.items import Part, PartResult, Parts
    from coterie.journal import Intent, Journal
    from coterie.limiter import Quota, RateLimiter
    from coterie.machine import StateMachine
    from coterie.machine_run import MachineStatus, StateMachineRun
    from coterie.orchestrator import Orchestrator, OrchestratorStatus
    from coterie.plan import Plan
    from coterie.policies import Fallback, Policies, Spend
    from coterie.pool import Aimd, Assignment, Lease, PoolPolicy, PoolStatus, ResourcePool
    from coterie.ports import LogStore, StateStore
    from coterie.protect import Protected, this_call
    from coterie.ref import Ref
    from coterie.remote import Call, CallStatus, RemoteCalls, Worker
    from coterie.result import ErrorInfo, ItemResult, TaskResult, WorkflowResult
    from coterie.retry_budget import RetryAllowance, RetryBudget
    from coterie.runtime import Runtime
    from coterie.saga import DeadLetter, Saga, SagaPolicy, SagaResult
    from coterie.state import Action, Go, Guard, State
    from coterie.task import Compensation, ForEach, Retry, Task, When
    from coterie.team import Team
    from coterie.usage import Price, Usage

__version__ = "0.1.0"

# A library is silent until its user sets logging up.
logging.getLogger("coterie").addHandler(logging.NullHandler())

__all__ = [
    "Action",
    "Agent",
    "Aimd",
    "Approval",
    "Approvals",
    "Artifact",
    "ArtifactStore",
    "Asked",
    "Assignment",
    "BreakerPolicy",
    "BreakerStatus",
    "Budget",
    "BudgetChain",
    "BusListener",
    "Call",
    "CallStatus",
    "ChatAgent",
    "CircuitBreaker",
    "Classifier",
    "CloudEvent",
    "Command",
    "Compensation",
    "CoterieError",
    "DeadLetter",
    "Decision",
    "Decomposer",
    "ErrorInfo",
    "Event",
    "EventBus",
    "Fallback",
    "Field",
    "ForEach",
    "Go",
    "Guard",
    "HttpAgent",
    "Intent",
    "ItemResult",
    "Journal",
    "JsonValue",
    "Lease",
    "LogStore",
    "MachineStatus",
    "ModelDecomposer",
    "Orchestrator",
    "OrchestratorStatus",
    "Part",
    "PartResult",
    "Parts",
    "PendingApproval",
    "Plan",
    "Policies",
    "PoolPolicy",
    "PoolStatus",
    "Price",
    "Protected",
    "Published",
    "PydanticAgent",
    "Quota",
    "RateLimiter",
    "Received",
    "Ref",
    "RemoteCalls",
    "ResourcePool",
    "Retention",
    "Retry",
    "RetryAllowance",
    "RetryBudget",
    "Runtime",
    "Saga",
    "SagaPolicy",
    "SagaResult",
    "Signing",
    "Spend",
    "State",
    "StateMachine",
    "StateMachineRun",
    "StateStore",
    "Subscription",
    "Task",
    "TaskContext",
    "TaskResult",
    "Team",
    "TemplateDecomposer",
    "Usage",
    "When",
    "Worker",
    "WorkflowResult",
    "this_call",
]

_HOME = {
    "Action": "state",
    "Agent": "agent",
    "Aimd": "pool",
    "Approval": "approval",
    "Approvals": "approvals",
    "Artifact": "artifacts",
    "ArtifactStore": "artifacts",
    "Asked": "approvals",
    "Assignment": "pool",
    "BreakerPolicy": "breaker",
    "BreakerStatus": "breaker",
    "Budget": "budget",
    "BudgetChain": "budget",
    "BusListener": "bus",
    "Call": "remote",
    "CallStatus": "remote",
    "ChatAgent": "agents",
    "CircuitBreaker": "breaker",
    "Classifier": "breaker",
    "CloudEvent": "bus",
    "Command": "command",
    "Compensation": "task",
    "CoterieError": "errors",
    "DeadLetter": "saga",
    "Decision": "approval",
    "Decomposer": "decompose",
    "ErrorInfo": "result",
    "Event": "events",
    "EventBus": "bus",
    "Fallback": "policies",
    "Field": "approval",
    "ForEach": "task",
    "Go": "state",
    "Guard": "state",
    "HttpAgent": "agents",
    "Intent": "journal",
    "ItemResult": "result",
    "Journal": "journal",
    "JsonValue": "_json",
    "Lease": "pool",
    "LogStore": "ports",
    "MachineStatus": "machine_run",
    "ModelDecomposer": "decompose",
    "Orchestrator": "orchestrator",
    "OrchestratorStatus": "orchestrator",
    "Part": "items",
    "PartResult": "items",
    "Parts": "items",
    "PendingApproval": "approvals",
    "Plan": "plan",
    "Policies": "policies",
    "PoolPolicy": "pool",
    "PoolStatus": "pool",
    "Price": "usage",
    "Protected": "protect",
    "Published": "bus",
    "PydanticAgent": "agents",
    "Quota": "limiter",
    "RateLimiter": "limiter",
    "Received": "bus",
    "Ref": "ref",
    "RemoteCalls": "remote",
    "ResourcePool": "pool",
    "Retention": "bus",
    "Retry": "task",
    "RetryAllowance": "retry_budget",
    "RetryBudget": "retry_budget",
    "Runtime": "runtime",
    "Saga": "saga",
    "SagaPolicy": "saga",
    "SagaResult": "saga",
    "Signing": "bus",
    "Spend": "policies",
    "State": "state",
    "StateMachine": "machine",
    "StateMachineRun": "machine_run",
    "StateStore": "ports",
    "Subscription": "bus",
    "Task": "task",
    "TaskContext": "context",
    "TaskResult": "result",
    "Team": "team",
    "TemplateDecomposer": "decompose",
    "Usage": "usage",
    "When": "task",
    "Worker": "remote",
    "WorkflowResult": "result",
    "this_call": "protect",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'coterie' has no attribute {name!r}")
    value = getattr(import_module(f"coterie.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
