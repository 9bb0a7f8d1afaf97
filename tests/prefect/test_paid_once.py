"""What stands alone in a flow is not paid for twice either: in other processes, within tasks that are retried."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect import flow, task
from prefect.context import FlowRunContext, TaskRunContext
from prefect.task_runners import ProcessPoolTaskRunner

from coterie import Plan, Task, Team
from coterie.errors import UnknownAgentType
from prefect_coterie import arun_agent, decompose, final_state, instance, run_agent, run_plan
from tests.prefect import billed
from tests.prefect.billed import bills

pytestmark = pytest.mark.prefect

TEAM = "tests.prefect.billed:team"


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(billed.FOLDER, str(tmp_path))
    monkeypatch.setenv("COTERIE_ARTIFACTS", f"file://{tmp_path}/artifacts")
    return tmp_path


class Once:
    """Fails the first time."""

    def __init__(self) -> None:
        self._is_over = False

    def fail(self) -> None:
        if not self._is_over:
            self._is_over = True
            raise RuntimeError("once")


def test_lone_agents_in_other_processes_are_told_apart_and_each_is_paid_once():
    once = Once()

    @flow(retries=1, task_runner=ProcessPoolTaskRunner(max_workers=1))
    def lone() -> None:
        for n in (1, 2, 2):
            run_agent.with_options(tags=["lone"]).submit("worker", {"n": n}, team=TEAM).result()
        once.fail()

    lone()

    assert len(bills()) == 3
    assert len({key for _, key in bills()}) == 3


async def test_a_task_that_is_retried_does_not_pay_again_for_the_agents_that_it_calls():
    once = Once()

    @task(retries=1)
    async def step() -> None:
        for n in (1, 2, 2):
            await arun_agent("worker", {"n": n}, team=TEAM)
        once.fail()

    @flow
    async def steps() -> None:
        await step()
        await step()

    await steps()

    assert len(bills()) == 6
    assert len({key for _, key in bills()}) == 6


async def test_a_flow_that_is_retried_pays_nothing_again_that_flows_which_it_called_have_finished(ledger: Path):
    (ledger / "order-second").write_text("fail")

    @flow(retries=1)
    async def caller() -> None:
        await billed.chain_flow()

    await caller(return_state=True)

    assert [task_id for task_id, _ in bills()] == ["first", "second"]


async def test_nor_for_the_lone_agents_of_flows_which_it_called():
    once = Once()

    @flow
    async def called() -> None:
        await arun_agent("worker", {"n": 1}, team=TEAM)
        once.fail()

    @flow(retries=1)
    async def caller() -> None:
        await called()

    await caller()

    assert len(bills()) == 1


async def test_a_flow_that_is_retried_goes_on_with_the_plan_that_was_made_for_it():
    once, made = Once(), []

    class Inventive:
        """Makes another plan each time, as models do."""

        async def decompose(self, objective: str, context: Any, *, team: Team) -> Plan:
            made.append(objective)
            idea = Task(f"idea-{len(made)}", "worker", depends_on=["first"])
            return Plan("made", [Task("first", "worker"), idea])

    @flow(retries=1)
    async def planned() -> Any:
        plans = [await decompose("write", decomposer=Inventive(), team=TEAM) for _ in range(2)]
        result = await run_plan(Plan.from_dict(plans[1]), team=TEAM)
        once.fail()
        return final_state(result)

    state = await planned(return_state=True)

    assert state.is_completed()
    assert len(made) == 2
    assert [task_id for task_id, _ in bills()] == ["first", "idea-2"]


def test_an_error_comes_out_of_another_process_as_it_was():
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def asks() -> str:
        with pytest.raises(UnknownAgentType) as raised:
            run_agent.submit("nobody", team=TEAM).result()
        return raised.value.agent_type

    assert asks() == "nobody"


class _Slow(Counter[str]):
    """Lets another thread pass between two looks."""

    passing = threading.Barrier(2)

    def __setitem__(self, name: str, count: int) -> None:
        super().__setitem__(name, count)
        with suppress(threading.BrokenBarrierError):
            self.passing.wait(0.5)


def test_two_threads_that_ask_for_the_same_at_once_are_told_apart(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(instance, "Counter", _Slow)
    run = SimpleNamespace(id=uuid4(), run_count=1)

    def name_of(_: int) -> str:
        with (
            FlowRunContext.model_construct(flow_run=run, detached=False),
            TaskRunContext.model_construct(task_run=SimpleNamespace(id=uuid4())),
        ):
            return instance.instance_here("worker", {})

    with ThreadPoolExecutor(2) as threads:
        names = list(threads.map(name_of, range(2)))

    assert len(set(names)) == 2
