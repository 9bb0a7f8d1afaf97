"""The reporter as an agent: it reads what a run left behind, and stores the report."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from coterie.artifacts import ArtifactStore
from coterie.errors import StepFailed
from coterie.orchestrator import Orchestrator
from coterie.plan import Plan
from coterie.ref import Ref
from coterie.result import WorkflowResult
from coterie.task import ForEach, Task
from coterie.team import Team
from coterie.teams.code_review.reporter import report
from tests.support.report_inputs import finding, output, snapshot

team = Team("reported")


@team.agent("giver")
async def give(task_input: dict[str, Any], ctx: Any) -> Any:
    if task_input.get("fail") or ctx.item == "bad.py":
        raise StepFailed("it broke in /tmp/somewhere/else.py")
    return task_input["give"]


@team.agent("vandal")
def corrupt(task_input: dict[str, Any], ctx: Any) -> None:
    """Damage the stored output of every upstream task."""
    for result in ctx.upstream.values():
        Path(result.output.uri.removeprefix("file://")).write_bytes(b"x" * result.output.size_bytes)


team.agent("reporter")(report)

MANIFEST = snapshot("pkg/a.py")["output"]
LONG = output(finding(message="long " * 300))


async def run(store: ArtifactStore | None, *tasks: Task) -> WorkflowResult:
    last = Task("report", "reporter", depends_on=[task.id for task in tasks], trigger_rule="all_done")
    return await Orchestrator(team, artifacts=store).execute_workflow(Plan("reported", [*tasks, last]))


async def stored(store: ArtifactStore, result: WorkflowResult) -> dict[str, Any]:
    assert result["report"].state == "succeeded", result["report"].error
    where = result["report"].output
    return await store.load(where) if isinstance(where, Ref) else where


async def document(store: ArtifactStore, told: dict[str, Any]) -> dict[str, Any]:
    return json.loads(await store.read_bytes(store.recall(told["report"])))


def given(task_id: str, value: Any, **fields: Any) -> Task:
    return Task(task_id, "giver", input={"give": value}, **fields)


async def test_four_renderings_are_stored_and_the_digest_is_that_of_the_json(store: ArtifactStore):
    told = await stored(store, await run(store, given("snapshot", MANIFEST), given("lint", output(finding()))))

    content = {
        name: await store.read_bytes(store.recall(told[name])) for name in ("report", "markdown", "html", "sarif")
    }
    assert told["digest"] == hashlib.sha256(content["report"]).hexdigest()
    assert (told["findings"], told["status"]) == (1, "complete")
    assert content["markdown"].startswith(b"# Code review of shop")
    assert content["html"].startswith(b"<!doctype html>")
    assert json.loads(content["sarif"])["version"] == "2.1.0"


async def test_a_failed_task_is_missing_and_the_rest_reported(store: ArtifactStore):
    broken = Task("docs", "giver", input={"fail": True})

    told = await stored(store, await run(store, given("snapshot", MANIFEST), given("lint", output(finding())), broken))

    made = await document(store, told)
    assert (told["findings"], told["status"]) == (1, "partial")
    assert made["missing"] == [
        {"task": "docs", "agent": "documenter", "state": "failed", "reason": "StepFailed: it broke in …/else.py"}
    ]


async def test_a_failed_item_is_missing_and_the_others_reported(store: ArtifactStore):
    items = ForEach(items=["a.py", "bad.py", "c.py"], key="", tolerate_failures=1.0)

    told = await stored(store, await run(store, given("security", LONG, foreach=items)))

    made = await document(store, told)
    assert [(each["item"], each["state"]) for each in made["missing"]] == [("bad.py", "failed")]
    assert made["tasks"][0]["items"] == 3


async def test_with_nothing_but_a_snapshot_there_still_is_a_report(store: ArtifactStore):
    lint = Task("lint", "giver", input={"fail": True})

    told = await stored(store, await run(store, given("snapshot", MANIFEST), lint))

    assert (told["findings"], told["status"]) == (0, "partial")


async def test_without_a_snapshot_the_report_fails_with_its_reason(store: ArtifactStore):
    snapshot = Task("snapshot", "giver", input={"fail": True})

    result = await run(store, snapshot, given("lint", "unseen", depends_on=("snapshot",)))

    assert (result.status, result.exit_code) == ("failed", 1)
    error = result["report"].error
    assert error is not None
    assert error.type == "StepFailed"
    assert error.message == (
        "there is nothing to report on: the task 'snapshot' ended failed: "
        "StepFailed: it broke in /tmp/somewhere/else.py"
    )


async def test_a_corrupt_output_is_missing_and_the_rest_reported(store: ArtifactStore):
    lint, vandal = given("lint", LONG), Task("vandal", "vandal", depends_on=("lint",))

    told = await stored(store, await run(store, lint, vandal, given("docs", output(finding(agent="documenter")))))

    made = await document(store, told)
    assert ("lint", "unreadable") in [(each["task"], each["state"]) for each in made["missing"]]
    assert [each["agent"] for each in made["findings"]] == ["documenter"]


async def test_equal_runs_give_equal_bytes(tmp_path: Path):
    digests = set()
    for place in ("one", "two"):
        store = ArtifactStore(f"file://{tmp_path / place}")
        told = await stored(store, await run(store, given("snapshot", MANIFEST), given("lint", LONG)))
        digests |= {told["digest"]} | {told[name]["sha256"] for name in ("markdown", "html", "sarif")}

    assert len(digests) == 4


async def test_without_a_store_the_report_says_what_to_do():
    result = await run(None, given("lint", output()))

    assert result["report"].state == "failed"
    assert "give the run an artifact store" in str(result["report"].error)


@pytest.mark.parametrize("key", ["agents", "snapshot"])
async def test_nonsense_in_the_input_is_no_obstacle(store: ArtifactStore, key: str):
    last = Task("report", "reporter", input={key: 5}, depends_on=("lint",))
    plan = Plan("reported", [given("lint", output(finding())), last])

    result = await Orchestrator(team, artifacts=store).execute_workflow(plan)

    assert (await stored(store, result))["findings"] == 1
