"""Refuse artifacts and state on this machine where the work leaves it: each pod would have a disk of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from coterie.errors import PolicyError

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

    from prefect_coterie.blocks import CoterieArtifacts
    from prefect_coterie.state_block import CoterieStore

__all__ = ["check_reach", "check_state_reach", "runner_here", "runner_leaves", "work_pool_type"]

_ON_DISK = frozenset({"file", "local"})
_IN_MEMORY = frozenset({"memory"})
# The only infrastructure whose runs see the disk of the worker's machine, and leave it as it was.
_LOCAL_POOLS = frozenset({"process"})
_LOCAL_HOSTS = frozenset({"", "localhost", "127.0.0.1", "::1", "auto", "local"})
# By work pool and outermost flow run: a pool never changes its type, and single tasks ask as often as plans.
_pool_types: dict[tuple[str | None, str | None], str | None] = {}
_REMEDY = (
    "use a store that every task can reach (such as 's3://bucket/prefix'), "
    "or, where the folder is mounted everywhere, a CoterieArtifacts block with shared_file_system=True"
)
_STATE_REMEDY = (
    "each would have a breaker and a pool of its own: use a store that all runs can reach, such as "
    "'redis://host:6379/0', in a CoterieStore block or COTERIE_STORE"
)


async def check_reach(artifacts: CoterieArtifacts, runner: TaskRunner[Any] | None) -> None:
    """Do nothing if every task of the current flow run can reach `artifacts`.

    runner: what tasks are submitted to; None if they run in the flow's own process.

    Raises:
        PolicyError: a store on disk or in memory, and tasks in pods, containers or on other hosts.
    """
    if artifacts.scheme in _IN_MEMORY and runner is not None and not isinstance(runner, ThreadPoolTaskRunner):
        raise PolicyError(
            f"the artifacts {artifacts.url!r} lie in one process, and {type(runner).__name__} uses others; "
            "use a folder ('file:///srv/coterie') or an object store ('s3://bucket/prefix')"
        )
    if artifacts.scheme not in _ON_DISK | _IN_MEMORY or (artifacts.shared_file_system and artifacts.scheme in _ON_DISK):
        return
    if runner is not None and runner_leaves(runner):
        raise PolicyError(
            f"the artifacts {artifacts.url!r} lie on this machine, and {type(runner).__name__} may run tasks "
            f"on others; {_REMEDY}"
        )
    pool = await work_pool_type()
    if pool is not None and pool not in _LOCAL_POOLS:
        raise PolicyError(
            f"the artifacts {artifacts.url!r} lie on this machine, and runs of a {pool!r} work pool have a disk "
            f"of their own that is lost with them; {_REMEDY}"
        )


async def check_state_reach(store: CoterieStore, runner: TaskRunner[Any] | None, *, kept: bool) -> None:
    """Do nothing if all tasks of the current flow run, and those of other runs on other machines, share this state.

    runner: as for `check_reach`. kept: whether one opening of the store serves all the work that needs it.

    Raises:
        PolicyError: a database on disk, and tasks in pods, containers or on other hosts; state in memory, and tasks
            that each have their own.
    """
    if store.scope == "process":
        if not kept or runner is not None:
            raise PolicyError(
                f"state in {store.url!r} ends with the task run that opens it, and no other sees it; use 'sqlite://' "
                "for one machine, 'redis://host:6379/0' for more, or run a plan in the flow's own event loop"
            )
        return
    if store.scope == "fleet":
        return
    if runner is not None and runner_leaves(runner):
        raise PolicyError(
            f"the state in {store.url!r} lies on this machine, and {type(runner).__name__} may run tasks on others; "
            f"{_STATE_REMEDY}"
        )
    pool = await work_pool_type()
    if pool is not None and pool not in _LOCAL_POOLS:
        raise PolicyError(
            f"the state in {store.url!r} lies on this machine, and runs of a {pool!r} work pool have a disk of their "
            f"own that is lost with them; {_STATE_REMEDY}"
        )


def runner_here() -> TaskRunner[Any] | None:
    """What brought the current task run to another process; None if nothing did."""
    context = FlowRunContext.get()
    return context.task_runner if context is not None and context.detached else None


def runner_leaves(runner: TaskRunner[Any]) -> bool:
    """Whether tasks given to this runner may run on other machines; of an unknown kind, yes.

    Dask: a local cluster stays, unless an address or another cluster is given. Ray: likewise, by its address.
    """
    if isinstance(runner, (ThreadPoolTaskRunner, ProcessPoolTaskRunner)):
        return False
    kind = type(runner).__name__
    if kind not in ("DaskTaskRunner", "RayTaskRunner"):
        return True
    cluster = getattr(runner, "cluster_class", None) or getattr(runner, "_cluster", None)
    name = cluster if isinstance(cluster, str) else getattr(cluster, "__name__", type(cluster).__name__)
    if cluster is not None and not name.endswith("LocalCluster"):
        return True
    address = getattr(runner, "address", None) or ""
    return _host(str(address)) not in _LOCAL_HOSTS


async def work_pool_type() -> str | None:
    """The type of the work pool whose infrastructure runs this process; None without one (serve, a script)."""
    context = FlowRunContext.get()
    flow_run = context.flow_run if context is not None else None
    name = getattr(flow_run, "work_pool_name", None)
    # A flow called by another has no pool; the run that the worker started has.
    outermost = os.environ.get("PREFECT__FLOW_RUN_ID")
    if name is None and not outermost:
        return None
    if (name, outermost) not in _pool_types:
        _pool_types[name, outermost] = await _asked_pool_type(name, outermost)
    return _pool_types[name, outermost]


async def _asked_pool_type(name: str | None, outermost: str | None) -> str | None:
    async with get_client() as client:
        if name is None and outermost:
            name = (await client.read_flow_run(UUID(outermost))).work_pool_name
        return (await client.read_work_pool(name)).type if name is not None else None


def _host(address: str) -> str:
    if "://" not in address:
        address = f"//{address}" if ":" in address or "." in address else address
    parts = urlsplit(address)
    if parts.scheme == "inproc":
        return ""
    return parts.hostname or parts.path
