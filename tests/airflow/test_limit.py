"""How long Airflow lets a task run, when its author does not say."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_coterie import CoterieAgentOperator
from airflow_provider_coterie.limit import execution_limit, team_limit
from coterie import Agent, Retry, Task, Team
from coterie.policies import Fallback, Policies


def agent(agent_type="t", **policy):
    return Agent(policy.pop("agent_id", "a"), agent_type, lambda task_input: None, **policy)


def limit_of(agents, *, units=1, policies=None, **task):
    return team_limit(Team("tests", agents, policies=policies), Task("one", "t", **task), units=units)


def test_it_covers_every_attempt_and_back_off():
    limit = execution_limit(10.0, Retry(max_attempts=3, base_s=1.0, cap_s=20.0))

    assert limit == timedelta(seconds=3 * 10 + 2 * 20 + 60)


def test_without_a_time_out_there_is_none():
    assert execution_limit(None, Retry()) is None


def test_the_agent_s_own_policy_serves_a_task_without_one():
    own = agent(timeout_s=5.0, retry=Retry(max_attempts=2, base_s=0.0, cap_s=10.0))

    assert limit_of([own]) == timedelta(seconds=2 * 5 + 10 + 60)


def test_one_agent_without_a_time_out_leaves_it_open():
    assert limit_of([agent(timeout_s=5.0), agent(agent_id="b")]) is None


def test_a_part_s_items_follow_one_another_where_agents_are_few():
    assert limit_of([agent(capacity=2)], timeout_s=10.0, units=5) == timedelta(seconds=3 * 10 + 60)


def test_with_policies_it_covers_waiting_and_those_who_stand_in():
    agents = [agent(timeout_s=5.0), agent("spare", agent_id="b", timeout_s=30.0)]
    fallback = [Fallback(agent_type="spare"), Fallback(cached_s=60.0)]
    policies = {"t": Policies(fallback=fallback, max_wait_s=100.0)}

    assert limit_of(agents, policies=policies) == timedelta(seconds=(5 + 60) + (30 + 60) + 100)


def test_one_who_stands_in_without_a_time_out_leaves_it_open():
    agents = [agent(timeout_s=5.0), agent("spare", agent_id="b")]

    assert limit_of(agents, policies={"t": Policies(fallback=[Fallback(agent_type="spare")])}) is None


@pytest.mark.parametrize(("placement", "queued_s"), [(None, 600), ("remote", 600), ("local", 0)])
def test_where_workers_perform_it_it_covers_the_time_until_one_begins(placement, queued_s):
    team = Team("tests")
    team.remote("t", patience_s=600.0)

    limit = team_limit(team, Task("one", "t", timeout_s=10.0, placement=placement))

    assert limit == timedelta(seconds=queued_s + 10 + 60)


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
