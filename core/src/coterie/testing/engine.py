"""What every engine does with a plan: the contract that the in-process engine and each adapter inherit."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Mapping
from typing import Any, get_args

from coterie._json import JsonValue
from coterie.artifacts import ArtifactStore
from coterie.ids import TaskState
from coterie.orchestrator import Orchestrator
from coterie.plan import Plan
from coterie.ref import Ref
from coterie.result import WorkflowResult
from coterie.task import ForEach, Retry, Task, TriggerRule, When
from coterie.testing.engine_team import PATH, team

__all__ = ["EngineContract", "task"]

LONG_TEXT = "long enough to lie in the artifact store " * 40
_AT_ONCE = Retry(max_attempts=3, base_s=0.0, cap_s=0.0)


def task(task_id: str, do: str = "give", *, needs: tuple[str, ...] = (), **fields: Any) -> Task:
    """A task for the contract's team: what it does, what it waits for; `value`, `until` and the like are its input."""
    policies = {name: fields.pop(name) for name in list(fields) if name in Task.__slots__}
    return Task(task_id, "script", input={"do": do, **fields}, depends_on=needs, **policies)


class EngineContract:
    """Inherit it and write `run`; every test then compares your engine with what is said here.

    Each result is also compared with the in-process engine's, by its run-status document and so by the hashes of
    all outputs: your engine needs an artifact store, anywhere, and the namespace `default`.
    """

    def run(self, plan: Plan, team_path: str, params: Mapping[str, JsonValue]) -> WorkflowResult:
        """Run `plan` to its end with the team at `team_path`, a path for `Team.load`."""
        raise NotImplementedError

    def outcome(self, *tasks: Task, **params: JsonValue) -> WorkflowResult:
        """Run the tasks as a plan, here and in process, and compare."""
        plan = Plan("contract", tasks, params=dict.fromkeys(params))
        result = self.run(plan, PATH, params)

        assert result.status_document() == _in_process(plan, params, result.workflow_id).status_document()
        return result

    # Outputs and order.

    def test_an_agent_is_given_its_input_and_the_outputs_before_it(self) -> None:
        result = self.outcome(task("a", value={"n": 1}), task("b", "see", needs=("a",)), task("c", "see", needs=("b",)))

        assert _states(result) == {"a": "succeeded", "b": "succeeded", "c": "succeeded"}
        assert _output(result, "b") == {"a": {"state": "succeeded", "error": None, "output": {"n": 1}}}
        assert result.exit_code == 0

    def test_a_long_output_travels_by_reference(self) -> None:
        result = self.outcome(task("a", value=LONG_TEXT), task("b", "see", needs=("a",), value=LONG_TEXT))

        output = result["a"].output
        assert isinstance(output, Ref)
        assert not output.is_inline

    def test_a_plain_function_is_given_the_same_outputs(self) -> None:
        blocking = Task("b", "blocking", depends_on=("a", "no"), trigger_rule="all_done")

        result = self.outcome(task("a", value=[1, "two", None]), task("no", "fail"), blocking)

        assert _output(result, "b") == {"a": [1, "two", None]}

    def test_a_parameter_replaces_its_mark_in_the_input(self) -> None:
        result = self.outcome(task("a", value={"at": [{"$param": "place"}]}), place={"deep": [1]})

        assert _output(result, "a") == {"at": [{"deep": [1]}]}

    def test_the_idempotency_key_is_that_of_the_work(self) -> None:
        result = self.outcome(task("a", value=LONG_TEXT), task("b", "keys", needs=("a",)))

        assert _output(result, "b")["workflow_id"] == result.workflow_id

    # Trigger rules, skipped tasks, run status.

    def test_trigger_rules_decide_by_how_the_tasks_before_ended(self) -> None:
        plan, expected = _every_combination()

        result = self.outcome(*plan)

        assert {name: state for name, state in _states(result).items() if name in expected} == expected

    def test_a_condition_compares_the_output_of_its_task(self) -> None:
        conditions = {
            "equal": When("a", "/n", "eq", 3),
            "different": When("a", "/n", "ne", 3),
            "less": When("a", "/n", "lt", 4),
            "among": When("a", "/n", "in", [1, 3]),
            "there": When("a", "/deep/0"),
            "not-there": When("a", "/deep/1"),
            "other-kind": When("a", "/n", "gt", "text"),
        }

        result = self.outcome(
            task("a", value={"n": 3, "deep": [None]}),
            *(task(name, needs=("a",), when=condition) for name, condition in conditions.items()),
        )

        ran = {name for name in conditions if result[name].state == "succeeded"}
        assert ran == {"equal", "less", "among", "there"}
        assert {result[name].state for name in conditions.keys() - ran} == {"skipped"}
        assert result.status == "succeeded"

    def test_a_skip_spreads_until_somebody_takes_it(self) -> None:
        result = self.outcome(
            task("a", value=False),
            task("off", when=When("a", "", "eq", value=True)),
            task("after", needs=("off",)),
            task("later", needs=("after",)),
            task("end", "see", needs=("later", "a"), trigger_rule="none_failed"),
        )

        assert [result[name].state for name in ("off", "after", "later")] == ["skipped"] * 3
        assert result["end"].state == "succeeded"
        assert result.status == "succeeded"

    def test_a_failure_blocks_what_needs_it_and_leaves_the_rest(self) -> None:
        result = self.outcome(task("a", "fail"), task("b", needs=("a",)), task("c", needs=("b",)), task("d", value=1))

        assert _states(result) == {"a": "failed", "b": "upstream_failed", "c": "upstream_failed", "d": "succeeded"}
        assert result["a"].error is not None
        assert (result["a"].error.type, result["a"].error.message) == ("RuntimeError", "told to fail")
        assert result.status == "partial"
        assert result.exit_code == 3

    def test_a_run_without_a_single_output_has_failed(self) -> None:
        result = self.outcome(task("a", value=1), task("b", "fail", needs=("a",)))

        assert result.status == "failed"
        assert result.exit_code == 1

    # Time-outs and retries.

    def test_a_hanging_agent_is_cut_off(self) -> None:
        result = self.outcome(task("a", "hang", timeout_s=0.2), task("b", value=1))

        assert result["a"].error is not None
        assert result["a"].error.type == "TaskTimedOut"
        assert result.status == "partial"

    def test_an_agent_that_fails_for_a_moment_is_tried_again(self) -> None:
        result = self.outcome(task("a", "flaky", until=3, retry=_AT_ONCE))

        assert result["a"].state == "succeeded"
        assert result["a"].attempts == 3

    def test_attempts_come_to_an_end(self) -> None:
        result = self.outcome(task("a", "flaky", until=9, retry=_AT_ONCE))

        assert result["a"].state == "failed"
        assert result["a"].attempts == 3

    # Foreach.

    def test_a_foreach_runs_over_an_upstream_list_in_its_order(self) -> None:
        result = self.outcome(
            task("list", value={"files": ["b", "a", "c"]}),
            task("each", "item", foreach=ForEach(task="list", pointer="/files")),
            task("all", "see", needs=("each",)),
        )

        seen = _output(result, "all")["each"]
        assert [output["item"] for output in seen["output"]] == ["b", "a", "c"]
        assert all(output["same"] for output in seen["output"])
        assert seen["items"] == [3, 0]

    def test_a_foreach_over_nothing_succeeds_with_nothing(self) -> None:
        result = self.outcome(
            task("list", value=[]),
            task("each", "item", foreach=ForEach(task="list")),
            task("all", "see", needs=("each",)),
        )

        assert _output(result, "all")["each"] == {"state": "succeeded", "error": None, "output": [], "items": [0, 0]}

    def test_the_items_of_a_foreach_may_be_in_the_plan(self) -> None:
        result = self.outcome(
            task("each", "item", bind="file", foreach=ForEach(items=[{"p": 1}, {"p": 2}], key="/p", bind="file")),
            task("all", "see", needs=("each",)),
        )

        assert [output["key"] for output in _output(result, "all")["each"]["output"]] == ["1", "2"]

    def test_equal_items_have_keys_of_their_own(self) -> None:
        result = self.outcome(
            task("list", value=["x", "y", "x"]),
            task("each", "item", foreach=ForEach(task="list")),
            task("all", "see", needs=("each",)),
        )

        first, _, third = (output["key"] for output in _output(result, "all")["each"]["output"])
        assert third == f"{first}#2"

    def test_a_foreach_with_failed_items_has_failed(self) -> None:
        result = self.outcome(
            task("each", "item", failing=[2, 3], foreach=ForEach(items=[1, 2, 3])), task("all", needs=("each",))
        )

        each = result["each"]
        assert each.error is not None
        assert each.error.type == "ItemsFailed"
        assert each.items is not None
        assert (each.items.total, each.items.failed) == (3, 2)
        assert result["all"].state == "upstream_failed"

    def test_a_foreach_tolerates_a_count_or_a_share_of_failures(self) -> None:
        items = list(range(10))
        limits: dict[str, int | float] = {"two": 2, "one": 1, "fifth": 0.2, "tenth": 0.1}

        result = self.outcome(
            *(
                task(name, "item", failing=[3, 7], foreach=ForEach(items=items, tolerate_failures=limit))
                for name, limit in limits.items()
            )
        )

        assert _states(result) == {"two": "succeeded", "one": "failed", "fifth": "succeeded", "tenth": "failed"}
        assert [item["index"] for item in _status(result, "two")["items"]["failed"]] == [3, 7]

    def test_a_foreach_without_a_list_fails_alone(self) -> None:
        result = self.outcome(
            task("list", value={"files": "none"}),
            task("each", "item", foreach=ForEach(task="list", pointer="/files")),
            task("other", value=1),
        )

        assert _states(result) == {"list": "succeeded", "each": "failed", "other": "succeeded"}

    def test_a_foreach_of_a_foreach_runs_over_what_succeeded(self) -> None:
        result = self.outcome(
            task("first", "item", failing=["b"], foreach=ForEach(items=["a", "b", "c"], tolerate_failures=1)),
            task("second", "item", foreach=ForEach(task="first")),
            task("all", "see", needs=("second",)),
        )

        assert [output["item"]["item"] for output in _output(result, "all")["second"]["output"]] == ["a", "c"]

    def test_one_failing_one_hanging_and_one_bad_item_lose_nobody_elses_work(self) -> None:
        result = self.outcome(
            task("list", value=["a", "b", LONG_TEXT]),
            task("failing", "fail", needs=("list",)),
            task("hanging", "hang", needs=("list",), timeout_s=0.2),
            task("each", "item", failing=["b"], foreach=ForEach(task="list")),
            task("report", "see", needs=("failing", "hanging", "each", "list"), trigger_rule="all_done"),
        )

        seen = _output(result, "report")
        assert {name: entry["error"] for name, entry in seen.items()} == {
            "list": None,
            "failing": "RuntimeError",
            "hanging": "TaskTimedOut",
            "each": "ItemsFailed",
        }
        assert result.status == "partial"


