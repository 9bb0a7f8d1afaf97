"""What coterie and agents log is in the run's log, with the work behind each line; outside of runs nothing is sent."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from prefect.context import TaskRunContext
from prefect.logging.handlers import APILogHandler, set_api_log_sink

from coterie import Plan, Retry, Runtime, Task, Team
from prefect_coterie.run_log import tell_run_log
from tests.prefect.runs import logged

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


@pytest.mark.parametrize("names", [["coterie"], ["coterie.task"], ["coterie", "coterie.task"]])
async def test_who_has_named_our_loggers_to_prefect_gets_the_same_lines_once(sent, team, names):
    logging.getLogger("coterie").setLevel(logging.NOTSET)
    # As Prefect does for `PREFECT_LOGGING_EXTRA_LOGGERS`.
    theirs = APILogHandler()
    for name in names:
        logging.getLogger(name).addHandler(theirs)
    tell_run_log()
    tell_run_log()
    with in_task_run():
        await work(team)

    messages = [line["message"] for line in sent]
    assert [message.split()[0] for message in messages] == ["an", "task.retrying", "an", "task.failed"]
    assert all("[run=prefect.r1 task=t" in message for message in messages)
    assert all(theirs not in logging.getLogger(name).handlers for name in names)


async def test_a_level_of_prefect_s_handler_stays(sent, team):
    theirs = APILogHandler(logging.WARNING)
    logging.getLogger("coterie").addHandler(theirs)
    tell_run_log()
    with in_task_run():
        await work(team)

    assert {line["level"] for line in sent} <= {logging.WARNING, logging.ERROR}
    assert sent


def test_a_level_that_is_set_stays(sent):
    logging.getLogger("coterie").setLevel(logging.ERROR)
    tell_run_log()

    assert logging.getLogger("coterie").level == logging.ERROR


TALKS = """
import asyncio

from coterie import Plan, Task, Team
from prefect_coterie import plan_to_flow

team = Team("t")


@team.agent("talks")
async def talks(task_input, ctx):
    ctx.logger.info("an agent's own word")


talk = plan_to_flow(Plan("talk", [Task("t", "talks")]), team=team)
print(asyncio.run(talk(return_state=True)).state_details.flow_run_id)
"""


@pytest.mark.prefect
@pytest.mark.parametrize("named", [None, "coterie", "coterie,coterie.task"])
async def test_an_agent_s_word_is_in_the_log_on_the_server_once_whether_or_not_prefect_knows_our_loggers(named):
    environment = {**os.environ, **({} if named is None else {"PREFECT_LOGGING_EXTRA_LOGGERS": named})}
    command = [sys.executable, "-c", TALKS]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )

    lines = await logged(UUID(done.stdout.split()[-1]), "an agent's own word")

    (line,) = lines
    assert "task=t attempt=1 agent=talks]" in line
