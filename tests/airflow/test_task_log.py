"""What coterie and agents log is in the task's log, as Airflow itself sets that up, with the work behind each line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

KEY = "sk-live-0123456789abcdef"
# In a process of its own: Airflow's settings of logging are the process's.
PROGRAM = """
import io, logging, os, sys
from airflow.sdk.log import configure_logging
written = io.BytesIO()
configure_logging(json_output=True, output=written, sending_to_supervisor=True, log_level="INFO")

from airflow_provider_coterie.task_log import show_fields
from airflow_provider_coterie.work import Work
from coterie import Plan, Retry, Runtime, Task, Team

team = Team("t")

@team.agent("threads")
def threads(task_input):
    logging.getLogger("mine").warning("from a thread, %d%% done", 50)

@team.agent("fails", retry=Retry(max_attempts=2, base_s=0.0))
async def fails(task_input, ctx):
    ctx.logger.info("an agent's own word")
    raise RuntimeError("401 for " + os.environ["PLANTED"])

async def run():
    async with Runtime(team) as runtime:
        tasks = [Task("a", "threads"), Task("b", "fails")]
        await runtime.orchestrator.execute_workflow(Plan("p", tasks), workflow_id="airflow.one.r1")

show_fields()
show_fields()
Work().run(run())
logging.getLogger("mine").warning("afterwards")
sys.stdout.buffer.write(written.getvalue())
"""


def test_a_task_log_has_the_lines_and_whom_they_are_of(airflow_home):
    env = {**os.environ, "PLANTED": KEY, "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, check=True, env=env, capture_output=True, text=True, timeout=120)

    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    of_b = "[run=airflow.one.r1 task=b attempt={} agent=fails]"
    assert "from a thread, 50% done [run=airflow.one.r1 task=a attempt=1 agent=threads]" in events
    assert f"an agent's own word {of_b.format(1)}" in events
    assert f"an agent's own word {of_b.format(2)}" in events
    (failed,) = [event for event in events if event.startswith("task.failed")]
    assert failed.endswith(of_b.format(2))
    assert "afterwards" in events
    assert KEY not in done.stdout + done.stderr
    assert "401 for ***" in done.stdout
