"""Whether Airflow tries a plain task again, by what coterie says of its failure."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.sdk import RetryDecision, RetryPolicy
from airflow.sdk.definitions.retry_policy import RetryAction

from airflow_provider_coterie import CoterieRetryPolicy
from coterie.errors import (
    AgentThrottled,
    AgentUnavailable,
    BadAnswer,
    BreakerOpen,
    BudgetExhausted,
    BudgetSpent,
    LeaseLost,
    Misuse,
    NoLiveAgent,
    PoolBusy,
    QuotaSpent,
    StaleToken,
    StepFailed,
    Unavailable,
)


def decide(error):
    return CoterieRetryPolicy().evaluate(error, 1, 3)


@pytest.mark.parametrize(
    "error",
    [
        BreakerOpen("writer", retry_after_s=12.5),
        *(kind("no", retry_after_s=12.5) for kind in (PoolBusy, QuotaSpent, BudgetSpent, NoLiveAgent)),
        AgentThrottled("slower", status=429, retry_after_s=12.5),
        AgentUnavailable("later", status=503, retry_after_s=12.5),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_says_when_is_tried_again_then(error):
    decision = decide(error)

    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(seconds=12.5))
    assert type(error).__name__ in decision.reason


@pytest.mark.parametrize(
    "error",
    [Unavailable("away"), LeaseLost("lost"), StaleToken("stale"), AgentUnavailable("away"), ValueError("not ours")],
    ids=lambda error: type(error).__name__,
)
def test_what_may_be_better_next_time_is_tried_as_the_task_says(error):
    assert decide(error) == RetryDecision.default()


@pytest.mark.parametrize(
    "error",
    [Misuse("wrong"), StepFailed("failed"), BudgetExhausted("spent"), BadAnswer("no JSON")],
    ids=lambda error: type(error).__name__,
)
def test_what_a_retry_would_only_repeat_fails(error):
    decision = decide(error)

    assert decision.action is RetryAction.FAIL
    assert str(error) in decision.reason


def test_it_is_the_same_after_airflow_has_stored_it():
    policy = CoterieRetryPolicy()

    again = CoterieRetryPolicy.deserialize(policy.serialize())

    assert isinstance(again, RetryPolicy)
    assert decide(Misuse("wrong")) == again.evaluate(Misuse("wrong"), 1, 3)


def test_a_plain_task_is_tried_again_when_the_refusal_says(in_airflow):
    run = in_airflow.test(
        """
        from datetime import timedelta
        from airflow.sdk import DAG, task
        from airflow_provider_coterie import CoterieRetryPolicy
        from coterie.errors import BreakerOpen, StepFailed

        policy = CoterieRetryPolicy()

        with DAG("plain", schedule=None, default_args={"retries": 2, "retry_policy": policy}) as dag:
            @task(retry_delay=timedelta(hours=5))
            def refused(ti=None):
                if ti.try_number == 1:
                    raise BreakerOpen("writer", retry_after_s=0.1)

            @task
            def broken():
                raise StepFailed("for good")

            refused(), broken()
        """
    )

    assert {task: state for (task, _), state in run.states().items()} == {"refused": "success", "broken": "failed"}
    assert run.tries() == {"refused": 2, "broken": 1}
