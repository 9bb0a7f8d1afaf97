"""What coterie and agents log is in the run's log, with the work behind each line; outside of runs nothing is sent."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect.context import TaskRunContext
from prefect.logging.handlers import APILogHandler, set_api_log_sink

from coterie import Plan, Retry, Runtime, Task, Team
from prefect_coterie.run_log import tell_run_log

KEY = "sk-live-0123456789abcdef"


@pytest.fixture
def sent(monkeypatch):
    """What would be sent to the server."""
    logger, found = logging.getLogger("coterie"), []
    before, level = list(logger.handlers), logger.level
    logger.handlers = [handler for handler in before if not isinstance(handler, APILogHandler)]
    logger.setLevel(logging.NOTSET)
    set_api_log_sink(found.append)
    yield found
    set_api_log_sink(None)
    logger.handlers, logger.level = before, level


@contextmanager
def in_task_run():
    run = SimpleNamespace(id=uuid4(), flow_run_id=uuid4())
    with TaskRunContext.model_construct(task_run=run):
        yield run


async def work(team: Team) -> None:
    async with Runtime(team) as runtime:
        plan = Plan("p", [Task("t", "fails", retry=Retry(max_attempts=2, base_s=0.0))])
        await runtime.orchestrator.execute_workflow(plan, workflow_id="prefect.r1")


@pytest.fixture
def team() -> Team:
    team = Team("t")

    @team.agent("fails")
    def fails(task_input, ctx):
        ctx.logger.info("an agent's own word")
        raise RuntimeError(f"401 for {KEY}")

    return team


async def test_a_run_log_has_the_lines_and_whom_they_are_of(sent, team):
    tell_run_log()
    tell_run_log()
    with in_task_run() as run:
        await work(team)

    messages = [line["message"] for line in sent]
    of_t = "[run=prefect.r1 task=t attempt={} agent=fails]"
    assert messages[0] == f"an agent's own word {of_t.format(1)}"
    assert messages[1].startswith("task.retrying t in ")
    assert messages[2] == f"an agent's own word {of_t.format(2)}"
    assert messages[3].startswith("task.failed t of prefect.r1: RuntimeError('401 for ***')")
    assert len(messages) == 4
    assert {(line["flow_run_id"], line["task_run_id"]) for line in sent} == {(str(run.flow_run_id), str(run.id))}
    assert KEY not in str(sent)


async def test_outside_of_a_run_nothing_is_sent(sent, team):
    tell_run_log()
    await work(team)

    assert sent == []


async def test_who_has_named_our_loggers_to_prefect_gets_each_line_once(sent, team):
    logging.getLogger("coterie").addHandler(APILogHandler())
    tell_run_log()
    with in_task_run():
        await work(team)

    assert len([line for line in sent if "task.failed" in line["message"]]) == 1


def test_a_level_that_is_set_stays(sent):
    logging.getLogger("coterie").setLevel(logging.ERROR)
    tell_run_log()

    assert logging.getLogger("coterie").level == logging.ERROR
