"""How a plan looks as a DAG, before anything runs."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk import DAG, TaskGroup
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_coterie import plan_to_dag, plan_to_task_group
from airflow_provider_coterie.dag import waited_for
from coterie import ForEach, Plan, Task
from coterie.errors import PlanError, PolicyError, UnknownAgentType
from tests.airflow import plans

REPOSITORY = Path(__file__).resolve().parents[2]


def compiled(plan, **more):
    return plan_to_dag(plan, team_path=plans.TEAM_PATH, **more)


def echo(task_id, *before, **fields):
    return Task(task_id, "echo", depends_on=before, **fields)


def test_every_plan_task_is_a_task_and_a_foreach_is_a_group():
    dag = compiled(plans.resplit)

    assert dag.task_ids == ["list", "work.parts", "work.each", "work.gather", "report", "workflow_result"]
    assert dag.get_task("work.parts").upstream_task_ids == {"list"}
    assert dag.get_task("report").upstream_task_ids == {"work.gather"}
    assert dag.get_task("workflow_result").upstream_task_ids == {"report"}


@pytest.mark.parametrize("rule", ["all_success", "all_done", "one_success", "none_failed"])
def test_trigger_rules_are_airflow_s_own(rule):
    dag = compiled(Plan("p", [echo("a"), echo("b", "a", trigger_rule=rule)]))

    assert dag.get_task("b").trigger_rule == rule


def test_the_last_task_runs_whatever_happens_and_is_not_repeated():
    last = compiled(plans.chain).get_task("workflow_result")

    assert (last.trigger_rule, last.retries) == ("all_done", 2)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("all_done", ["c"]), ("all_success", ["a", "b", "c"]), ("one_success", ["a", "b", "c"])],
)
def test_the_result_waits_for_whatever_may_still_run_when_a_leaf_has_ended(rule, expected):
    plan = Plan("p", [echo("a"), echo("b"), echo("c", "a", "b", trigger_rule=rule)])

    assert waited_for(plan) == expected


def test_the_plan_s_parameters_are_the_dag_s():
    plan = Plan("p", [echo("a")], params={"text": "x", "count": 3, "flag": True, "share": 0.5, "free": None})

    params = compiled(plan, params={"mine": 1}).params

    assert params.dump() == {"text": "x", "count": 3, "flag": True, "share": 0.5, "free": None, "mine": 1}
    kinds = {name: params.get_param(name).schema["type"] for name in ("text", "count", "flag", "share")}
    assert kinds == {"text": "string", "count": "integer", "flag": "boolean", "share": "number"}
    assert "null" in params.get_param("free").schema["type"]


def test_priorities_become_absolute_weights():
    dag = compiled(Plan("p", [echo("a", priority=5), echo("b", "a")]))

    assert [dag.get_task(name).priority_weight for name in ("a", "b")] == [5, 0]


def test_without_priorities_airflow_s_weights_stay():
    dag = compiled(Plan("p", [echo("a"), echo("b", "a")]))

    assert dag.get_task("a").priority_weight == 1


def test_the_scheduler_repeats_what_it_lost_unless_told_otherwise():
    assert compiled(plans.chain).get_task("first").retries == 2
    assert compiled(plans.chain, default_args={"retries": 0}).get_task("first").retries == 0


def test_an_agent_type_that_nobody_serves_is_refused_when_the_file_is_read():
    with pytest.raises(UnknownAgentType, match="'alchemist'"):
        compiled(Plan("p", [Task("a", "alchemist")]))


def test_a_task_called_like_the_last_one_is_refused():
    with pytest.raises(PlanError, match="'workflow_result'"):
        compiled(Plan("p", [echo("workflow_result")]))


@pytest.mark.parametrize("parts", [0, 65])
def test_a_number_of_parts_that_cannot_work_is_refused(parts):
    with pytest.raises(PolicyError, match="from 1 to 64"):
        compiled(plans.wide, foreach_parts=parts)


def test_an_unknown_answer_to_partial_runs_is_refused():
    with pytest.raises(PolicyError, match="'succeed' or 'fail'"):
        compiled(plans.chain, on_partial="ignore")


def test_the_dag_s_file_is_the_one_that_asked_for_it():
    assert plan_to_dag(plans.chain, team_path=plans.TEAM_PATH).fileloc == __file__


def test_a_dag_is_stored_and_read_back_the_same_every_time():
    first, second = (json.dumps(DagSerialization.to_dict(compiled(plans.shapes)), sort_keys=True) for _ in range(2))

    assert first == second
    assert DagSerialization.from_dict(json.loads(first)).task_ids == compiled(plans.shapes).task_ids


def test_a_long_list_in_the_plan_is_not_stored_with_each_task():
    items = tuple({"name": f"item-{number}"} for number in range(2000))
    plan = Plan("p", [Task("a", "worker", foreach=ForEach(items=items))])

    assert "item-1999" not in json.dumps(DagSerialization.to_dict(compiled(plan)))


def test_a_group_leaves_the_dag_s_own_retries_alone():
    with DAG("d", schedule=None, default_args={"retries": 7}) as dag:
        plan_to_task_group(plans.chain, team_path=plans.TEAM_PATH)

    assert dag.get_task("chain.first").retries == 7
    assert dag.get_task("chain.workflow_result").retries == 7


def test_a_group_leaves_the_arguments_of_the_groups_around_it_alone():
    with (
        DAG("d", schedule=None, default_args={"queue": "small"}) as dag,
        TaskGroup("around", default_args={"queue": "large", "retries": 7}),
    ):
        plan_to_task_group(plans.chain, team_path=plans.TEAM_PATH)

    first = dag.get_task("around.chain.first")
    assert (first.queue, first.retries, first.retry_delay) == ("large", 7, timedelta(seconds=15))


@pytest.mark.parametrize("timeout_s", [None, 10.0])
def test_a_time_out_among_the_default_arguments_is_the_author_s(timeout_s):
    plan = Plan("p", [Task("a", "worker", timeout_s=timeout_s)])

    task = compiled(plan, default_args={"execution_timeout": timedelta(minutes=5)}).get_task("a")

    assert task.execution_timeout == task.author_timeout == timedelta(minutes=5)


# A fresh interpreter that knows Airflow, then reads our example DAGs.
PARSE = """
import json, sys, time
import airflow.sdk
from airflow.sdk import BaseHook, BaseOperator, Context, DAG, Param, TaskGroup
import airflow.sdk.bases.decorator, airflow.sdk.exceptions, airflow.sdk.serde
before, began = set(sys.modules), time.process_time()
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    __import__(name)
print(json.dumps([time.process_time() - began, sorted({n.partition(".")[0] for n in set(sys.modules) - before})]))
"""


def test_reading_the_example_dags_is_cheap(airflow_home):
    names = sorted(path.stem for path in (REPOSITORY / "dags").glob("*.py"))
    command = [sys.executable, "-c", PARSE, str(REPOSITORY / "dags"), *names]

    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)

    cpu_s, loaded = json.loads(done.stdout.splitlines()[-1])
    assert cpu_s < 1.0
    heavy = {"bandit", "coverage", "fsspec", "pydantic_ai", "radon", "ruff", "s3fs", "upath", "yaml"}
    assert heavy.isdisjoint(loaded)