def _in_process(plan: Plan, params: Mapping[str, JsonValue], workflow_id: str) -> WorkflowResult:
    with tempfile.TemporaryDirectory(prefix="coterie-") as folder:
        orchestrator = Orchestrator(team, artifacts=ArtifactStore(f"file://{folder}"))
        return asyncio.run(orchestrator.execute_workflow(plan, workflow_id=workflow_id, params=params))


def _every_combination() -> tuple[list[Task], dict[str, TaskState]]:
    """A plan with each rule after each pair of ends; and the state that each such task must have."""
    ends: dict[str, TaskState] = {"ok": "succeeded", "bad": "failed", "off": "skipped", "lost": "upstream_failed"}
    tasks = []
    for number in "12":
        tasks += [task(f"ok{number}", value=True), task(f"bad{number}", "fail")]
        tasks.append(task(f"off{number}", when=When(f"ok{number}", "", "eq", value=False)))
        tasks.append(task(f"lost{number}", needs=(f"bad{number}",)))
    expected: dict[str, TaskState] = {}
    for rule in get_args(TriggerRule):
        for one, other in itertools.combinations_with_replacement(ends, 2):
            name = f"{rule}-{one}-{other}"
            tasks.append(task(name, value=name, needs=(f"{one}1", f"{other}2"), trigger_rule=rule))
            expected[name] = _expected(rule, {ends[one], ends[other]})
    return tasks, expected


def _expected(rule: TriggerRule, ends: set[TaskState]) -> TaskState:
    """Said once more, without the code that decides it."""
    failed = bool(ends & {"failed", "upstream_failed"})
    if rule == "all_done" or ends == {"succeeded"}:
        return "succeeded"
    if rule == "one_success":
        return "succeeded" if "succeeded" in ends else "upstream_failed" if failed else "skipped"
    if failed:
        return "upstream_failed"
    return "succeeded" if rule == "none_failed" else "skipped"


def _states(result: WorkflowResult) -> dict[str, TaskState]:
    return {one.task_id: one.state for one in result}


def _status(result: WorkflowResult, task_id: str) -> Any:
    return next(one for one in result.status_document()["tasks"] if one["id"] == task_id)


def _output(result: WorkflowResult, task_id: str) -> Any:
    """A short output: it travels in the reference."""
    output = result[task_id].output
    assert isinstance(output, Ref)
    return output.load()
