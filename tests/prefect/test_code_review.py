"""The example that people come for: a review of real code, as a flow, equal to the one in process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect import Flow

from coterie import ArtifactStore, Ref, Runtime, WorkflowResult
from coterie.teams.code_review import plan
from prefect_coterie import plan_to_flow, publish_report
from tests.prefect.runs import artifacts_of, run, task_runs
from tests.support.seeded_repository import write_seeded_repository

pytestmark = pytest.mark.prefect

TEAM = "coterie.teams.code_review:team"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "seeded"
    folder.mkdir()
    write_seeded_repository(folder)
    return folder


def review(store_url: str) -> Flow[..., Any]:
    return plan_to_flow(plan(), team=TEAM, artifacts=store_url, publish=publish_report, foreach_parts=3)


async def digest(result: WorkflowResult, store: ArtifactStore) -> str:
    output = result["report"].output
    assert isinstance(output, Ref)
    report: Any = await store.load(output)
    return str(report["digest"])


async def test_the_report_is_the_same_as_in_process(store_url: str, repository: Path, tmp_path: Path):
    ended = await run(review(store_url), store_url, source=str(repository))

    async with Runtime(TEAM, artifacts=f"file://{tmp_path}/here") as runtime:
        here = await runtime.orchestrator.execute_workflow(plan(), params={"source": str(repository)})
        assert runtime.artifacts is not None
        expected = await digest(here, runtime.artifacts)
    assert await digest(ended.result, ArtifactStore(store_url)) == expected
    assert ended.result.status_document() == here.status_document()


async def test_the_server_shows_the_plan_and_the_report(store_url: str, repository: Path):
    ended = await run(review(store_url), store_url, source=str(repository))

    await task_runs(ended.flow_run_id, {task.id for task in plan().tasks})
    shown = await artifacts_of(ended.flow_run_id)
    assert set(shown) == {"code-review-result", "code-review-report", "code-review-page"}


async def test_a_source_that_is_not_there_is_named(store_url: str, tmp_path: Path):
    ended = await run(review(store_url), store_url, source=f"{tmp_path}/nowhere")

    assert "nowhere" in str(ended.result["snapshot"].error)
    assert ended.result["lint"].state == "upstream_failed"
