"""A DAG and a flow share one breaker: both real schedulers, one provider that fails on command."""

from __future__ import annotations

from pathlib import Path

import pytest
from deploy.demo.breaker_run import Evidence, demonstrate, problems

from coterie._rules.breaker import View

AT = 1_700_000_000.0


@pytest.mark.airflow
@pytest.mark.prefect
def test_a_dag_and_a_flow_stop_and_go_on_together(airflow_python: Path, prefect_python: Path, tmp_path: Path):
    said: list[str] = []

    seen = demonstrate(airflow_python, prefect_python, tmp_path, said.append)

    assert problems(seen) == [], "\n".join(said)


def evidence() -> Evidence:
    """What is seen when all is well: open from second 0 to 10, tried with two calls, closed at 10.2."""

    def view(state: str, changed: str, until_s: float = 0.0) -> View:
        until_us = round((AT + until_s) * 1_000_000) if until_s else 0
        return View(state, 1, until_us, 0, 0, 0, 0, 0, 0, 0, changed)  # type: ignore[arg-type]

    refused = [(AT + n / 10, "refused") for n in range(1, 99)]
    return Evidence(
        asked=[(AT - 0.01, "airflow"), (AT + 10.01, "airflow"), (AT + 10.02, "prefect"), (AT + 11, "prefect")],
        ends={name: [*refused, (AT + 12, "answered")] for name in ("airflow", "prefect")},
        moved=[
            (AT, "closed>open", view("open", "closed>open", 10.0)),
            (AT + 10.0, "open>half_open", view("half_open", "open>half_open", 70.0)),
            (AT + 10.2, "half_open>closed", view("closed", "half_open>closed")),
        ],
    )


def test_the_judge_finds_nothing_where_all_is_well():
    assert problems(evidence()) == []


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda seen: seen.asked.append((AT + 5, "airflow")), "1 calls reached the provider while"),
        (lambda seen: seen.ends.update(prefect=[(AT + 12, "answered")]), "prefect had only 0 calls refused"),
        (lambda seen: seen.asked.extend([(AT + 10.1, "airflow")] * 2), "4 calls went through the half-open breaker"),
        (lambda seen: seen.moved.pop(), "did not close again"),
        (lambda seen: seen.ends["airflow"].pop(), "airflow did not go on"),
        (lambda seen: seen.moved.clear(), "never opened"),
    ],
)
def test_the_judge_finds_what_is_wrong(spoil, problem: str):
    seen = evidence()

    spoil(seen)

    assert problem in "; ".join(problems(seen))
