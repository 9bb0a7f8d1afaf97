"""What an orchestrator is doing now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coterie.ids import AgentId, AgentType, WorkflowId

__all__ = ["AgentStatus", "OrchestratorStatus", "RunProgress"]


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """One agent now: slots in all, and in use."""

    agent_id: AgentId
    agent_type: AgentType
    capacity: int
    in_use: int


@dataclass(frozen=True, slots=True)
class RunProgress:
    """One run now: tasks in all, and ended."""

    workflow_id: WorkflowId
    plan_name: str
    tasks: int
    done: int


@dataclass(frozen=True, slots=True)
class OrchestratorStatus:
    """What an orchestrator is doing. `waiting`: tasks in the queue, by agent type."""

    agents: tuple[AgentStatus, ...]
    runs: tuple[RunProgress, ...]
    waiting: Mapping[AgentType, int]
