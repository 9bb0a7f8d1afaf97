"""The in-process engine keeps the contract of all engines, whichever way it is driven."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from coterie import ArtifactStore, JsonValue, Orchestrator, Plan, Task, TaskResult, Team, WorkflowResult, sync
from coterie.conclude import conclude
from coterie.testing import EngineContract
from coterie.walk import walk


@pytest.fixture(autouse=True)
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where outputs lie, also for `Ref.load()`."""
    url = f"file://{tmp_path}/artifacts"
    monkeypatch.setenv("COTERIE_ARTIFACTS", url)
    return url


class TestTheInProcessEngine(EngineContract):
    def run(self, plan: Plan, team_path: str, params: Mapping[str, JsonValue]) -> WorkflowResult:
        orchestrator = Orchestrator(Team.load(team_path), artifacts=_store())
        return asyncio.run(orchestrator.execute_workflow(plan, params=params))


class TestTheBlockingFacade(EngineContract):
    def run(self, plan: Plan, team_path: str, params: Mapping[str, JsonValue]) -> WorkflowResult:
        orchestrator = sync.Orchestrator(Orchestrator(Team.load(team_path), artifacts=_store()))
        return orchestrator.execute_workflow(plan, params=params)


class TestAnEngineOfSeparateProcesses(EngineContract):
    """Every task by an orchestrator of its own, a foreach in parts, results only in their travelling form."""

    def run(self, plan: Plan, team_path: str, params: Mapping[str, JsonValue]) -> WorkflowResult:
        return asyncio.run(_in_parts(plan, team_path, {**plan.params, **params}))


async def _in_parts(plan: Plan, team_path: str, params: Mapping[str, JsonValue]) -> WorkflowResult:
    async def perform(task: Task, upstream: Mapping[str, TaskResult]) -> TaskResult:
        given = {name: TaskResult.from_dict(result.to_dict()) for name, result in upstream.items()}
        worker = Orchestrator(Team.load(team_path), artifacts=_store())
        common = {"workflow_id": "separate", "params": params}
        if task.foreach is None:
            return await worker.execute_task(task, upstream=given, **common)
        try:
            parts = await worker.split(task, max_parts=2, upstream=given, **common)
        except ValueError:
            # What `split` refuses, the whole task refuses in the words of every engine.
            return await worker.execute_task(task, upstream=given, **common)
        if parts is None:
            return TaskResult(task.id, "skipped")
        results = [await worker.execute_part(task, part, upstream=given, **common) for part in parts]
        return await worker.gather(task, parts, results, workflow_id="separate")

    async def note(task: Task, result: TaskResult) -> None:
        return None

    return conclude(plan, await walk(plan, perform, note), workflow_id="separate")


def _store() -> ArtifactStore:
    return ArtifactStore(os.environ["COTERIE_ARTIFACTS"])
