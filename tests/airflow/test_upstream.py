"""What an agent sees of the tasks before it that are not coterie's, and of those in its mapped task group."""

from __future__ import annotations

import json

import pytest

from coterie import Agent, Plan, Ref, Task, Team, WorkflowResult, sync

AFTER = """
    from datetime import UTC, datetime
    from decimal import Decimal
    from airflow.sdk import DAG, task
    from airflow_provider_coterie import CoterieAgentOperator

    with DAG("after", schedule=None) as dag:

        @task
        def before():
            return {value}

        seer = CoterieAgentOperator(task_id="seer", team_path="tests.airflow.test_upstream:team", agent_type="seer")
        before() >> seer
"""
GROUP = """
    from airflow.sdk import DAG, task, task_group
    from airflow_provider_coterie import CoterieAgentOperator, plan_to_task_group
    from tests.airflow.test_upstream import linting

    with DAG("mapped", schedule=None) as dag:

        @task
        def outside():
            return "outside"

        @task_group
        def each(number):
            @task
            def inside(number):
                return number

            seer = CoterieAgentOperator(task_id="seer", team_path="tests.airflow.test_upstream:team", agent_type="seer")
            [inside(number), far] >> seer
            plan_to_task_group(linting, team_path="tests.airflow.test_upstream:team")

        far = outside()
        each.expand(number=[10, 20])
"""


def seen(task_input, ctx):
    """What was before, as it is."""
    return {name: found.output for name, found in ctx.upstream.items()}


team = Team("upstream-tests", [Agent("seer", "seer", seen)])
linting = Plan("lint", [Task("first", "seer"), Task("second", "seer", depends_on=("first",))])


def load(run, task_id, map_index=-1):
    ref = Ref.deserialize(run.xcom(task_id, map_index=map_index)["__data__"])
    return sync.ArtifactStore(f"file://{run.artifacts}").load(ref)


@pytest.mark.parametrize("value", ["[]", "{}", "[[]]", "0"])
def test_what_a_foreign_task_returned_is_seen_as_it_is(in_airflow, value):
    run = in_airflow.test(AFTER.format(value=value))

    assert run.load("seer") == {"before": json.loads(value)}


@pytest.mark.parametrize("value", ["datetime(2026, 1, 1, tzinfo=UTC)", "[{'price': Decimal('1.5')}]", "{1, 2}"])
def test_what_is_no_json_of_a_foreign_task_is_not_seen_and_fails_nobody(in_airflow, value):
    run = in_airflow.test(AFTER.format(value=value))

    assert run.states()["seer", -1] == "success"
    assert run.load("seer") == {"before": None}


def test_each_copy_of_a_plan_in_a_mapped_task_group_is_a_run_of_its_own(in_airflow):
    run = in_airflow.test(GROUP)

    assert set(run.states().values()) == {"success"}
    for number in (0, 1):
        result = WorkflowResult.from_dict(load(run, "each.lint.workflow_result", number))
        assert (result.status, result.workflow_id) == ("succeeded", f"airflow.mapped.{run.run_id}.each.lint+{number}")
        assert list(load(run, "each.lint.second", number)) == ["first"]


def test_in_a_mapped_task_group_an_agent_sees_the_copies_beside_it_and_what_is_outside(in_airflow):
    run = in_airflow.test(GROUP)

    found = [load(run, "each.seer", number) for number in (0, 1)]
    assert found == [{"each.inside": number, "outside": "outside"} for number in (10, 20)]
