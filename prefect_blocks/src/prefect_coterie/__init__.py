"""Run coterie plans as Prefect flows: blocks for teams and what they share, tasks for agents, flows from plans.

Importing this contacts no server and loads no team.
"""

from __future__ import annotations

from prefect_coterie.blocks import CoterieArtifacts, CoterieTeam
from prefect_coterie.breaker_block import CoterieCircuitBreaker
from prefect_coterie.bridge_block import CoterieEventBridge
from prefect_coterie.bridge_flow import serve_bridge
from prefect_coterie.decomposition import decompose
from prefect_coterie.event_tasks import apublish_event, await_for_event, publish_event, wait_for_event
from prefect_coterie.flow import plan_to_flow
from prefect_coterie.machine_flow import machine_to_flow
from prefect_coterie.machine_run import machine_state, run_machine
from prefect_coterie.people.waking import wake_suspended
from prefect_coterie.plan_run import final_state, run_plan
from prefect_coterie.pool_block import CoterieResourcePool
from prefect_coterie.publication import publish_machine, publish_report, publish_result
from prefect_coterie.remote_task import submit_remote
from prefect_coterie.run_state import RunFailed
from prefect_coterie.state_block import CoterieStore
from prefect_coterie.tasks import arun_agent, run_agent

# Prefect takes the version of a block's schema from here.
__version__ = "0.1.0"

__all__ = [
    "CoterieArtifacts",
    "CoterieCircuitBreaker",
    "CoterieEventBridge",
    "CoterieResourcePool",
    "CoterieStore",
    "CoterieTeam",
    "RunFailed",
    "apublish_event",
    "arun_agent",
    "await_for_event",
    "decompose",
    "final_state",
    "machine_state",
    "machine_to_flow",
    "plan_to_flow",
    "publish_event",
    "publish_machine",
    "publish_report",
    "publish_result",
    "run_agent",
    "run_machine",
    "run_plan",
    "serve_bridge",
    "submit_remote",
    "wait_for_event",
    "wake_suspended",
]
