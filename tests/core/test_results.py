"""Results: what travels, what they say of a run, and how they raise."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from coterie import ArtifactStore, ErrorInfo, ForEach, Orchestrator, Ref, Task, TaskContext, TaskResult, WorkflowResult
from coterie._rules.status import run_status
from coterie.cli.words import clipped
from coterie.errors import Misuse, StepFailed
from coterie.ids import item_keys, item_name
from coterie.result import ItemCounts


async def agent(task_input: dict[str, Any], ctx: TaskContext) -> Any:
    if task_input.get("fail") or ctx.item == "bad":
        raise ValueError("told to fail")
    return task_input


def a_run(store: ArtifactStore | None = None) -> WorkflowResult:
    orchestrator = Orchestrator(artifacts=store)
    orchestrator.register_agent("a", "x", 2, handler=agent)
    tasks = [
        Task("a", "x", input={"text": "long " * 200}),
        Task("b", "x", input={"fail": True}),
        Task("c", "x", depends_on=["b"]),
        Task("each", "x", foreach=ForEach(items=["good", "bad"], tolerate_failures=1)),
        Task("bad", "x", foreach=ForEach(items=["bad"])),
    ]
    return asyncio.run(orchestrator.execute_workflow(tasks, workflow_id="one"))


def test_a_result_reads_back_as_it_was_written(tmp_path: Path):
    for store in (None, ArtifactStore(f"file://{tmp_path}")):
        result = a_run(store)

        again = WorkflowResult.from_dict(json.loads(json.dumps(result.to_dict())))

        assert again.to_dict() == result.to_dict()
        assert again.status_document() == result.status_document()


def test_the_status_document_tells_no_time_and_no_place(tmp_path: Path):
    here, there = (a_run(ArtifactStore(f"file://{tmp_path}/{name}")) for name in ("here", "there"))

    assert here.status_document() == there.status_document()
    assert str(tmp_path) not in json.dumps(here.status_document())


def test_the_status_document_is_as_promised(tmp_path: Path):
    document = a_run(ArtifactStore(f"file://{tmp_path}")).status_document()

    assert list(document) == ["schema", "plan", "status", "outputs", "tasks"]
    assert (document["schema"], document["status"], document["outputs"]) == (1, "partial", ["a", "c", "each", "bad"])
    tasks = {task["id"]: task for task in document["tasks"]}
    assert tasks["b"] == {
        "id": "b",
        "state": "failed",
        "attempts": 1,
        "error": {"type": "ValueError", "message": "told to fail"},
    }
    assert tasks["c"]["state"] == "upstream_failed"
    assert tasks["each"]["items"]["total"] == 2
    assert [item["index"] for item in tasks["each"]["items"]["failed"]] == [1]
    assert tasks["a"]["output"].keys() == {"sha256", "size_bytes"}


def test_a_result_is_looked_up_and_walked_through():
    result = a_run()

    assert [one.task_id for one in result] == ["a", "b", "c", "each", "bad"]
    assert [one.task_id for one in result.failures] == ["b", "bad"]
    with pytest.raises(Misuse, match="the run has no task 'z'; it has: a, b, c"):
        result["z"]


def test_raising_names_every_failure():
    with pytest.raises(ExceptionGroup, match="the run 'one' of 'workflow' ended partial") as caught:
        a_run().raise_for_status()

    assert [str(error).split(":")[0] for error in caught.value.exceptions] == ["'b'", "'bad'"]


@pytest.mark.parametrize("state", ["succeeded", "skipped"])
def test_what_did_not_fail_does_not_raise(state: Any):
    TaskResult("a", state).raise_for_state()


@pytest.mark.parametrize("state", ["failed", "upstream_failed", "cancelled"])
def test_what_failed_raises_with_its_reason(state: Any):
    with pytest.raises(StepFailed, match=f"the task 'a' ended {state}: ValueError: why"):
        TaskResult("a", state, error=ErrorInfo("ValueError", "why")).raise_for_state()


def test_what_an_error_says_does_not_act_on_the_terminal_it_is_shown_on():
    error = ErrorInfo.of(ValueError("no \x1b]0;title\x07\x9b2Jentry\n\tat \u202eline 1"))

    assert str(error) == "ValueError: no \ufffd]0;title\ufffd\ufffd2Jentry\n\tat \ufffdline 1"
    assert clipped("a\x1b[31m \n b", 20) == "a\ufffd[31m b"


@pytest.mark.parametrize(
    "result",
    [
        TaskResult("a", "succeeded", None, attempts=1),
        TaskResult("a", "succeeded", {"ref": {"uri": 1}}),
        TaskResult("a", "succeeded", Ref.inline(b"1"), None, 2, "agent", 1.5, 0.5),
        TaskResult("a", "failed", None, ErrorInfo("E", "m"), 1, items=ItemCounts(0, 0)),
        TaskResult("a", "failed", Ref.inline(b"{}"), ErrorInfo("E", "m"), items=ItemCounts(3, 2)),
    ],
)
def test_a_task_result_travels(result: TaskResult):
    assert TaskResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


@pytest.mark.parametrize(
    "document", [{}, {"task_id": "a"}, [], None, "a", {"task_id": "a", "state": "failed", "error": {}}]
)
def test_what_is_no_task_result_is_refused(document: Any):
    if document == {"task_id": "a", "state": "failed", "error": {}}:
        document = {**document, "error": {"kind": "E"}}

    with pytest.raises(Misuse, match=r"not a task result: .*pass what `TaskResult.to_dict` wrote"):
        TaskResult.from_dict(document)


@pytest.mark.parametrize(
    ("states", "outputs", "status"),
    [
        (["succeeded", "skipped"], ["skipped"], "succeeded"),
        (["succeeded", "failed"], ["succeeded"], "partial"),
        (["succeeded", "failed", "upstream_failed"], ["upstream_failed"], "failed"),
        (["failed", "skipped"], ["skipped"], "failed"),
        (["cancelled", "failed", "succeeded"], ["succeeded"], "cancelled"),
    ],
)
def test_the_status_of_a_run_follows_from_its_tasks(states: Any, outputs: Any, status: str):
    assert run_status(states, outputs) == status


@pytest.mark.parametrize("document", [{}, [], None, {"tasks": None}, {"tasks": [{"task_id": "a"}]}, {"tasks": []}])
def test_what_is_no_workflow_result_is_refused(document: Any):
    with pytest.raises(Misuse, match=r"not a (workflow|task) result"):
        WorkflowResult.from_dict(document)


def test_people_are_shown_the_key_that_they_gave_an_item():
    assert item_name("a3", 2) == "'a3'"


def test_people_are_shown_the_index_of_an_item_that_nobody_gave_a_key():
    first, second = item_keys(["x", "x"])

    assert item_name(first, 0) == f"[0] ({first[:8]}…)"
    assert item_name(second, 1) == f"[1] ({first[:8]}…#2)"


async def test_a_failed_foreach_names_its_first_failure_by_the_index():
    async def fail(task_input: Any) -> None:
        raise ValueError("on purpose")

    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 1, handler=fail)

    result = (await orchestrator.execute_workflow([Task("t", "x", foreach=ForEach(items=["a"]))]))["t"]

    assert result.error is not None
    assert result.error.message.startswith("1 of 1 items failed; first: item [0] (")
    assert result.status_document()["items"]["failed"][0]["key"] == item_keys(["a"])[0]


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["a", "a", "a#2"], ["a", "a#3", "a#2"]),
        (["a#2", "a", "a", "a"], ["a#2", "a", "a#3", "a#4"]),
        (["a", "a", "a#2", "a#2"], ["a", "a#3", "a#2", "a#2#2"]),
        (["a", "a", "b"], ["a", "a#2", "b"]),
    ],
)
def test_no_two_items_have_one_key(names: list[Any], keys: list[str]):
    assert item_keys(names, names) == keys
