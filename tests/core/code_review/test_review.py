"""The team at work on a project with known faults, in this process."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from coterie.plan import Plan
from coterie.ref import Ref
from coterie.result import WorkflowResult
from coterie.runtime import Runtime
from coterie.task import Task
from coterie.teams.code_review import plan, team
from tests.support.seeded_repository import (
    EXPECTED,
    EXPECTED_WHEN_RUN,
    UNREAD,
    Expected,
    commit_all,
    write_seeded_repository,
)

REVIEWS = ("lint", "security", "measure", "structure", "tests", "docs")


@dataclass(frozen=True)
class Review:
    """A run and what its agents answered, by task; of a foreach, one answer an item."""

    result: WorkflowResult
    manifest: dict[str, Any]
    answers: dict[str, list[dict[str, Any]]]

    def findings(self) -> set[Expected]:
        every = (each for answers in self.answers.values() for answer in answers for each in answer["findings"])
        return {Expected(each["agent"], each["rule"], each["path"], each["line"]) for each in every}

    def problems(self) -> dict[str, str]:
        every = (each for answers in self.answers.values() for answer in answers for each in answer["problems"])
        return {each["path"]: each["reason"] for each in [*self.manifest["skipped"], *every]}


def hashes(done: Review) -> dict[str, str]:
    """Of the outputs; those of a foreach list places in the store."""
    return {
        each.task_id: each.output.sha256 for each in done.result if isinstance(each.output, Ref) and each.items is None
    }


def without_report(full: Plan) -> Plan:
    """The reviews alone, and a task that shows their answers."""
    kept = [task for task in full.tasks if task.id != "report"]
    show = Task("show", "shower", depends_on=("snapshot", *REVIEWS), trigger_rule="all_done")
    return Plan("reviews", [*kept, show], params=full.params)


async def review(source: Path, artifacts: Path, **parameters: Any) -> Review:
    shown: dict[str, Any] = {}

    async def show(task_input: dict[str, Any], ctx: Any) -> None:
        for name in (name for name, result in ctx.upstream.items() if result.state == "succeeded"):
            shown[name] = await ctx.output(name)

    async with Runtime(team, artifacts=f"file://{artifacts}") as runtime:
        runtime.orchestrator.register_agent("shower", "shower", 1, handler=show)
        chosen = without_report(plan(str(source), **parameters))
        result = await runtime.orchestrator.execute_workflow(chosen)
    answers = {n: shown[n] if isinstance(shown[n], list) else [shown[n]] for n in REVIEWS if n in shown}
    return Review(result, shown.get("snapshot", {"skipped": []}), answers)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeded") / "shop"
    folder.mkdir()
    write_seeded_repository(folder)
    commit_all(folder)
    return folder


@pytest.fixture(scope="module")
def done(seeded: Path, tmp_path_factory: pytest.TempPathFactory) -> Review:
    return asyncio.run(review(seeded, tmp_path_factory.mktemp("artifacts"), run_tests=True))


def test_the_whole_review_succeeds_although_files_are_bad(done: Review):
    assert done.result.status == "succeeded"


@pytest.mark.parametrize("expected", [*EXPECTED, *EXPECTED_WHEN_RUN], ids=lambda each: f"{each.agent}-{each.rule}")
def test_every_agent_finds_what_is_there(done: Review, expected: Expected):
    assert expected in done.findings()


def test_the_seeded_project_has_a_finding_for_every_agent_but_the_reporter():
    agents = set(team.agent_types) - {"snapshotter", "reporter"}

    assert {each.agent for each in EXPECTED} == agents


@pytest.mark.parametrize(("path", "reason"), UNREAD)
def test_what_could_not_be_read_is_said(done: Review, path: str, reason: str):
    assert reason in done.problems()[path]


async def test_two_reviews_are_equal_wherever_the_source_lies(seeded: Path, tmp_path: Path):
    elsewhere = tmp_path / "other" / "place" / "shop"
    shutil.copytree(seeded, elsewhere, symlinks=True)

    one = await review(seeded, tmp_path / "one")
    other = await review(elsewhere, tmp_path / "two")

    assert one.manifest == other.manifest
    assert one.answers == other.answers
    assert hashes(one) == hashes(other)


async def test_no_answer_names_a_place_on_this_machine(done: Review, seeded: Path):
    assert str(seeded) not in str(done.answers)
    assert "/tmp/" not in str(done.answers).replace("/tmp/'", "")


async def test_without_being_asked_no_reviewed_code_is_executed(seeded: Path, tmp_path: Path):
    copy = tmp_path / "shop"
    shutil.copytree(seeded, copy, symlinks=True)
    bad = f"open({str(tmp_path / 'executed')!r}, 'w')\n"
    for path in ("conftest.py", "setup.py", "sitecustomize.py", "ruff.py", "bandit.py", "tests/conftest.py"):
        (copy / path).write_text(bad)

    reviewed = await review(copy, tmp_path / "artifacts", repository_config=True)

    assert reviewed.result.status == "succeeded"
    assert not (tmp_path / "executed").exists()


async def test_a_source_that_is_not_there_fails_the_snapshot_and_says_why(tmp_path: Path):
    reviewed = await review(tmp_path / "missing", tmp_path / "artifacts")

    assert reviewed.result["snapshot"].state == "failed"
    assert reviewed.result["snapshot"].error is not None
    assert reviewed.result["snapshot"].error.type == "MissingSource"
    assert {reviewed.result[name].state for name in REVIEWS} == {"upstream_failed"}


async def test_one_module_that_is_lost_from_the_store_costs_only_its_own_results(seeded: Path, tmp_path: Path):
    lost: list[str] = []

    async def lose(task_input: dict[str, Any], ctx: Any) -> Any:
        manifest = await ctx.output("snapshot")
        entry = next(each for each in manifest["python_files"] if each["path"] == "shop/backup.py")
        place = tmp_path / "artifacts/default/sha256" / entry["sha256"][:2] / entry["sha256"]
        place.unlink()
        lost.append(entry["path"])
        return manifest

    full = plan(str(seeded))
    measure = full.task("measure")
    tasks = [full.task("snapshot"), Task("lose", "loser", depends_on=("snapshot",))]
    tasks.append(
        Task(
            "measure", measure.agent_type, input=measure.input, foreach=measure.foreach, depends_on=("snapshot", "lose")
        )
    )
    async with Runtime(team, artifacts=f"file://{tmp_path / 'artifacts'}") as runtime:
        runtime.orchestrator.register_agent("loser", "loser", 1, handler=lose)
        result = await runtime.orchestrator.execute_workflow(Plan("lossy", tasks, params=full.params))

    assert result["measure"].state == "succeeded"
    assert [item.key for item in result["measure"].failed_items] == lost
    assert result["measure"].items is not None
    assert result["measure"].items.total > 1


async def test_a_run_without_an_artifact_store_says_what_it_needs(seeded: Path):
    async with Runtime(team) as runtime:
        result = await runtime.orchestrator.execute_workflow(plan(str(seeded)))

    assert result["snapshot"].error is not None
    assert "artifact store" in result["snapshot"].error.message


def test_the_plan_is_one_snapshot_six_reviews_and_a_report():
    chosen = plan("somewhere", revision="v1", run_tests=True)

    assert [task.id for task in chosen.tasks] == ["snapshot", *REVIEWS, "report"]
    assert chosen.leaves == ("report",)
    assert chosen.params == {
        "source": "somewhere",
        "revision": "v1",
        "run_tests": True,
        "repository_config": False,
    }
    team.check(chosen)
    assert Plan.from_yaml(chosen.to_yaml()).hash == chosen.hash


def test_a_models_plan_may_neither_fetch_nor_execute():
    assert not {"snapshotter", "tester"} & set(team.plannable_types)


def test_importing_the_team_imports_none_of_its_tools():
    code = "import sys; from coterie.teams.code_review import plan, team; plan(); print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"bandit", "coverage", "fsspec", "pytest", "radon", "rfc8785", "rich", "ruff", "stevedore"}
