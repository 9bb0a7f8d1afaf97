"""A run concluded from its tasks' results is told as the engine that ran it tells it."""

from __future__ import annotations

import pytest
from hypothesis import given

from coterie import Orchestrator, Plan, Task, TaskResult
from coterie.conclude import conclude, lost
from coterie.task import When
from tests.core.random_plans import Story, stories

RULES = ["all_success", "all_done", "one_success", "none_failed"]


def orchestrator():
    made = Orchestrator()
    made.register_agent("good", "good", 8, handler=lambda task_input: 1)
    made.register_agent("bad", "bad", 8, handler=lambda task_input: 1 / 0)
    return made


def plan_with(rule):
    return Plan(
        "p",
        [
            Task("good", "good"),
            Task("bad", "bad"),
            Task("unwanted", "good", when=When("good", "/nothing")),
            Task("mixed", "good", depends_on=("good", "bad"), trigger_rule=rule),
            Task("after_skip", "good", depends_on=("unwanted", "good"), trigger_rule=rule),
            Task("only_skip", "good", depends_on=("unwanted",), trigger_rule=rule),
            Task("last", "good", depends_on=("mixed", "after_skip", "only_skip"), trigger_rule=rule),
        ],
    )


@pytest.mark.parametrize("rule", RULES)
async def test_what_never_ran_follows_from_the_rules(rule):
    plan = plan_with(rule)
    whole = await orchestrator().execute_workflow(plan, workflow_id="w")
    ran = {result.task_id: result for result in whole if result.attempts or result.task_id == "unwanted"}

    concluded = conclude(plan, ran, workflow_id="w")

    assert concluded.status_document() == whole.status_document()
    assert list(concluded.tasks) == [task.id for task in plan.tasks]


@given(stories())
def test_any_plan_ends_as_its_rules_say(story: Story):
    ends = story.expected()
    own = {name: state for name, state in ends.items() if state == story.outcomes[name]}

    concluded = conclude(story.plan, {name: TaskResult(name, state) for name, state in own.items()}, workflow_id="w")

    assert {result.task_id: result.state for result in concluded} == ends


def test_a_task_that_should_have_run_was_lost():
    plan = Plan("p", [Task("a", "good"), Task("b", "good", depends_on=("a",))])

    concluded = conclude(plan, {}, workflow_id="w")

    assert concluded["a"].error.type == "WorkerLost"
    assert concluded["b"].state == "upstream_failed"
    assert concluded.status == "failed"


def test_the_message_names_the_lost_task_and_the_next_step():
    assert "'a' left no result" in lost("a").error.message
    assert lost("a").error.message.endswith("run it again")


def test_a_given_result_counts_even_where_the_rules_would_have_blocked_it():
    plan = Plan("p", [Task("a", "good"), Task("b", "good", depends_on=("a",))])
    results = {"a": lost("a"), "b": TaskResult("b", "succeeded", 5, attempts=1)}

    assert conclude(plan, results, workflow_id="w")["b"].state == "succeeded"


def test_a_run_lasts_from_its_first_start_to_its_last_end():
    plan = Plan("p", [Task("a", "good"), Task("b", "good")])
    ran = {
        "a": TaskResult("a", "succeeded", started_at=100.0, duration_s=5.0),
        "b": TaskResult("b", "succeeded", started_at=103.0, duration_s=9.0),
    }

    concluded = conclude(plan, ran, workflow_id="w")

    assert (concluded.started_at, concluded.duration_s) == (100.0, 12.0)


def test_results_of_other_plans_are_not_read():
    plan = Plan("p", [Task("a", "good")])
    ran = {"a": TaskResult("a", "succeeded"), "foreign": lost("foreign")}

    assert list(conclude(plan, ran, workflow_id="w").tasks) == ["a"]
