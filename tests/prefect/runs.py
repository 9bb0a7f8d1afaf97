"""Run flows and plans, and ask the server what it saw."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from prefect import Flow, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import Artifact, FlowRun, State, TaskRun

from coterie import ArtifactStore, Plan, Ref, Runtime, WorkflowResult
from tests.prefect.trial import TEAM

T = TypeVar("T")

PATIENCE_S = 30.0


class Ended(NamedTuple):
    state: State[Any]
    data: dict[str, Any]
    result: WorkflowResult
    flow_run_id: UUID


async def run(flow: Flow[..., Any], store_url: str, **params: Any) -> Ended:
    """Call a flow that was made with artifacts at `store_url`, and read its stored result."""
    state: State[Any] = await flow(**params, return_state=True)
    data = await state.aresult(raise_on_failure=False)
    assert isinstance(data, Mapping), repr(data)
    found = await ArtifactStore(store_url).load(Ref.deserialize(data["stored"]))
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    return Ended(state, dict(data), WorkflowResult.from_dict(found), run_id)


async def run_here(plan: Plan, folder: Path, **params: Any) -> WorkflowResult:
    """The same plan, by the in-process engine."""
    async with Runtime(TEAM, artifacts=f"file://{folder}/here") as runtime:
        return await runtime.orchestrator.execute_workflow(plan, params=params)


async def eventually(ask: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> T:
    """What `ask` answers as soon as that is `good`: the server learns of task runs by events, a little later."""
    deadline = time.monotonic() + PATIENCE_S
    while not good(answer := await ask()):
        assert time.monotonic() < deadline, f"after {PATIENCE_S:g} s still {answer!r}"
        await asyncio.sleep(0.1)
    return answer


async def task_runs(flow_run_id: UUID, names: set[str]) -> dict[str, TaskRun]:
    """The server's task runs of a flow run by name, once those of `names` have ended there."""

    async def ask() -> dict[str, TaskRun]:
        async with get_client() as client:
            only = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
            return {found.name: found for found in await client.read_task_runs(flow_run_filter=only)}

    def good(found: dict[str, TaskRun]) -> bool:
        final = {name for name, one in found.items() if one.state is not None and one.state.is_final()}
        return names <= final

    return await eventually(ask, good)


async def flow_run(flow_run_id: UUID) -> FlowRun:
    async with get_client() as client:
        return await client.read_flow_run(flow_run_id)


async def artifacts_of(flow_run_id: UUID) -> dict[str, Artifact]:
    """The artifacts of a flow run that have a key."""
    async with get_client() as client:
        only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
        found = await client.read_artifacts(artifact_filter=only)
        return {one.key: one for one in found if one.key}


async def child_group(folder: Path) -> int:
    """The process group of the `nurse` of `tests.prefect.trial.nursery`, once it runs."""

    async def ask() -> str:
        path = folder / "group"
        return path.read_text() if path.exists() else ""

    return int(await eventually(ask, bool))


async def group_ends(group: int) -> None:
    """Wait until no process of the group is left."""

    async def ask() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    await eventually(ask, bool)


async def logged(flow_run_id: UUID, words: str, *, lines: int = 1) -> list[str]:
    """So many lines of the flow run's log with these words, once the server has them."""

    async def ask() -> list[str]:
        async with get_client() as client:
            only = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
            return [line.message for line in await client.read_logs(only) if words in line.message]

    return await eventually(ask, lambda found: len(found) >= lines)
