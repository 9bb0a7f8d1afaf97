"""How long Airflow lets a task run, when its author does not say."""

from __future__ import annotations

from datetime import timedelta

from airflow_provider_coterie import CoterieAgentOperator
from airflow_provider_coterie.limit import execution_limit, team_limit
from coterie import Agent, Retry


def agent(**policy):
    return Agent("a", "t", lambda task_input: None, **policy)


def test_it_covers_every_attempt_and_back_off():
    limit = execution_limit(10.0, Retry(max_attempts=3, base_s=1.0, cap_s=20.0))

    assert limit == timedelta(seconds=3 * 10 + 2 * 20 + 60)


def test_without_a_time_out_there_is_none():
    assert execution_limit(None, Retry()) is None


def test_the_agent_s_own_policy_serves_a_task_without_one():
    own = agent(timeout_s=5.0, retry=Retry(max_attempts=2, base_s=0.0, cap_s=10.0))

    assert team_limit([own], None, None) == timedelta(seconds=2 * 5 + 10 + 60)


def test_one_agent_without_a_time_out_leaves_it_open():
    assert team_limit([agent(timeout_s=5.0), agent()], None, None) is None


def test_a_part_s_items_follow_one_another_where_agents_are_few():
    assert team_limit([agent(capacity=2)], 10.0, None, units=5) == timedelta(seconds=3 * 10 + 60)


def test_an_operator_shows_its_limit():
    operator = CoterieAgentOperator(task_id="one", agent_type="echo", timeout_s=10.0)

    assert operator.execution_timeout == timedelta(seconds=70)


def test_the_author_s_own_limit_stands():
    own = timedelta(seconds=5)
    operator = CoterieAgentOperator(task_id="one", agent_type="echo", timeout_s=10.0, execution_timeout=own)

    assert operator.execution_timeout == own


def test_the_team_s_policy_is_asked_when_the_task_starts(artifacts):
    operator = CoterieAgentOperator(
        task_id="one",
        agent_type="echo",
        team_path="tests.airflow.agents:team",
        timeout_s=10.0,
        task_retry=Retry(max_attempts=2),
    )

    operator.pre_execute({})

    assert operator.execution_timeout == timedelta(seconds=2 * 10 + 30 + 60)
