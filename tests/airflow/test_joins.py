"""Code that knows no plan joins the fleet: a plain `@task`, and Airflow's own agent operator."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie import BreakerPolicy, Policies, PoolPolicy
from coterie.protect import Protected

HEAD = """
    import json
    import os

    from airflow.sdk import DAG, task
    from coterie import BreakerPolicy, Policies, PoolPolicy
    from coterie.protect import Protected

    policies = Policies(breaker=BreakerPolicy(failure_threshold=2), pool=PoolPolicy(), max_wait_s=0)
    protected = Protected("joined", policies, store="sqlite://{store}", capacity=1)
"""
PLAIN = """
    with DAG("plain", schedule=None) as dag:
        @task
        @protected.blocking()
        def ask(succeeds):
            if not succeeds:
                raise ValueError("down")
            return "answered"

        ask.override(task_id="first")(True) >> ask.override(task_id="second")(False)
"""
AGENT = """
    os.environ["AIRFLOW_CONN_MODEL"] = json.dumps({{"conn_type": "pydanticai", "extra": {{"model": "test"}}}})

    from airflow.providers.common.ai.operators.agent import AgentOperator
    from coterie.model_guard import ProtectModel

    with DAG("agent", schedule=None) as dag:
        AgentOperator(
            task_id="ask", llm_conn_id="model", prompt="?", system_prompt="!", durable={durable},
            capabilities=[ProtectModel(protected)],
        )
"""


def _open_breaker(store: Path) -> None:
    """As another process of the fleet would."""
    policies = Policies(breaker=BreakerPolicy(failure_threshold=2), pool=PoolPolicy(), max_wait_s=0)
    with Protected("joined", policies, store=f"sqlite://{store}", capacity=1).blocking() as joined:
        for _ in range(2):
            with pytest.raises(ValueError, match="down"):
                joined.call(_fail)


def _fail() -> None:
    raise ValueError("down")


def test_a_plain_task_joins_by_a_decorator(in_airflow, tmp_path):
    run = in_airflow.test((HEAD + PLAIN).format(store=tmp_path / "state.db"))

    assert run.states() == {("first", -1): "success", ("second", -1): "failed"}


def test_a_plain_task_is_refused_while_the_fleets_breaker_is_open(in_airflow, tmp_path):
    _open_breaker(tmp_path / "state.db")

    run = in_airflow.test((HEAD + PLAIN).format(store=tmp_path / "state.db"))

    assert run.states() == {("first", -1): "failed", ("second", -1): "upstream_failed"}


@pytest.mark.parametrize("durable", [False, True])
def test_the_agent_operator_joins_by_a_capability(in_airflow, tmp_path, durable):
    source = (HEAD + AGENT).format(store=tmp_path / "state.db", durable=durable)

    answered = in_airflow.test(source).states()
    _open_breaker(tmp_path / "state.db")
    refused = in_airflow.test(source).states()

    assert (answered, refused) == ({("ask", -1): "success"}, {("ask", -1): "failed"})
